/**
 * A worker with its sidecar, as callers meet it: the real Admission and Callers, and a sleeping worker behind.
 *
 * Reports are made where the real one makes them: when the response's head is there, the request itself still in its
 * slot. It must not know who chose it.
 */
import type { LoadReport } from '../sidecar/core/peers/load-report.ts';
import { Admission, type Slot } from '../sidecar/core/worker/admission.ts';
import { CallerCounts } from '../sidecar/core/worker/caller-counts.ts';
import { isBroken } from './central-queue.ts';
import { speedAt, type WorkerSpec } from './demand.ts';
import type { VirtualClock } from './virtual-clock.ts';

export const SERVICE = 'sim';

export type Answer =
  | { readonly kind: 'served' | 'refused' | 'error'; readonly report: LoadReport }
  | { readonly kind: 'unreachable' };

export interface Job {
  readonly caller: string;
  readonly workMs: number;
  /** Since when it is under way. */
  readonly sinceMs: number;
  readonly expectedQueue: number | null;
  readonly onAnswer: (answer: Answer) => void;
}

/** What an error takes that is answered at once. */
const ERROR_MS = 1;

/** A connection that hangs is given up after so long (the sidecar's vpnConnect). */
const HANG_MS = 1_000;

export class SimWorker {
  readonly spec: WorkerSpec;
  readonly #clock: VirtualClock;
  readonly #admission: Admission;
  readonly #callers = new CallerCounts();
  #seq = 0;
  /** Most requests that were here at once, and their sum over arrivals, for the spread. */
  peak = 0;
  /** Those in the queue, and how they leave it. */
  readonly #waiting = new Map<Job, () => boolean>();

  constructor(spec: WorkerSpec, queue: number, clock: VirtualClock) {
    this.spec = spec;
    this.#clock = clock;
    this.#admission = new Admission({ concurrency: spec.slots, assumedConcurrency: spec.slots, queue });
  }

  get requests(): number {
    return this.#admission.inFlight + this.#admission.queued;
  }

  arrive(job: Job): void {
    const nowMs = this.#clock.nowMs;
    if (isBroken(this.spec, nowMs)) {
      this.#fail(job);
      return;
    }
    this.#callers.began(job.caller);
    const acquired = this.#admission.acquire({
      caller: job.caller,
      expectedQueue: job.expectedQueue,
      sinceMs: job.sinceMs,
      onGranted: (slot) => {
        this.#waiting.delete(job);
        this.#serve(job, slot);
      },
      onDisplaced: () => {
        this.#waiting.delete(job);
        this.#refuse(job);
      },
    });
    this.peak = Math.max(this.peak, this.requests);
    if (acquired.kind === 'granted') this.#serve(job, acquired);
    if (acquired.kind === 'queued') this.#waiting.set(job, acquired.cancel);
    if (acquired.kind === 'saturated') this.#refuse(job);
  }

  /** As its caller asks; one that is being served stays. */
  takeBack(job: Job): void {
    if (this.#waiting.get(job)?.() !== true) return;
    this.#waiting.delete(job);
    this.#refuse(job);
  }

  #refuse(job: Job): void {
    this.#callers.ended(job.caller, this.#clock.nowMs);
    job.onAnswer({ kind: 'refused', report: this.report(job.caller) });
  }

  #serve(job: Job, slot: Slot): void {
    const serviceMs = job.workMs / speedAt(this.spec, this.#clock.nowMs);
    this.#clock.after(serviceMs, () => {
      // A worker that broke meanwhile answers nothing.
      const isLost = isBroken(this.spec, this.#clock.nowMs);
      const report = this.report(job.caller);
      slot.release(this.#clock.nowMs, isLost ? null : serviceMs);
      this.#callers.ended(job.caller, this.#clock.nowMs);
      job.onAnswer(isLost ? { kind: 'unreachable' } : { kind: 'served', report });
    });
  }

  #fail(job: Job): void {
    const how = this.spec.broken?.how;
    if (how === 'refuses') job.onAnswer({ kind: 'unreachable' });
    else if (how === 'hangs') this.#clock.after(HANG_MS, () => job.onAnswer({ kind: 'unreachable' }));
    else {
      this.#clock.after(ERROR_MS, () => job.onAnswer({ kind: 'error', report: this.report(job.caller) }));
    }
  }

  /** As the one who asks sees it. */
  report(caller: string): LoadReport {
    const { inFlight, queued, concurrency, load } = this.#admission;
    this.#seq += 1;
    const sinceMs = this.#admission.longestSinceMs;
    return {
      epoch: 1,
      seq: this.#seq,
      state: 'ready',
      load,
      service: SERVICE,
      inFlight,
      queued,
      concurrency,
      serviceMs: this.#admission.serviceMs(this.#clock.nowMs),
      mine: this.#callers.outstandingOf(caller),
      activeCallers: this.#callers.activeCallers(this.#clock.nowMs),
      oldestMs: sinceMs === null ? null : this.#clock.nowMs - sinceMs,
      fullAt: null,
      fullForMs: 0,
    };
  }
}
