/**
 * Balancing (the document's test 3): three workers that say 0.2, 0.5 and 0.8 of themselves get about 50, 30 and 20 %.
 *
 * Here through whole sidecars, so with bounds of five standard deviations; 10,000 choices with narrow bounds are in
 * test/unit/policies.test.ts.
 */
import { describe, test } from '@jest/globals';
import type { PolicyName } from '../../sidecar/core/balancing/balancer.ts';
import { type Member, TestMesh } from '../support/meshes/mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { note } from '../support/runner/note.ts';
import { startHttpWorker } from '../support/workers/http-worker.ts';

const LOADS = { 'worker-1': 0.2, 'worker-2': 0.5, 'worker-3': 0.8 } as const;
const IDS = Object.keys(LOADS) as (keyof typeof LOADS)[];
const SHARES = [0.5, 0.3, 0.2];
const REQUESTS = 400;

/** Far longer than what the machine's own delays add, so that all three are equally fast. */
const SERVICE_MS = 30;

/** Served by each before, all at the same time: their moving averages of the service time are the same then. */
const WARM_UP = 20;

/** In flight at once; of so many slots that they do not count as load. */
const LANES = 3;

async function threeWorkers(policy: PolicyName): Promise<Member> {
  const mesh = new TestMesh();
  const members: Member[] = [];
  for (const id of IDS) {
    const worker = await startHttpWorker({ load: LOADS[id], serviceMs: SERVICE_MS });
    const member = await mesh.join({
      id,
      services: {
        'llm-inference': {
          url: worker.url,
          concurrency: 1_000,
          health: { path: '/health', interval: '200ms' },
          load: { source: 'worker' },
        },
      },
    });
    members.push(member);
  }
  for (let i = 0; i < WARM_UP; i++) await Promise.all(members.map((member) => member.get('llm-inference')));
  const caller = await mesh.join({ id: 'worker-cpu-001', env: { SIDECAR_POLICY: policy } });
  await caller.get('llm-inference');
  await eventually(
    'the loads are known',
    () => caller.peers(),
    (peers) => IDS.every((id) => peers.some(({ worker_id, load }) => worker_id === id && load === LOADS[id])),
  );
  return caller;
}

async function sharesOf(caller: Member): Promise<number[]> {
  const counts = new Map<string, number>();
  let left = REQUESTS;
  const lane = async (): Promise<void> => {
    while (left-- > 0) {
      const answer = await caller.get('llm-inference');
      expectNamed(answer.status, answer.body).toBe(200);
      const id = String(answer.headers['sidecar-worker']);
      counts.set(id, (counts.get(id) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return IDS.map((id) => (counts.get(id) ?? 0) / REQUESTS);
}

describe('balancing by load', () => {
  for (const policy of ['rank', 'adaptive'] as const) {
    test(`${policy}: loads 0.2, 0.5, 0.8 get about 50, 30, 20 %`, async () => {
      const caller = await threeWorkers(policy);
      const shares = await sharesOf(caller);
      note(shares.join(' '));
      SHARES.forEach((expected, at) => {
        const bound = 5 * Math.sqrt((expected * (1 - expected)) / REQUESTS);
        expectNamed(
          Math.abs((shares[at] as number) - expected),
          `${IDS[at]} got ${shares[at]}, not ${expected} ± ${bound.toFixed(3)} (all: ${shares.join(', ')})`,
        ).toBeLessThanOrEqual(bound);
      });
    });
  }
});
