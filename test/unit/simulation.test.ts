/** The simulator: the ideal by hand, the same run twice, and what the policy must reach in it. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { idealTimesMs } from '../../bench/sim/central-queue.ts';
import { type Demand, drawDemands } from '../../bench/sim/demand.ts';
import { runScenario, type SimResult } from '../../bench/sim/run-scenario.ts';
import { type Scenario, scenarios } from '../../bench/sim/scenarios.ts';
import type { SimPolicy } from '../../bench/sim/sim-entry.ts';
import { quantiles } from '../../bench/support/quantiles.ts';

const SEED = 7;
const SCENARIOS = new Map(
  scenarios({ utilisation: 0.85, requests: 12_000 }).map((scenario) => [scenario.name, scenario]),
);

function scenarioOf(name: string): Scenario {
  return SCENARIOS.get(name) ?? assert.fail(`no scenario ${name}`);
}

/** p99 as a ratio to the ideal, and the rest. */
function run(name: string, policy: SimPolicy): SimResult & { readonly p99Ratio: number } {
  const scenario = scenarioOf(name);
  const demands = drawDemands({ ...scenario, seed: SEED });
  const ideal = quantiles(idealTimesMs(demands, scenario.workers));
  const result = runScenario(scenario, demands, policy, SEED);
  return { ...result, p99Ratio: (quantiles(result.timesMs)[2] ?? 0) / (ideal[2] ?? 0) };
}

function demand(atMs: number, workMs: number): Demand {
  return { atMs, workMs, entry: 0 };
}

test('the ideal: the fastest free slot, else first come first served', () => {
  const workers = [
    { slots: 1, speed: 1 },
    { slots: 1, speed: 2 },
  ];
  const demands = [demand(0, 100), demand(1, 100), demand(2, 10), demand(3, 10)];
  // The fast one is free at 50 and takes the third, then at 55 the fourth; the slow one has the second until 101.
  assert.deepEqual([...idealTimesMs(demands, workers)], [50, 100, 53, 57]);
});

test('the ideal: what a dying worker had begun is begun anew, before those who wait', () => {
  const workers = [
    { slots: 1, speed: 2, broken: { how: 'refuses', fromMs: 10, toMs: 1_000 } },
    { slots: 1, speed: 1 },
  ] as const;
  assert.deepEqual([...idealTimesMs([demand(0, 100), demand(1, 50), demand(2, 5)], workers)], [151, 50, 154]);
});

test('arrivals have the rate and the work that was asked for', () => {
  const scenario = scenarioOf('gpuhet');
  const demands = drawDemands({ ...scenario, seed: SEED });
  const workMs = demands.reduce((sum, each) => sum + each.workMs, 0);
  const lastMs = demands.at(-1)?.atMs ?? 0;
  const capacity = scenario.workers.reduce((sum, { slots, speed }) => sum + slots * speed, 0);
  const busy = workMs / (lastMs * capacity);
  assert.ok(Math.abs(busy - 0.85) < 0.03, String(busy));
});

test('the same seed gives the same run', () => {
  const once = run('hetmicro', 'adaptive');
  assert.deepEqual(run('hetmicro', 'adaptive').timesMs, once.timesMs);
});

for (const name of ['micro', 'gpuhet', 'three', 'hetmicro', 'single', 'antag']) {
  test(`${name}: adaptive is within a seventh of the ideal p99`, () => {
    const { p99Ratio, failed } = run(name, 'adaptive');
    assert.ok(p99Ratio < 1.15, String(p99Ratio));
    assert.equal(failed, 0);
  });
}

test('a worker that answers with errors at once does not draw the requests', () => {
  const { failed } = run('errors', 'adaptive');
  assert.ok(failed < 100, String(failed));
  assert.ok(failed * 4 < run('errors', 'leastconn').failed);
});

test('a worker that refuses or hangs costs no request', () => {
  for (const name of ['refuses', 'hangs']) assert.equal(run(name, 'adaptive').failed, 0, name);
});

test('uneven workers: least connections is more than twice as far from the ideal', () => {
  assert.ok(run('gpuhet', 'leastconn').p99Ratio > 2 * run('gpuhet', 'adaptive').p99Ratio);
});
