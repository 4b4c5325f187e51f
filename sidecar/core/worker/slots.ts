/**
 * Slots that one service has alone, or that services share which run on the same hardware; and the queue before them.
 *
 * Apart from the admission of a service, which counts what is its own: how many wait behind one GPU, and who is next, is
 * the affair of all that run on it.
 */

/** One who waits. `isMine` of the admission that it came by is what tells it from the others. */
export interface Waiter {
  readonly sinceMs: number;
  readonly owner: object;
  isWaiting: boolean;
  /** Takes the slot that has become free. */
  grant(): void;
  readonly onDisplaced: (() => void) | undefined;
}

export class Slots {
  /** Requests that are served at once; null = not limited. */
  readonly concurrency: number | null;
  inFlight = 0;
  queued = 0;
  /** Open beside the slots: channels, and what never waits. */
  open = 0;
  /** Those under way longest first, equals as they came; those who left stay until they are at the front. */
  #waiters: Waiter[] = [];
  #front = 0;

  constructor(concurrency: number | null) {
    this.concurrency = concurrency;
  }

  get isFree(): boolean {
    return this.concurrency === null || this.inFlight < this.concurrency;
  }

  /** Since when the first in the queue is under way, monotonic ms; null = nobody waits. */
  get longestSinceMs(): number | null {
    while (this.#waiters[this.#front]?.isWaiting === false) this.#front += 1;
    return this.#waiters[this.#front]?.sinceMs ?? null;
  }

  /** Nearly always the end: only who comes from another queue is older than those who are here. */
  placeOf(sinceMs: number): { readonly index: number; readonly place: number } {
    let index = this.#waiters.length;
    let place = this.queued + 1;
    for (; index > this.#front; index -= 1) {
      const before = this.#waiters[index - 1] as Waiter;
      if (before.sinceMs <= sinceMs) break;
      if (before.isWaiting) place -= 1;
    }
    return { index, place };
  }

  /** `index`: where `placeOf` saw its place, with nothing in between. */
  wait(waiter: Waiter, index: number): void {
    this.#waiters.splice(index, 0, waiter);
    this.queued += 1;
  }

  /** The last in the queue that came by this owner, if it is under way since later than that. */
  youngestAfter(sinceMs: number, owner: object): Waiter | null {
    while (this.#waiters.length > this.#front && this.#waiters.at(-1)?.isWaiting === false)
      this.#waiters.pop();
    for (let index = this.#waiters.length - 1; index >= this.#front; index -= 1) {
      const last = this.#waiters[index] as Waiter;
      if (!last.isWaiting || last.owner !== owner) continue;
      return last.onDisplaced !== undefined && last.sinceMs > sinceMs ? last : null;
    }
    return null;
  }

  /** False when it does not wait any more. */
  leave(waiter: Waiter): boolean {
    if (!waiter.isWaiting) return false;
    waiter.isWaiting = false;
    this.queued -= 1;
    // Under a storm of cancels the array may not outgrow the queue by much.
    if (this.#waiters.length > 2 * this.queued + 64) {
      this.#waiters = this.#waiters.filter((each) => each.isWaiting);
      this.#front = 0;
    }
    return true;
  }

  /** A slot has become free: it goes to the first who waits. */
  freed(): void {
    this.inFlight -= 1;
    this.#next()?.grant();
  }

  #next(): Waiter | undefined {
    while (this.#front < this.#waiters.length) {
      const waiter = this.#waiters[this.#front] as Waiter;
      this.#front += 1;
      if (!waiter.isWaiting) continue;
      waiter.isWaiting = false;
      this.queued -= 1;
      this.#compact();
      return waiter;
    }
    this.#compact();
    return undefined;
  }

  #compact(): void {
    if (this.#front < 64 && this.#front < this.#waiters.length) return;
    this.#waiters = this.#waiters.slice(this.#front);
    this.#front = 0;
  }
}
