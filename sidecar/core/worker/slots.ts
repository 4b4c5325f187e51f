/**
 * Slots that one service has alone, or that services share which run on the same hardware; and the queue before them.
 *
 * Apart from the admission of a service, which counts what is its own: how many wait behind one GPU, and who is next, is
 * the affair of all that run on it.
 */
import { FairQueue, type Waiter } from './fair-queue.ts';

/** By so many times the slots a caller may be ahead of another who waits, and by so many requests at least. */
const TOLERANCE_PER_SLOT = 2;
const LEAST_TOLERANCE = 4;

export class Slots {
  /** Requests that are served at once; null = not limited. */
  concurrency: number | null;
  inFlight = 0;
  /** Open beside the slots: channels, and what never waits. */
  open = 0;
  readonly #queue: FairQueue;

  constructor(concurrency: number | null) {
    this.concurrency = concurrency;
    this.#queue = new FairQueue(Math.max(LEAST_TOLERANCE, TOLERANCE_PER_SLOT * (concurrency ?? 0)));
  }

  get isFree(): boolean {
    return this.concurrency === null || this.inFlight < this.concurrency;
  }

  get queued(): number {
    return this.#queue.size;
  }

  /** Since when the one who is next is under way, monotonic ms; null = nobody waits. */
  get longestSinceMs(): number | null {
    return this.#queue.first?.sinceMs ?? null;
  }

  placeOf(caller: string, sinceMs: number): number {
    return this.#queue.placeOf(caller, sinceMs);
  }

  wait(waiter: Waiter): void {
    this.#queue.add(waiter);
  }

  /** Who has to make room in the full queue of this owner; null = nobody. */
  displacedBy(caller: string, sinceMs: number, owner: object): Waiter | null {
    return this.#queue.displacedBy(caller, sinceMs, owner);
  }

  /** False when it does not wait any more. */
  leave(waiter: Waiter): boolean {
    return this.#queue.remove(waiter);
  }

  /** There are more or fewer from now on; those that are held stay so, and new ones go to those who wait. */
  resize(concurrency: number): void {
    this.concurrency = concurrency;
    while (this.isFree) {
      const next = this.#queue.shift();
      if (next === undefined) return;
      next.grant();
    }
  }

  /** A slot has become free: it goes to who is next, unless there are fewer now. */
  freed(): void {
    this.inFlight -= 1;
    if (this.isFree) this.#queue.shift()?.grant();
  }
}
