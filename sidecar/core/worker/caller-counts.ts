/**
 * Who calls a service: how many requests of each are here, and how many callers share it.
 *
 * A caller counts as one who shares for a while after its last request ended, instead of only while it has one here:
 * with short requests the others are rarely here in the same instant, and each would think itself alone.
 */
import { LinkedList, ListMember } from '../linked-list.ts';

/** A caller that has nothing here any more still counts for so long. */
export const ACTIVE_CALLER_WINDOW_MS = 3_000;

/** More callers than this are as many as this. */
const MAX_REMEMBERED = 4_096;

/** One caller; in the list of recent ones while it has nothing here. */
class Caller extends ListMember {
  readonly key: string;
  outstanding = 0;
  /** When its last request ended, monotonic ms. */
  endedMs = 0;

  constructor(key: string) {
    super();
    this.key = key;
  }
}

export class CallerCounts {
  /** Present or recent. */
  readonly #callers = new Map<string, Caller>();
  /** Those who ended first in front. */
  readonly #recent = new LinkedList<Caller>();

  began(key: string): void {
    let caller = this.#callers.get(key);
    if (caller === undefined) {
      caller = new Caller(key);
      this.#callers.set(key, caller);
    }
    this.#recent.remove(caller);
    caller.outstanding += 1;
  }

  /** Once for each `began`. */
  ended(key: string, nowMs: number): void {
    const caller = this.#callers.get(key);
    if (caller === undefined || caller.outstanding === 0) return;
    caller.outstanding -= 1;
    if (caller.outstanding > 0) return;
    caller.endedMs = nowMs;
    this.#recent.add(caller);
    if (this.#recent.size > MAX_REMEMBERED) this.#forget(this.#recent.first);
  }

  /** Requests of this caller that are here now. */
  outstandingOf(key: string): number {
    return this.#callers.get(key)?.outstanding ?? 0;
  }

  /** Callers with a request here now or within the window, at least 1. */
  activeCallers(nowMs: number): number {
    for (;;) {
      const oldest = this.#recent.first;
      if (oldest === null || nowMs - oldest.endedMs < ACTIVE_CALLER_WINDOW_MS) break;
      this.#forget(oldest);
    }
    return Math.max(1, this.#callers.size);
  }

  #forget(caller: Caller | null): void {
    if (caller === null) return;
    this.#recent.remove(caller);
    this.#callers.delete(caller.key);
  }
}
