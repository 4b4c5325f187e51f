/**
 * A moving average over samples, which begins with a median and forgets when no sample comes for long.
 *
 * Weighted by samples and not by time: under load many requests end in the same millisecond, and a
 * time-decayed average would ignore all but the first. It begins with the median of the first few, since a
 * cold first request (a cache to fill, code to compile) is no measure of a worker: as a mean it kept one out
 * of the free set until a minute had passed. It must not know what is averaged.
 */

export interface EwmaOptions {
  /** Samples until it is known at all; odd. Then it is their median. */
  readonly first: number;
  /** The weight of a new sample is 1 / min(samples so far, this). */
  readonly samples: number;
  /** With no sample for so long the average is unknown again. */
  readonly forgetMs: number;
}

export class Ewma {
  readonly #options: EwmaOptions;
  readonly #first: number[] = [];
  #value = Number.NaN;
  #count = 0;
  #lastMs = Number.NEGATIVE_INFINITY;

  constructor(options: EwmaOptions) {
    this.#options = options;
  }

  /** A sample that is not finite is ignored: one NaN would poison the average for ever. */
  add(sample: number, nowMs: number): void {
    if (!Number.isFinite(sample)) return;
    const { first, forgetMs, samples } = this.#options;
    if (nowMs - this.#lastMs > forgetMs) this.#first.length = 0;
    this.#lastMs = Math.max(this.#lastMs, nowMs);
    if (this.#first.length < first) {
      this.#first.push(sample);
      this.#value = this.#first.length < first ? Number.NaN : middleOf(this.#first);
      this.#count = this.#first.length;
      return;
    }
    this.#count = Math.min(this.#count + 1, samples);
    this.#value += (sample - this.#value) / this.#count;
  }

  /** null = unknown. */
  valueAt(nowMs: number): number | null {
    return Number.isNaN(this.#value) || nowMs - this.#lastMs > this.#options.forgetMs ? null : this.#value;
  }
}

function middleOf(samples: readonly number[]): number {
  return samples.toSorted((a, b) => a - b)[samples.length >> 1] ?? Number.NaN;
}
