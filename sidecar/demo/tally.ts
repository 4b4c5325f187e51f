/**
 * What came of the app's requests: counts by worker and kind, times, failures.
 *
 * Counted on the app's side and not by the sidecar, whose own counters are shown beside it.
 */
import { type AppAnswer, REQUEST_KINDS, type RequestKind } from './app-request.ts';

/** Those whose times are compared: whole responses of other workers. */
export const FORWARDED_KINDS: readonly RequestKind[] = ['post', 'get'];

/** Failures whose text is kept. */
const KEPT_FAILURES = 5;

export class Tally {
  readonly perWorker = new Map<string, number>();
  readonly perKind: Record<RequestKind, number>;
  readonly failures: string[] = [];
  failed = 0;
  retried = 0;
  resumed = 0;
  readonly #times: Record<RequestKind, number[]>;

  constructor() {
    this.perKind = { post: 0, get: 0, stream: 0, local: 0 };
    this.#times = { post: [], get: [], stream: [], local: [] };
  }

  /** Requests that have ended, also those that failed. */
  get requests(): number {
    return REQUEST_KINDS.reduce((sum, kind) => sum + this.perKind[kind], 0);
  }

  answered(kind: RequestKind, answer: AppAnswer): void {
    this.perKind[kind]++;
    this.perWorker.set(answer.worker, this.of(answer.worker) + 1);
    this.#times[kind].push(answer.ms);
    if (answer.isRetried) this.retried++;
    if (answer.isResumed) this.resumed++;
  }

  failedRequest(kind: RequestKind, reason: string): void {
    this.perKind[kind]++;
    this.failed++;
    if (this.failures.length < KEPT_FAILURES) this.failures.push(reason);
  }

  /** Requests that this worker answered. */
  of(worker: string): number {
    return this.perWorker.get(worker) ?? 0;
  }

  /** Nearest rank, 0 < share ≤ 1; null while there is none of these kinds. */
  percentileMs(share: number, kinds: readonly RequestKind[]): number | null {
    const times = kinds.flatMap((kind) => this.#times[kind]).sort((a, b) => a - b);
    const time = times[Math.ceil(times.length * share) - 1];
    return time === undefined ? null : Math.round(time * 10) / 10;
  }
}
