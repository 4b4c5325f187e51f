/**
 * Admission to one local service: who may go in now, who waits, who is turned away.
 *
 * A bounded queue with admission by the caller's expectation, instead of an endless one: a caller with a stale view is
 * told at once, before the worker saw anything, and may choose again. Callers take turns, and of one caller who comes
 * first counts from where a request entered the mesh, so that being sent from queue to queue costs nobody his turn. Callbacks and no promises, so
 * that a request whose client has gone leaves the queue in the same tick.
 */
import type { Waiter } from './fair-queue.ts';
import { ServiceTimes } from './service-times.ts';
import { Slots } from './slots.ts';

export interface AdmissionOptions {
  /** Requests that the worker serves at once; null = not limited. */
  readonly concurrency: number | null;
  /** Stands in for the concurrency in the load figure when there is no limit. */
  readonly assumedConcurrency: number;
  /** Requests of this service that may wait. */
  readonly queue: number;
  /** Those that it shares with others, whose limit then counts; its own where there are none. */
  readonly slots?: Slots;
}

export interface Slot {
  readonly kind: 'granted';
  /** Until it is given back. */
  readonly isHeld: boolean;
  /**
   * Give the slot back, to who is next if anybody waits; more than once does nothing.
   * `serviceMs`: how long the worker took, or null when it did not serve (a quick failure must not look fast);
   * `requestClass`: for requests of what kind (core/worker/service-times). Returns whether it was held until now.
   */
  release(nowMs: number, serviceMs: number | null, requestClass?: number): boolean;
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
  /** Key of the peer that asks; absent for the app beside this sidecar. */
  readonly caller?: string;
  /** The place in the queue that the caller counts on, 0 = a free slot; null = any. */
  readonly expectedQueue: number | null;
  /** Called once when a queued request gets its slot, from inside another one's `release`. */
  readonly onGranted: (slot: Slot) => void;
  /**
   * Called once when a queued request has had to make room for that of a caller with fewer, or for one that is under
   * way for longer; it has left the queue. Absent: it makes no room.
   */
  readonly onDisplaced?: () => void;
}

export class Admission {
  readonly #options: AdmissionOptions;
  readonly #slots: Slots;
  #serviceMs = new ServiceTimes();
  #inFlight = 0;
  #queued = 0;

  constructor(options: AdmissionOptions) {
    this.#options = options;
    this.#slots = options.slots ?? new Slots(options.concurrency);
  }

  /** Requests of this service that hold a slot. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Requests of this service that wait. */
  get queued(): number {
    return this.#queued;
  }

  /** The slots, with all that hold one and wait for one: what a request of this service meets. */
  get slots(): Pick<Slots, 'inFlight' | 'queued' | 'open'> {
    return this.#slots;
  }

  /** Since when the first in the queue is under way, monotonic ms; null = nobody waits. */
  get longestSinceMs(): number | null {
    return this.#slots.longestSinceMs;
  }

  /** As it is reported: 0 = not limited. */
  get concurrency(): number {
    return this.#slots.concurrency ?? 0;
  }

  /** Requests and open channels per slot, 0..1. */
  get load(): number {
    const { concurrency, inFlight, queued, open } = this.#slots;
    return Math.min(
      1,
      (inFlight + queued + open) / Math.max(1, concurrency ?? this.#options.assumedConcurrency),
    );
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

  /** See Slots. */
  resize(concurrency: number): void {
    this.#slots.resize(concurrency);
  }

  /** Something is open at the worker that holds no slot; until `closed`. */
  opened(): void {
    this.#slots.open += 1;
  }

  /** Once for each `opened`. */
  closed(): void {
    this.#slots.open -= 1;
  }

  /** A slot if one is free now, for a request that expects whatever queue. */
  acquireFree(): Slot | null {
    return this.#slots.isFree ? this.#grant() : null;
  }

  acquire(options: AcquireOptions): Acquired {
    const slot = this.acquireFree();
    if (slot !== null) return slot;
    const { caller = '', sinceMs, expectedQueue, onGranted, onDisplaced } = options;
    const isFull = this.#queued >= this.#options.queue;
    const displaced = isFull ? this.#slots.displacedBy(caller, sinceMs, this) : null;
    if (isFull && displaced === null) return { kind: 'saturated', reason: 'queue_full' };
    const place = this.#slots.placeOf(caller, sinceMs);
    if (expectedQueue !== null && place > expectedQueue) {
      return { kind: 'saturated', reason: 'longer_than_expected' };
    }
    const waiter: Waiter = {
      caller,
      sinceMs,
      owner: this,
      isWaiting: true,
      grant: () => {
        this.#queued -= 1;
        onGranted(this.#grant());
      },
      onDisplaced,
    };
    this.#slots.wait(waiter);
    this.#queued += 1;
    if (displaced !== null && this.#leave(displaced)) displaced.onDisplaced?.();
    return { kind: 'queued', place, cancel: () => this.#leave(waiter) };
  }

  /** Of a slot, once. `measure`: as it was when the slot was granted. */
  released(measure: ServiceTimes, nowMs: number, serviceMs: number | null, requestClass: number): void {
    this.#inFlight -= 1;
    if (serviceMs !== null) measure.add(requestClass, serviceMs, nowMs);
    // The state is settled before the callback of who is next, which may acquire, release or throw.
    this.#slots.freed();
  }

  #grant(): Slot {
    this.#inFlight += 1;
    this.#slots.inFlight += 1;
    return new HeldSlot(this, this.#serviceMs);
  }

  #leave(waiter: Waiter): boolean {
    if (!this.#slots.leave(waiter)) return false;
    this.#queued -= 1;
    return true;
  }
}

class HeldSlot implements Slot {
  readonly kind = 'granted';
  readonly #admission: Admission;
  readonly #measure: ServiceTimes;
  isHeld = true;

  constructor(admission: Admission, measure: ServiceTimes) {
    this.#admission = admission;
    this.#measure = measure;
  }

  release(nowMs: number, serviceMs: number | null, requestClass = 0): boolean {
    if (!this.isHeld) return false;
    this.isHeld = false;
    this.#admission.released(this.#measure, nowMs, serviceMs, requestClass);
    return true;
  }
}
