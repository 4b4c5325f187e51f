/**
 * The slots of one local service: who may go in now, who waits, who is turned away.
 *
 * A bounded queue with admission by the caller's expectation, instead of an endless one: a caller with a stale view is
 * told at once, before the worker saw anything, and may choose again. First come, first served counts from where a
 * request entered the mesh, so that being sent from queue to queue costs nobody his turn. Callbacks and no promises, so
 * that a request whose client has gone leaves the queue in the same tick.
 */
import { ServiceTimes } from './service-times.ts';

/**
 * In a full queue who is under way so much longer takes the place of the last: one that has waited elsewhere and comes
 * from there must not end because it moved. Less is no reason: all who come are a little older than one another.
 */
const DISPLACED_BY_MS = 100;

export interface AdmissionOptions {
  /** Requests that the worker serves at once; null = not limited. */
  readonly concurrency: number | null;
  /** Stands in for the concurrency in the load figure when there is no limit. */
  readonly assumedConcurrency: number;
  /** Requests that may wait. */
  readonly queue: number;
}

export interface Slot {
  readonly kind: 'granted';
  /**
   * Give the slot back, to the one who is under way longest if any; more than once does nothing.
   * `serviceMs`: how long the worker took, or null when it did not serve (a quick failure must not look fast);
   * `requestClass`: for requests of what kind (core/worker/service-times).
   */
  release(nowMs: number, serviceMs: number | null, requestClass?: number): void;
}

export type Acquired =
  | Slot
  | {
      readonly kind: 'queued';
      /** Place in the queue, from 1. */
      readonly place: number;
      /** Leave the queue. False when the slot was already granted: then it must be released. */
      cancel(): boolean;
    }
  | { readonly kind: 'saturated'; readonly reason: 'queue_full' | 'longer_than_expected' };

export interface AcquireOptions {
  /** Monotonic ms since when the request is under way: those that are it longest come first. */
  readonly sinceMs: number;
  /** The place in the queue that the caller counts on, 0 = a free slot; null = any. */
  readonly expectedQueue: number | null;
  /** Called once when a queued request gets its slot, from inside another one's `release`. */
  readonly onGranted: (slot: Slot) => void;
  /**
   * Called once when a queued request has had to make room for one that is under way for longer; it has left the
   * queue. Absent: it makes no room.
   */
  readonly onDisplaced?: () => void;
}

interface Waiter extends Pick<AcquireOptions, 'sinceMs' | 'onGranted' | 'onDisplaced'> {
  isWaiting: boolean;
}

export class Admission {
  readonly #options: AdmissionOptions;
  #serviceMs = new ServiceTimes();
  /** Those under way longest first, equals as they came; those who left stay until they are at the front. */
  #waiters: Waiter[] = [];
  #front = 0;
  #queued = 0;
  #inFlight = 0;

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get queued(): number {
    return this.#queued;
  }

