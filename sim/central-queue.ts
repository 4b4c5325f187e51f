/**
 * The ideal: one queue with perfect knowledge and no distance, first come first served by the fastest free slot.
 *
 * What every policy is a ratio to. Not the best that is possible (that would need to know each request's work), but
 * what no set of independent balancers can be expected to beat. It must not know any balancer.
 */
import { type Demand, speedAt, type WorkerSpec } from './demand.ts';
import { VirtualClock } from './virtual-clock.ts';

interface IdealWorker {
  readonly spec: WorkerSpec;
  busy: number;
}

/** Response time of each demand in ms, in their order. A worker that is broken takes nothing. */
export function idealTimesMs(demands: readonly Demand[], specs: readonly WorkerSpec[]): Float64Array {
  const clock = new VirtualClock();
  const times = new Float64Array(demands.length);
  const workers = specs.map((spec): IdealWorker => ({ spec, busy: 0 }));
  const waiting: number[] = [];
  let front = 0;
  let next = 0;

  function fastestFree(): IdealWorker | null {
    let best: IdealWorker | null = null;
    let bestSpeed = 0;
    for (const worker of workers) {
      if (worker.busy >= worker.spec.slots || isBroken(worker.spec, clock.nowMs)) continue;
      const speed = speedAt(worker.spec, clock.nowMs);
      if (speed > bestSpeed) {
        best = worker;
        bestSpeed = speed;
      }
    }
    return best;
  }

  function serveWaiting(): void {
    while (front < waiting.length) {
      const worker = fastestFree();
      if (worker === null) return;
      serve(waiting[front++] as number, worker);
    }
  }

  function serve(index: number, worker: IdealWorker): void {
    const demand = demands[index] as Demand;
    const { spec } = worker;
    worker.busy += 1;
    const endMs = clock.nowMs + demand.workMs / speedAt(spec, clock.nowMs);
    const isLost =
      spec.broken !== undefined && clock.nowMs < spec.broken.fromMs && endMs > spec.broken.fromMs;
    clock.at(isLost ? (spec.broken?.fromMs ?? endMs) : endMs, () => {
      worker.busy -= 1;
      // The work was in vain; it is begun anew elsewhere, before all who wait.
      if (isLost) waiting[--front] = index;
      else times[index] = clock.nowMs - demand.atMs;
      serveWaiting();
    });
  }

  function arrive(): void {
    waiting.push(next++);
    serveWaiting();
    const following = demands[next];
    if (following !== undefined) clock.at(following.atMs, arrive);
  }

  // Room in front for those that are begun anew.
  front = specs.reduce((sum, { slots }) => sum + slots, 0);
  waiting.length = front;
  for (const { broken } of specs) if (broken !== undefined) clock.at(broken.toMs, serveWaiting);
  if (demands[0] !== undefined) clock.at(demands[0].atMs, arrive);
  clock.run(() => false);
  return times;
}

export function isBroken({ broken }: WorkerSpec, atMs: number): boolean {
  return broken !== undefined && atMs >= broken.fromMs && atMs < broken.toMs;
}
