/**
 * Full sight: each request goes at once to where the expected time is shortest, by a view without any delay.
 *
 * The second measure beside the ideal: it knows the true speed and the present queue of each worker that an entry
 * knows, but not the work of a request, and it cannot take back what it has sent. What is left to a balancer is to
 * come near it; what lies between it and the central queue is the price of not waiting in one place. It must not
 * know any policy.
 */
import { isBroken } from './central-queue.ts';
import { type Demand, speedAt, type WorkerSpec } from './demand.ts';
import { VirtualClock } from './virtual-clock.ts';

/** As in core/balancing/scores: who waits does so for what is left of heavy-tailed requests. */
const WAIT_FACTOR = 1.5;

interface SeenWorker {
  readonly spec: WorkerSpec;
  readonly waiting: number[];
  busy: number;
}

/** Response time of each demand in ms, in their order; `views`: for each entry the workers that it knows. */
export function fullSightTimesMs(
  demands: readonly Demand[],
  specs: readonly WorkerSpec[],
  views: readonly (readonly number[])[],
): Float64Array {
  const clock = new VirtualClock();
  const times = new Float64Array(demands.length);
  const workers = specs.map((spec): SeenWorker => ({ spec, waiting: [], busy: 0 }));
  const known = views.map((view) => view.map((index) => workers[index] as SeenWorker));

  function expected({ spec, waiting, busy }: SeenWorker): number {
    if (isBroken(spec, clock.nowMs)) return Number.MAX_VALUE;
    const ahead = Math.max(0, busy + waiting.length - spec.slots + 1);
    return (1 + (WAIT_FACTOR * ahead) / spec.slots) / speedAt(spec, clock.nowMs);
  }

  function place(index: number): void {
    const view = known[(demands[index] as Demand).entry] as readonly SeenWorker[];
    let best = view[0] as SeenWorker;
    let bestTime = expected(best);
    for (const worker of view) {
      const time = expected(worker);
      if (time >= bestTime) continue;
      best = worker;
      bestTime = time;
    }
    if (best.busy < best.spec.slots) serve(index, best);
    else best.waiting.push(index);
  }

  function serve(index: number, worker: SeenWorker): void {
    const demand = demands[index] as Demand;
    const { spec } = worker;
    worker.busy += 1;
    const endMs = clock.nowMs + demand.workMs / speedAt(spec, clock.nowMs);
    const { broken } = spec;
    const isLost = broken !== undefined && clock.nowMs < broken.fromMs && endMs > broken.fromMs;
    clock.at(isLost ? broken.fromMs : endMs, () => {
      worker.busy -= 1;
      // The work was in vain, and all who wait there go elsewhere.
      if (isLost) for (const moved of [index, ...worker.waiting.splice(0)]) place(moved);
      else times[index] = clock.nowMs - demand.atMs;
      const following = worker.waiting.shift();
      if (following !== undefined) serve(following, worker);
    });
  }

  for (const [index, { atMs }] of demands.entries()) clock.at(atMs, () => place(index));
  clock.run(() => false);
  return times;
}