  /** Since when the first in the queue is under way, monotonic ms; null = nobody waits. */
  get longestSinceMs(): number | null {
    while (this.#waiters[this.#front]?.isWaiting === false) this.#front += 1;
    return this.#waiters[this.#front]?.sinceMs ?? null;
  }

  /** As it is reported: 0 = not limited. */
  get concurrency(): number {
    return this.#options.concurrency ?? 0;
  }

  /** Requests per slot, 0..1. */
  get load(): number {
    const slots = this.#options.concurrency ?? this.#options.assumedConcurrency;
    return Math.min(1, (this.#inFlight + this.#queued) / Math.max(1, slots));
  }

  /** Moving average of the service time; null = unknown. */
  serviceMs(nowMs: number): number | null {
    return this.#serviceMs.valueAt(nowMs, this.#inFlight > 0);
  }

  /**
   * The worker stopped answering: what it took until then, and what those take that are at it now, does not tell how
   * quick it will be when it is back. Kept, it would hold a sound worker out of use for a minute.
   */
  workerFailed(): void {
    this.#serviceMs = new ServiceTimes();
  }

  /** A slot if one is free now, for a request that expects whatever queue. */
  acquireFree(): Slot | null {
    const { concurrency } = this.#options;
    return concurrency === null || this.#inFlight < concurrency ? this.#grant() : null;
  }

  acquire(options: AcquireOptions): Acquired {
    const slot = this.acquireFree();
    if (slot !== null) return slot;
    const { queue } = this.#options;
    const isFull = this.#queued >= queue;
    const displaced = isFull ? this.#youngestAfter(options.sinceMs + DISPLACED_BY_MS) : null;
    if (isFull && displaced === null) return { kind: 'saturated', reason: 'queue_full' };
    const { index, place } = this.#placeOf(options.sinceMs);
    if (options.expectedQueue !== null && place > options.expectedQueue) {
      return { kind: 'saturated', reason: 'longer_than_expected' };
    }
    const { sinceMs, onGranted, onDisplaced } = options;
    const waiter: Waiter = { sinceMs, onGranted, isWaiting: true, ...(onDisplaced && { onDisplaced }) };
    this.#waiters.splice(index, 0, waiter);
    this.#queued += 1;
    if (displaced !== null && this.#leave(displaced)) displaced.onDisplaced?.();
    return { kind: 'queued', place, cancel: () => this.#leave(waiter) };
  }

  /** Nearly always the end: only who comes from another queue is older than those who are here. */
  #placeOf(sinceMs: number): { readonly index: number; readonly place: number } {
    let index = this.#waiters.length;
    let place = this.#queued + 1;
    for (; index > this.#front; index -= 1) {
      const before = this.#waiters[index - 1] as Waiter;
      if (before.sinceMs <= sinceMs) break;
      if (before.isWaiting) place -= 1;
    }
    return { index, place };
  }

  /** The last in the queue, if it is under way since later than that. */
  #youngestAfter(sinceMs: number): Waiter | null {
    while (this.#waiters.length > this.#front && this.#waiters.at(-1)?.isWaiting === false)
      this.#waiters.pop();
    const last = this.#waiters.at(-1);
    const mayGo = last?.isWaiting === true && last.onDisplaced !== undefined;
    return mayGo && last.sinceMs > sinceMs ? last : null;
  }

  /** Of a slot, once. `measure`: as it was when the slot was granted. */
  released(measure: ServiceTimes, nowMs: number, serviceMs: number | null, requestClass: number): void {
    this.#inFlight -= 1;
    if (serviceMs !== null) measure.add(requestClass, serviceMs, nowMs);
    const next = this.#next();
    // The state is settled before the callback, which may acquire, release or throw.
    next?.onGranted(this.#grant());
  }

  #grant(): Slot {
    this.#inFlight += 1;
    return new HeldSlot(this, this.#serviceMs);
  }

  #next(): Waiter | undefined {
    while (this.#front < this.#waiters.length) {
      const waiter = this.#waiters[this.#front] as Waiter;
      this.#front += 1;
      if (!waiter.isWaiting) continue;
      waiter.isWaiting = false;
      this.#queued -= 1;
      this.#compact();
      return waiter;
    }
    this.#compact();
    return undefined;
  }

  #leave(waiter: Waiter): boolean {
    if (!waiter.isWaiting) return false;
    waiter.isWaiting = false;
    this.#queued -= 1;
    // Under a storm of cancels the array may not outgrow the queue by much.
    if (this.#waiters.length > 2 * this.#queued + 64) {
      this.#waiters = this.#waiters.filter((each) => each.isWaiting);
      this.#front = 0;
    }
    return true;
  }

  #compact(): void {
    if (this.#front < 64 && this.#front < this.#waiters.length) return;
    this.#waiters = this.#waiters.slice(this.#front);
    this.#front = 0;
  }
}

class HeldSlot implements Slot {
  readonly kind = 'granted';
  readonly #admission: Admission;
  readonly #measure: ServiceTimes;
  #isHeld = true;

  constructor(admission: Admission, measure: ServiceTimes) {
    this.#admission = admission;
    this.#measure = measure;
  }

  release(nowMs: number, serviceMs: number | null, requestClass = 0): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    this.#admission.released(this.#measure, nowMs, serviceMs, requestClass);
  }
}
