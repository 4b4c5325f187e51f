/**
 * Who calls a service: how many requests of each are here, and how many callers share it.
 *
 * A caller counts as one who shares for a while after its last request ended, instead of only while it has one here:
 * with short requests the others are rarely here in the same instant, and each would think itself alone.
 */

/** A caller that has nothing here any more still counts for so long. */
export const ACTIVE_CALLER_WINDOW_MS = 3_000;

/** More callers than this are as many as this. */
const MAX_REMEMBERED = 4_096;

export class CallerCounts {
  readonly #present = new Map<string, number>();
  /** Caller → when its last request ended (monotonic ms), those who ended first in front. */
  readonly #recent = new Map<string, number>();

  began(key: string): void {
    this.#present.set(key, (this.#present.get(key) ?? 0) + 1);
    this.#recent.delete(key);
  }

  /** Once for each `began`. */
  ended(key: string, nowMs: number): void {
    const left = (this.#present.get(key) ?? 0) - 1;
    if (left > 0) {
      this.#present.set(key, left);
      return;
    }
    if (!this.#present.delete(key)) return;
    this.#recent.set(key, nowMs);
    if (this.#recent.size <= MAX_REMEMBERED) return;
    const [oldest] = this.#recent.keys();
    if (oldest !== undefined) this.#recent.delete(oldest);
  }

  /** Requests of this caller that are here now. */
  outstandingOf(key: string): number {
    return this.#present.get(key) ?? 0;
  }

  /** Callers with a request here now or within the window, at least 1. */
  activeCallers(nowMs: number): number {
    for (const [key, endedMs] of this.#recent) {
      if (nowMs - endedMs < ACTIVE_CALLER_WINDOW_MS) break;
      this.#recent.delete(key);
    }
    return Math.max(1, this.#present.size + this.#recent.size);
  }
}
