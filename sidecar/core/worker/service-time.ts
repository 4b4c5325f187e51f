/**
 * What a worker takes for a request: a slow average of samples that gives way when the worker has changed.
 *
 * Slow, since work is heavy-tailed and the estimate steers: at 50 samples its noise alone filled a worker to 15 % over
 * its part in a burst (simulated; 8 % at 200). What a slow average is bad at is told apart from noise instead:
 * - it begins with the median of a few, for a cold first request (a cache to fill, code to compile) is no measure;
 * - when the recent samples say far more or far less, it goes on from those;
 * - after a long silence it is unknown, so that a worker once found slow is tried again. Three trials in a row that
 *   are far quicker begin it anew; one that is not lets it go on, and the next silence is longer: forgetting all
 *   cost a fleet with slow machines one request in a hundred, each minute again.
 * By samples and not by time: under load many requests end in the same millisecond.
 */

/** Until it is known at all; odd. */
const FIRST = 5;

/** The weight of a new sample is 1 / min(samples so far, this). */
const WINDOW = 200;

/** The same for what is recent. */
const RECENT = 20;

/** So many times more or less in the recent ones is a change; less is noise (of log-normal work, once in 100,000). */
const CHANGE_RATIO = 2.5;

/** With nothing to do for so long it is unknown. */
const SILENCE_MS = 60_000;
const MAX_SILENCE_MS = 16 * SILENCE_MS;

/** Trials after a silence that begin it anew; odd. */
const TRIALS = 3;

/** A trial counts as one when it is so many times quicker than the average: less is usual for single requests. */
const TRIAL_RATIO = 4;

export class ServiceTime {
  /** The first samples ever, or the trials after a silence; empty while there is nothing to settle. */
  #open: number[] = [];
  #value = Number.NaN;
  #recent = Number.NaN;
  #count = 0;
  #lastMs = Number.NEGATIVE_INFINITY;
  #silenceMs = SILENCE_MS;

  /** A sample that is not finite is ignored: one NaN would poison the average for ever. */
  add(serviceMs: number, nowMs: number): void {
    if (!Number.isFinite(serviceMs)) return;
    if (Number.isNaN(this.#value)) {
      this.#lastMs = nowMs;
      this.#settle(serviceMs, FIRST);
      return;
    }
    // While it was being served the worker was not silent.
    if (nowMs - serviceMs - this.#lastMs > this.#silenceMs) {
      if (serviceMs * TRIAL_RATIO < this.#value) {
        // Not heard from yet: as long as it is on trial it stays unknown.
        if (this.#settle(serviceMs, TRIALS)) {
          this.#lastMs = nowMs;
          this.#silenceMs = SILENCE_MS;
        }
        return;
      }
      this.#open = [];
      this.#silenceMs = Math.min(2 * this.#silenceMs, MAX_SILENCE_MS);
    }
    this.#lastMs = Math.max(this.#lastMs, nowMs);
    this.#follow(serviceMs);
  }

  /** null = unknown. A busy worker is not forgotten, however long its requests take. */
  valueAt(nowMs: number, isBusy: boolean): number | null {
    if (Number.isNaN(this.#value)) return null;
    return !isBusy && nowMs - this.#lastMs > this.#silenceMs ? null : this.#value;
  }

  /** The median of `count` samples when they are together; returns whether they are. */
  #settle(serviceMs: number, count: number): boolean {
    this.#open.push(serviceMs);
    if (this.#open.length < count) return false;
    this.#value = this.#open.toSorted((a, b) => a - b)[count >> 1] as number;
    this.#recent = this.#value;
    this.#count = count;
    this.#open = [];
    return true;
  }

  #follow(serviceMs: number): void {
    this.#count = Math.min(this.#count + 1, WINDOW);
    this.#value += (serviceMs - this.#value) / this.#count;
    this.#recent += (serviceMs - this.#recent) / Math.min(this.#count, RECENT);
    const ratio = this.#recent / this.#value;
    if (ratio <= CHANGE_RATIO && ratio * CHANGE_RATIO >= 1) return;
    this.#value = this.#recent;
    this.#count = RECENT;
  }
}
