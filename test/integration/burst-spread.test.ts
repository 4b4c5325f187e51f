/**
 * A burst spreads: before any response or probe has told of it, each worker gets about as many as the others.
 *
 * The workers answer nothing until the test lets them, so no report can help: what spreads is that each caller counts
 * what it has sent. The bound is the rule's own, not luck: no draw may give one worker two more than another.
 */
import type { ServerResponse } from 'node:http';
import { describe, expect, test } from '@jest/globals';
import { type Member, TestMesh } from '../support/meshes/mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { note } from '../support/runner/note.ts';
import { startHttpWorker } from '../support/workers/http-worker.ts';

const WORKERS = ['a', 'b', 'c'];

/** Probes would tell of the burst. */
const NO_PROBES = { SIDECAR_PROBE_FEW_INTERVAL: '10m', SIDECAR_PROBE_MANY_INTERVAL: '10m' };

interface HeldWorker {
  readonly held: ServerResponse[];
}

async function mesh(callers: number): Promise<{ workers: HeldWorker[]; callers: Member[] }> {
  const test = new TestMesh();
  const workers: HeldWorker[] = [];
  for (const id of WORKERS) {
    const held: ServerResponse[] = [];
    const worker = await startHttpWorker({
      answer: ({ target }, response) => {
        if (target === '/held') held.push(response);
        else response.end();
      },
    });
    await test.join({ id, services: { infer: { url: worker.url, concurrency: 64 } } });
    workers.push({ held });
  }
  const members: Member[] = [];
  for (let i = 0; i < callers; i++) {
    const member = await test.join({ id: `caller-${i}`, env: NO_PROBES });
    await member.get('infer');
    await member.knows(WORKERS);
    members.push(member);
  }
  return { workers, callers: members };
}

describe('a burst of requests', () => {
  for (const callers of [1, 3]) {
    test(`${callers} × 30 requests at once on three workers: max / mean in flight below 1.5`, async () => {
      const { workers, callers: members } = await mesh(callers);
      const answers = members.flatMap((member) =>
        Array.from({ length: 30 }, () => member.get('infer', '/held')),
      );
      const counts = (): number[] => workers.map(({ held }) => held.length);
      const inFlight = await eventually(
        'all are at the workers',
        counts,
        (each) => each.reduce((sum, count) => sum + count, 0) === 30 * callers,
      );
      for (const { held } of workers) for (const response of held) response.end();
      for (const answer of await Promise.all(answers)) expect(answer.status).toBe(200);
      const spread = Math.max(...inFlight) / (10 * callers);
      note(`${inFlight.join(' ')}: ${spread.toFixed(2)}`);
      expectNamed(spread, `in flight: ${inFlight.join(', ')}`).toBeLessThan(1.5);
    });
  }
});
