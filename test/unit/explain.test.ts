/** Explanations: complete, true to the choice, plain JSON, and without any effect. */
import { describe, expect, test } from '@jest/globals';
import { Balancer, POLICY_NAMES } from '../../sidecar/core/balancing/balancer.ts';
import { truncateExplanation } from '../../sidecar/core/balancing/explain.ts';
import {
  asking,
  figures,
  keyOf,
  peerOf,
  recordOf,
  SERVICE,
  seeded,
  tableOf,
} from '../support/meshes/peers.ts';
import { fail } from '../support/runner/expectations.ts';

const table = tableOf([
  recordOf(1, { load: 0.1, figures: figures({ service_ms: 100 }) }),
  recordOf(2, { load: 0.3, figures: figures({ service_ms: 100 }) }),
  recordOf(3, { state: 'warming' }),
  recordOf(4, { figures: figures({ service_ms: 100, concurrency: 2, in_flight: 2 }) }),
  recordOf(5, { figures: figures({ service_ms: 900 }) }),
  recordOf(6),
]);
peerOf(table, 6).presence = 'suspect';
const offering = table.offering(SERVICE);

describe('the explanation of a choice', () => {
  test('every peer is there, with its reason', () => {
    const { candidates, chosen } = new Balancer('adaptive', { ttlMs: 60_000 }).explain(
      offering,
      asking(() => 0.1),
    );
    expect(chosen).toBe('worker-1');
    expect(candidates.map((each) => each.why_not)).toStrictEqual([
      null,
      'free; higher load, or the draw fell on another',
      'warming',
      'no free slot',
      'slower than 1.5 times the best',
      'suspect',
    ]);
    expect(candidates.map((each) => each.score !== null)).toStrictEqual([
      true,
      true,
      false,
      true,
      true,
      false,
    ]);
  });

  test('the next best is named, with its margin', () => {
    const { chosenNext } = new Balancer('least-load', { ttlMs: 60_000 }).explain(offering, asking(seeded(1)));
    expect(typeof chosenNext?.worker_id).toBe('string');
    const explanation = new Balancer('adaptive', { ttlMs: 60_000 }).explain(
      offering,
      asking(() => 0.1),
    );
    expect(explanation.chosenNext).toStrictEqual({
      worker_id: 'worker-2',
      load_margin: 0.2,
      expected_ms_margin: 0,
    });
  });

  for (const policy of POLICY_NAMES) {
    test(`${policy}: it is plain JSON, and a dry run changes no later choice`, () => {
      const choices = (explains: boolean): string[] => {
        const balancer = new Balancer(policy, { ttlMs: 60_000 });
        const random = seeded(4);
        return Array.from({ length: 50 }, () => {
          if (explains) {
            const explanation = balancer.explain(offering, asking(seeded(99)));
            expect(JSON.parse(JSON.stringify(explanation))).toStrictEqual(explanation);
          }
          const choice = balancer.choose(offering, asking(random));
          return choice.kind === 'chosen' ? choice.peer.key : choice.code;
        });
      };
      expect(choices(true)).toStrictEqual(choices(false));
    });

    test(`${policy}: a decision and its explanation agree, and take their turn`, () => {
      const balancer = new Balancer(policy, { ttlMs: 60_000 });
      const twin = new Balancer(policy, { ttlMs: 60_000 });
      for (let seed = 0; seed < 50; seed += 1) {
        const { choice, explanation } = balancer.decide(offering, asking(seeded(seed)));
        expect(choice.kind === 'chosen' && choice.peer.record.worker_id).toBe(explanation.chosen);
        const same = twin.choose(offering, asking(seeded(seed)));
        expect(same.kind === 'chosen' && same.peer).toBe(choice.kind === 'chosen' && choice.peer);
      }
    });
  }

  test('a refusal is explained as well, with the reason for each peer', () => {
    const excluded = new Set([1, 2, 3, 4, 5, 6].map(keyOf));
    const explanation = new Balancer('adaptive', { ttlMs: 60_000 }).explain(
      offering,
      asking(seeded(1), { excluded }),
    );
    expect([explanation.chosen, explanation.chosenNext, explanation.refusal]).toStrictEqual([
      null,
      null,
      'all_ejected',
    ]);
    expect(explanation.candidates.map((each) => each.why_not)).toStrictEqual([
      'tried',
      'tried',
      'warming',
      'tried',
      'tried',
      'tried',
    ]);
  });

  test('a decision among hundreds fits into a field: the chosen, the next, then the soonest', () => {
    const many = tableOf(
      Array.from({ length: 300 }, (_, i) =>
        recordOf(i, { load: i / 300, figures: figures({ service_ms: 100 + (i % 7) * 1_000 }) }),
      ),
    );
    const whole = new Balancer('adaptive', { ttlMs: 60_000 }).explain(
      many.offering(SERVICE),
      asking(seeded(3)),
    );
    const cut = truncateExplanation(whole);
    expect(JSON.stringify(cut).length).toBeLessThanOrEqual(8_000);
    expect([whole.omitted, cut.omitted + cut.candidates.length]).toStrictEqual([0, 300]);
    expect(cut.candidates.slice(0, 2).map(({ worker_id }) => worker_id)).toStrictEqual([
      whole.chosen,
      whole.chosenNext?.worker_id,
    ]);
    const fastest = Math.min(...whole.candidates.map(({ score }) => score?.expected_ms ?? Number.NaN));
    expect(cut.candidates[2]?.score?.expected_ms).toBe(fastest);
    expect(truncateExplanation(cut)).toBe(cut);
  });

  test('a decision among few stays whole', () => {
    const whole = new Balancer('adaptive', { ttlMs: 60_000 }).explain(offering, asking(seeded(3)));
    expect(truncateExplanation(whole)).toBe(whole);
  });

  test('each term of the score is there with the datum it came from', () => {
    const one = tableOf([
      recordOf(1, { figures: figures({ service_ms: 100, concurrency: 4, in_flight: 3, queued: 0 }) }),
    ]);
    const endpoint = peerOf(one, 1).endpoint(SERVICE);
    Object.assign(endpoint ?? {}, {
      mineReported: 1,
      outstanding: 3,
      activeCallers: 2,
      oldestMs: 900,
      reportSource: 'probe',
    });
    const [candidate] = new Balancer('adaptive', { ttlMs: 60_000 }).explain(
      one.offering(SERVICE),
      asking(seeded(1)),
    ).candidates;
    expect({ ...candidate?.reported, age_ms: typeof candidate?.reported.age_ms }).toStrictEqual({
      age_ms: 'number',
      source: 'probe',
      load: candidate?.reported.load,
      in_flight: 3,
      queued: 0,
      concurrency: 4,
      service_ms: 100,
      mine: 1,
      sharers: 2,
      oldest_ms: 900,
    });
    // 3 there of which 1 is mine; 3 of mine now, 2 of them unreported, and the other sharer is taken to do the same.
    const { weight, requests, slots, unreported, service_ms, expected_ms, is_free } =
      candidate?.score ?? fail();
    expect({ weight, requests, slots, unreported, service_ms, expected_ms, is_free }).toStrictEqual({
      weight: 1,
      requests: 7,
      slots: 4,
      unreported: 2,
      service_ms: 100,
      expected_ms: 250,
      is_free: false,
    });
  });
});
