/** The simulator: the ideal by hand, the same run twice, and what the policy must reach in it. */
import { describe, expect, test } from '@jest/globals';
import { idealTimesMs } from '../../sim/central-queue.ts';
import { type Demand, drawDemands } from '../../sim/demand.ts';
import { fullSightTimesMs } from '../../sim/full-sight.ts';
import { quantiles } from '../../sim/quantiles.ts';
import { runScenario, type SimResult } from '../../sim/run-scenario.ts';
import { type Scenario, scenarios } from '../../sim/scenarios.ts';
import type { SimPolicy } from '../../sim/sim-entry.ts';
import { expectNamed, fail } from '../support/runner/expectations.ts';

const SEED = 7;
const SCENARIOS = new Map(
  scenarios({ utilisation: 0.85, requests: 12_000 }).map((scenario) => [scenario.name, scenario]),
);

function scenarioOf(name: string): Scenario {
  return SCENARIOS.get(name) ?? fail(`no scenario ${name}`);
}

/** p99 as a ratio to the ideal, and the rest. */
function run(
  name: string,
  policy: SimPolicy,
  scenario = scenarioOf(name),
): SimResult & { readonly p99Ratio: number } {
  const demands = drawDemands({ ...scenario, seed: SEED });
  const ideal = quantiles(idealTimesMs(demands, scenario.workers));
  const result = runScenario(scenario, demands, policy, SEED);
  return { ...result, p99Ratio: (quantiles(result.timesMs)[2] ?? 0) / (ideal[2] ?? 0) };
}

function demand(atMs: number, workMs: number): Demand {
  return { atMs, workMs, entry: 0 };
}

describe('the simulator', () => {
  test('the ideal: the fastest free slot, else first come first served', () => {
    const workers = [
      { slots: 1, speed: 1 },
      { slots: 1, speed: 2 },
    ];
    const demands = [demand(0, 100), demand(1, 100), demand(2, 10), demand(3, 10)];
    // The fast one is free at 50 and takes the third, then at 55 the fourth; the slow one has the second until 101.
    expect([...idealTimesMs(demands, workers)]).toStrictEqual([50, 100, 53, 57]);
  });

  test('cheap calls come at their share between the dear ones, and the whole keeps the workers as busy as asked', () => {
    const workers = [{ slots: 4, speed: 2 }];
    const drawn = { entries: 2, workers, utilisation: 0.5, meanWorkMs: 100, sigma: 1, maxWorkMs: 2_000 };
    const demands = drawDemands({ ...drawn, seed: SEED, requests: 20_000, cheap: { share: 0.8, workMs: 2 } });
    const cheap = demands.filter(({ isCheap }) => isCheap);
    expect(cheap.length / demands.length).toBeCloseTo(0.8, 1);
    expect(new Set(cheap.map(({ workMs }) => workMs))).toStrictEqual(new Set([2]));
    const workMs = demands.reduce((sum, each) => sum + each.workMs, 0);
    expect(workMs / 8 / (demands.at(-1)?.atMs ?? 0)).toBeCloseTo(0.5, 1);
  });

  test('the ideal: what a dying worker had begun is begun anew, before those who wait', () => {
    const workers = [
      { slots: 1, speed: 2, broken: { how: 'refuses', fromMs: 10, toMs: 1_000 } },
      { slots: 1, speed: 1 },
    ] as const;
    expect([...idealTimesMs([demand(0, 100), demand(1, 50), demand(2, 5)], workers)]).toStrictEqual([
      151, 50, 154,
    ]);
  });

  test('full sight: at once to the shortest expected time, and what was sent stays there', () => {
    const workers = [
      { slots: 1, speed: 1 },
      { slots: 1, speed: 2 },
    ];
    const demands = [demand(0, 100), demand(1, 1_000), demand(2, 10), demand(3, 10)];
    // The third waits for the fast one as 2.5 / 2 is less than 2.5, the fourth too, as 4 / 2 is: at 50 and at 55.
    expect([...fullSightTimesMs(demands, workers, [[0, 1]])]).toStrictEqual([50, 1_000, 53, 57]);
    expectNamed(
      [...fullSightTimesMs(demands.slice(0, 1), workers, [[0]])],
      'who is not known is not used',
    ).toStrictEqual([100]);
  });

  test('arrivals have the rate and the work that was asked for', () => {
    const scenario = scenarioOf('gpuhet');
    const demands = drawDemands({ ...scenario, seed: SEED });
    const workMs = demands.reduce((sum, each) => sum + each.workMs, 0);
    const lastMs = demands.at(-1)?.atMs ?? 0;
    const capacity = scenario.workers.reduce((sum, { slots, speed }) => sum + slots * speed, 0);
    const busy = workMs / (lastMs * capacity);
    expectNamed(Math.abs(busy - 0.85), String(busy)).toBeLessThan(0.03);
  });

  test('the same seed gives the same run', () => {
    const once = run('hetmicro', 'adaptive');
    expect(run('hetmicro', 'adaptive').timesMs).toStrictEqual(once.timesMs);
  });

  for (const name of [
    'micro',
    'gpuhet',
    'three',
    'hetmicro',
    'single',
    'antag',
    'bench-uneven',
    'bench-even',
    'bench-slowed',
    'bench-dies',
    'bench-burst',
    'bench-three',
    'hundred',
  ]) {
    test(`${name}: adaptive is within a seventh of the ideal p99`, () => {
      const { p99Ratio, failed } = run(name, 'adaptive');
      expectNamed(p99Ratio, String(p99Ratio)).toBeLessThan(1.15);
      expect(failed).toBe(0);
    });
  }

  for (const entries of [1, 2, 8]) {
    test(`uneven workers behind ${entries} entries: adaptive is within a tenth of the ideal p99`, () => {
      const { p99Ratio } = run('bench-uneven', 'adaptive', { ...scenarioOf('bench-uneven'), entries });
      expectNamed(p99Ratio, String(p99Ratio)).toBeLessThan(1.1);
    });
  }

  test('slow workers that are seldom needed are not learnt again and again at the cost of requests', () => {
    const calm = { ...scenarioOf('gpuhet'), utilisation: 0.6, requests: 60_000 };
    const { p99Ratio } = run('gpuhet', 'adaptive', calm);
    expectNamed(p99Ratio, String(p99Ratio)).toBeLessThan(1.25);
  });

  test('a worker that answers with errors at once does not draw the requests', () => {
    const { failed } = run('errors', 'adaptive');
    expectNamed(failed, String(failed)).toBeLessThan(100);
    expect(failed * 4).toBeLessThan(run('errors', 'leastconn').failed);
  });

  test('a worker that refuses or hangs costs no request', () => {
    for (const name of ['refuses', 'hangs']) expectNamed(run(name, 'adaptive').failed, name).toBe(0);
  });

  test('uneven workers: least connections is more than twice as far from the ideal', () => {
    expect(run('gpuhet', 'leastconn').p99Ratio).toBeGreaterThan(2 * run('gpuhet', 'adaptive').p99Ratio);
  });
});
