/**
 * The plan of a chaos run: which fault strikes which member when, from a seed alone.
 *
 * Made beforehand and without looking at the system, so that a run that failed can be run again. At each moment one
 * worker at least is left alone, counted until those that were struck have had time to come back. It must not know how
 * a fault is done.
 */
import { Random } from '../sim/random.ts';

export const FAULTS = [
  /** SIGKILL of the sidecar, the worker or both; started again after `lastsMs`. */
  'kill_sidecar',
  'kill_worker',
  'kill_both',
  /** SIGSTOP for `lastsMs`: alive to the kernel, silent to everybody else. */
  'suspend_sidecar',
  'suspend_worker',
  /** Stopped and resumed again and again: it does a quarter of what it could. */
  'slow_sidecar',
  /** No packet between the host and all others; between half of the hosts and the rest, with the apps. */
  'partition',
  'split',
  /** Cut and whole again, every few hundred ms; every twentieth packet lost, each way. */
  'flap',
  'lossy',
  /** The host's VPN address becomes another, and after `lastsMs` the old one again. */
  'change_address',
  /** SIGSTOP of the sidecar beside the first app. */
  'suspend_app',
  /** SIGTERM; started again when it has ended. */
  'drain',
  /** The worker for `lastsMs`: takes long, fails its health check, resets connections, breaks answers off. */
  'slow_worker',
  'sick_worker',
  'resetting_worker',
  'breaking_worker',
  /** SIGKILL of the DHT node that the others joined by; started again after `lastsMs`. */
  'kill_bootstrap',
] as const;

export type Fault = (typeof FAULTS)[number];

/** Those that need a network that can be cut. */
export const CUTS: ReadonlySet<Fault> = new Set(['partition', 'split', 'flap', 'lossy', 'change_address']);

export interface ChaosEvent {
  /** From the start of the faults. */
  readonly atMs: number;
  readonly fault: Fault;
  /** Indices of worker hosts. */
  readonly targets: readonly number[];
  readonly lastsMs: number;
}

/** Those that strike no worker's host. */
const OF_NO_WORKER: ReadonlySet<Fault> = new Set(['kill_bootstrap', 'suspend_app']);

/** Between the end of a fault and the moment when the next may strike the same host, or the last sound one. */
const RECOVERY_MS = 3_000;
const MEAN_GAP_MS = 700;
const LEAST_MS = 500;
const MOST_MS = 4_000;

/** In the order of time. The last one is over at `durationMs`. */
export function planChaos(seed: number, hosts: number, durationMs: number): ChaosEvent[] {
  const random = new Random(seed);
  const events: ChaosEvent[] = [];
  const busyUntilMs = new Array<number>(hosts).fill(0);
  const othersUntilMs = new Map<Fault, number>();
  for (let atMs = 0; ; atMs += Math.min(random.exponential(MEAN_GAP_MS), 3 * MEAN_GAP_MS)) {
    const fault = FAULTS[random.index(FAULTS.length)] as Fault;
    const lastsMs = Math.round(LEAST_MS + random.next() * (MOST_MS - LEAST_MS));
    const free = busyUntilMs.flatMap((untilMs, host) => (untilMs <= atMs ? [host] : []));
    const wanted = OF_NO_WORKER.has(fault) ? 0 : fault === 'split' ? Math.max(2, hosts >> 1) : 1;
    const targets = random.sample(free, wanted).sort((a, b) => a - b);
    if (atMs + lastsMs >= durationMs) return events;
    const event = { atMs: Math.round(atMs), fault, targets, lastsMs };
    if (wanted === 0) {
      if (atMs < (othersUntilMs.get(fault) ?? 0)) continue;
      othersUntilMs.set(fault, atMs + lastsMs + RECOVERY_MS);
      events.push(event);
    } else if (free.length > wanted) {
      for (const target of targets) busyUntilMs[target] = atMs + lastsMs + RECOVERY_MS;
      events.push(event);
    }
  }
}
