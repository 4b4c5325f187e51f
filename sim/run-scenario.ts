/**
 * One policy under one scenario: the times of its requests, in virtual time.
 *
 * It must not know what the times are compared with.
 */
import type { Demand } from './demand.ts';
import { Random } from './random.ts';
import type { Scenario } from './scenarios.ts';
import { SimEntry, type SimPolicy } from './sim-entry.ts';
import { SimWorker } from './sim-worker.ts';
import { VirtualClock } from './virtual-clock.ts';

export interface SimResult {
  /** Of those that were served after the warm-up. */
  readonly timesMs: number[];
  readonly failed: number;
  /** Choices made again, per request. */
  readonly reroutes: number;
  /** Requests taken back from a queue, and those asked for that were being served already, per request. */
  readonly moves: number;
  readonly vain: number;
}

/** Far longer than any queue here gets: what is compared is waiting, not turning away. */
const QUEUE = 1_000_000;

/** First requests that do not count. */
export const WARM_UP_SHARE = 0.1;

/** For each entry, the workers that it knows. */
export function viewsOf({ entries, view, workers }: Scenario, seed: number): number[][] {
  const random = new Random(seed);
  const all = workers.map((_, index) => index);
  return Array.from({ length: entries }, () => (view === undefined ? all : random.sample(all, view)));
}

export function runScenario(
  scenario: Scenario,
  demands: readonly Demand[],
  policy: SimPolicy,
  seed: number,
): SimResult {
  const clock = new VirtualClock();
  const workers = scenario.workers.map((spec, index) => ({
    index,
    worker: new SimWorker(spec, QUEUE, clock),
  }));
  const views = viewsOf(scenario, seed);
  let ended = 0;
  const isOpen = (): boolean => ended < demands.length;
  const entries = Array.from({ length: scenario.entries }, (_, i) => {
    const view = (views[i] as readonly number[]).map((index) => workers[index] as (typeof workers)[number]);
    const random = new Random(seed + 1 + i);
    const { networkMs } = scenario;
    const entry = new SimEntry({ name: `entry-${i}`, policy, view, clock, random, networkMs });
    entry.start(isOpen);
    return entry;
  });
  const timesMs: number[] = [];
  let failed = 0;
  const warmUp = demands.length * WARM_UP_SHARE;
  const arrive = (index: number): void => {
    const demand = demands[index];
    if (demand === undefined) return;
    clock.at(demand.atMs, () => {
      entries[demand.entry]?.send(demand.workMs, (outcome) => {
        ended += 1;
        if (outcome === 'failed') failed += 1;
        else if (index >= warmUp) timesMs.push(clock.nowMs - demand.atMs);
      });
      arrive(index + 1);
    });
  };
  arrive(0);
  clock.run(() => !isOpen());
  const rerouted = entries.reduce((sum, entry) => sum + entry.rerouted, 0);
  const moved = entries.reduce((sum, entry) => sum + entry.moved, 0);
  const asked = entries.reduce((sum, entry) => sum + entry.asked, 0);
  const { length } = demands;
  return {
    timesMs,
    failed,
    reroutes: rerouted / length,
    moves: moved / length,
    vain: (asked - moved) / length,
  };
}
