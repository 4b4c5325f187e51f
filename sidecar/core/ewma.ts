/**
 * A moving average over samples, which forgets when no sample comes for long.
 *
 * Weighted by samples and not by time: under load many requests end in the same millisecond, and a
 * time-decayed average would ignore all but the first. The first samples weigh like a plain mean. It must
 * not know what is averaged.
 */

export interface EwmaOptions {
  /** Samples after which the oldest hardly count; the weight of a new sample is 1 / min(samples so far, this). */
  readonly samples: number;
  /** With no sample for so long the average is unknown again. */
  readonly forgetMs: number;
}

export class Ewma {
  readonly #options: EwmaOptions;
  #value = Number.NaN;
  #count = 0;
  #lastMs = Number.NEGATIVE_INFINITY;

  constructor(options: EwmaOptions) {
    this.#options = options;
  }

  /** A sample that is not finite is ignored: one NaN would poison the average for ever. */
  add(sample: number, nowMs: number): void {
    if (!Number.isFinite(sample)) return;
    if (nowMs - this.#lastMs > this.#options.forgetMs) this.#count = 0;
    this.#lastMs = Math.max(this.#lastMs, nowMs);
    this.#count = Math.min(this.#count + 1, this.#options.samples);
    this.#value = this.#count === 1 ? sample : this.#value + (sample - this.#value) / this.#count;
  }

  /** null = unknown. */
  valueAt(nowMs: number): number | null {
    return this.#count === 0 || nowMs - this.#lastMs > this.#options.forgetMs ? null : this.#value;
  }
}
