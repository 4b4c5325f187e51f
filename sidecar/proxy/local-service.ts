/**
 * One service of the local worker: its slots, its readiness, and the attempt that reaches it.
 *
 * Used by both listeners, so that a request from the app beside it and one from a peer share one count and one
 * queue. It must not know who may call, nor what the caller is told.
 */
import type { Admission, Slot } from '../core/admission.ts';
import type { Code } from '../core/errors.ts';
import { first } from '../core/headers.ts';
import type { WorkerState } from '../core/record.ts';
import { parseOrca } from '../core/report.ts';
import type { Outcome } from './attempt.ts';
import { type AttemptOptions, runAttempt } from './attempt.ts';
import type { Origin, RequestTimeouts, Upstreams } from './exchange.ts';
import { hostField } from './peer-client.ts';
import type { WorkerHealth } from './worker-health.ts';

export interface LocalServiceOptions {
  readonly name: string;
  readonly origin: Origin;
  /** Path of the worker's URL without a trailing slash; '' for none. */
  readonly basePath: string;
  readonly timeouts: RequestTimeouts;
  readonly admission: Admission;
  readonly health: WorkerHealth;
  readonly upstreams: Upstreams;
}

/** A worker's own word counts for so long. */
const REPORT_TTL_MS = 10_000;

export type LocalAttempt = Omit<AttemptOptions, 'upstreams' | 'origin' | 'timeouts'> & {
  /** Key of the peer that asks; '' for the app beside this sidecar. */
  readonly callerKey: string;
  /** The queue that the caller counts on; a longer one is refused at once. null = any. */
  readonly expectedQueue: number | null;
};

export class LocalService {
  readonly name: string;
  readonly basePath: string;
  /** Value of the Host field for the worker. */
  readonly host: string;
  readonly admission: Admission;
  readonly #options: LocalServiceOptions;
  readonly #callers = new Map<string, number>();
  #reportedLoad = 0;
  #reportedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: LocalServiceOptions) {
    this.name = options.name;
    this.basePath = options.basePath;
    this.host = hostField(options.origin);
    this.admission = options.admission;
    this.#options = options;
  }

  get state(): Exclude<WorkerState, 'draining'> {
    return this.#options.health.isReady ? 'ready' : 'warming';
  }

  get healthReason(): string {
    return this.#options.health.reason;
  }

  /** Requests of this caller that are here now. */
  outstandingOf(callerKey: string): number {
    return this.#callers.get(callerKey) ?? 0;
  }

  /** Callers that have requests here now, at least 1. */
  get sharers(): number {
    return Math.max(1, this.#callers.size);
  }

  /** The load that the worker itself reported, 0..1; null when it said nothing lately. */
  workerLoad(nowMs: number): number | null {
    return nowMs - this.#reportedAtMs < REPORT_TTL_MS ? this.#reportedLoad : null;
  }

  /** The worker's own `endpoint-load-metrics`, on an answer or to a health check. */
  reported(value: string): void {
    const load = parseOrca(value)?.load;
    if (load === undefined) return;
    this.#reportedLoad = load;
    this.#reportedAtMs = performance.now();
  }

  /** Waits for a slot, then makes the attempt; a refusal is an outcome with stage `not_sent`. */
  async attempt(attempt: LocalAttempt): Promise<Outcome> {
    if (this.state !== 'ready') return refused('warming', `the worker is not ready: ${this.healthReason}`);
    this.#callers.set(attempt.callerKey, this.outstandingOf(attempt.callerKey) + 1);
    try {
      return await this.#attemptWithSlot(attempt);
    } finally {
      const left = this.outstandingOf(attempt.callerKey) - 1;
      if (left > 0) this.#callers.set(attempt.callerKey, left);
      else this.#callers.delete(attempt.callerKey);
    }
  }

  async #attemptWithSlot(attempt: LocalAttempt): Promise<Outcome> {
    const slot = await acquire(this.admission, attempt);
    if (slot === 'saturated') return refused('saturated', 'all slots and the queue are full');
    if (slot === 'gone') return { kind: 'client_gone', firstByteMs: null };
    if (slot === 'late') return refused('deadline', 'the deadline of the caller passed in the queue');
    const startedMs = performance.now();
    const { upstreams, origin, timeouts, health } = this.#options;
    let serviceMs: number | null = null;
    try {
      const outcome = await runAttempt({
        ...attempt,
        upstreams,
        origin,
        timeouts,
        judge: (head) => {
          const report = first(head.fields, 'endpoint-load-metrics');
          if (report !== undefined) this.reported(report);
          return attempt.judge(head);
        },
      });
      if (outcome.kind === 'completed') serviceMs = performance.now() - startedMs;
      if (outcome.kind === 'failed' && outcome.stage === 'not_sent') health.suspect(outcome.detail);
      return outcome;
    } finally {
      slot.release(performance.now(), serviceMs); // also after a fault of this program: a slot is never lost
    }
  }
}

/** A slot; or why there is none. A client that leaves, or whose deadline passes, while it waits leaves the queue. */
function acquire(admission: Admission, attempt: LocalAttempt): Promise<Slot | 'saturated' | 'gone' | 'late'> {
  const { relay, expectedQueue, deadline } = attempt;
  return new Promise((resolve) => {
    const acquired = admission.acquire({
      expectedQueue,
      onGranted: (slot) => {
        relay.listen(null);
        resolve(slot);
      },
    });
    switch (acquired.kind) {
      case 'granted':
        resolve(acquired);
        return;
      case 'saturated':
        resolve('saturated');
        return;
      case 'queued':
        relay.listen({
          onClientDrain: () => {},
          onGone: () => {
            if (acquired.cancel()) resolve('gone');
          },
        });
        if (relay.isGone && acquired.cancel()) resolve('gone');
        void deadline?.then(() => {
          if (acquired.cancel()) resolve('late');
        });
    }
  });
}

function refused(code: Code, detail: string): Outcome {
  return { kind: 'failed', code, stage: 'not_sent', detail };
}
