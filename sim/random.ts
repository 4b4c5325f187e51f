/**
 * Randomness with a seed: the same run each time, and the same demands for each policy.
 *
 * sfc32 (C. Doty-Humphrey, PractRand, public domain), which passes its tests and needs no BigInt. It must not know
 * what is drawn for.
 */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: number) {
    this.#a = seed | 0;
    this.#b = Math.imul(seed, 0x9e3779b1) | 0;
    this.#c = 0x2545f491;
    for (let i = 0; i < 16; i++) this.next();
  }

  /** Uniform in [0, 1). */
  next(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum;
    return (sum >>> 0) / 4294967296;
  }

  /** Below `count`. */
  index(count: number): number {
    return Math.floor(this.next() * count);
  }

  exponential(mean: number): number {
    return -Math.log(1 - this.next()) * mean;
  }

  /** Of this mean before it is cut off at `max`; `sigma` of the logarithm. */
  logNormal(mean: number, sigma: number, max: number): number {
    const normal = Math.sqrt(-2 * Math.log(1 - this.next())) * Math.cos(2 * Math.PI * this.next());
    return Math.min(max, mean * Math.exp(sigma * normal - (sigma * sigma) / 2));
  }

  /** `count` different ones of `items`, in random order. */
  sample<T>(items: readonly T[], count: number): T[] {
    const left = [...items];
    for (let i = 0; i < Math.min(count, left.length); i++) {
      const from = i + this.index(left.length - i);
      const taken = left[from] as T;
      left[from] = left[i] as T;
      left[i] = taken;
    }
    return left.slice(0, count);
  }
}
