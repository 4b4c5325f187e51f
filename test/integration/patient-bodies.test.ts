/**
 * A request whose body cannot be sent twice is never turned away for a queue that is longer than expected: it waits.
 *
 * The caller's view is stale on purpose: it was told of a free slot, then another one took it, and no probe tells.
 */
import type { ServerResponse } from 'node:http';
import { describe, expect, test } from '@jest/globals';
import { type Member, TestMesh } from '../support/meshes/mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { send } from '../support/wire/http-client.ts';
import { startHttpWorker } from '../support/workers/http-worker.ts';

const NO_PROBES = { SIDECAR_PROBE_FEW_INTERVAL: '10m', SIDECAR_PROBE_MANY_INTERVAL: '10m' };

interface Scene {
  /** Believes that the slot is free. */
  readonly caller: Member;
  /** Ends the request that has the slot. */
  free(): void;
  /** The worker's sidecar has this many waiting. */
  waiting(count: number): Promise<void>;
}

async function slotTaken(): Promise<Scene> {
  const mesh = new TestMesh();
  const held: ServerResponse[] = [];
  const worker = await startHttpWorker({
    answer: ({ target, body }, response) => {
      if (target === '/held') held.push(response);
      else response.end(String(body.length));
    },
  });
  const beside = await mesh.join({ id: 'w', services: { ocr: { url: worker.url, concurrency: 1 } } });
  const caller = await mesh.start({ id: 'a', env: NO_PROBES });
  const other = await mesh.start({ id: 'b', env: NO_PROBES });
  for (const each of [caller, other]) {
    await each.knows(['w']);
    expect((await each.get('ocr')).status).toBe(200);
  }
  const slow = other.get('ocr', '/held');
  await eventually(
    'the slot is taken',
    () => held.length,
    (count) => count === 1,
  );
  onTestEnd(() => slow);
  return {
    caller,
    free: () => void held[0]?.end(),
    async waiting(count) {
      await eventually(
        `${count} wait`,
        async () => /sidecar_worker_queued\{[^}]*\} (\d+)/.exec((await beside.admin('/metrics')).body)?.[1],
        (queued) => queued === String(count),
      );
    },
  };
}

const BIG = Buffer.alloc(300_000, 'x');

describe('a body that cannot be sent twice', () => {
  for (const [what, headers] of [
    ['a body of known length', { 'content-length': BIG.length }],
    ['a body of unknown length', { 'transfer-encoding': 'chunked' }],
  ] as const) {
    test(`${what} that is too long to be kept waits for the slot`, async () => {
      const { caller, free, waiting } = await slotTaken();
      const answer = send(caller.running.outbound, {
        method: 'POST',
        target: '/service/ocr/',
        headers,
        body: BIG,
      });
      await waiting(1);
      free();
      const { status, body, headers: fields } = await answer;
      expect([status, body]).toStrictEqual([200, String(BIG.length)]);
      expect(fields['sidecar-attempts']).toBe('1');
    });
  }

  test('a short one is sent back to choose again, and waits in the end', async () => {
    const { caller, free, waiting } = await slotTaken();
    const answer = send(caller.running.outbound, { method: 'POST', target: '/service/ocr/', body: 'short' });
    await waiting(1);
    free();
    const { status, body, headers } = await answer;
    expect([status, body]).toStrictEqual([200, '5']);
    expectNamed(Number(headers['sidecar-attempts']), String(headers['sidecar-attempts'])).toBeGreaterThan(1);
  });
});
