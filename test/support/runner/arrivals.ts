/**
 * A queue between events and a test that awaits them one by one, in order.
 *
 *
 */

/** A test that waits longer than this waits for something that will not come, unless it knows of much work. */
export const PATIENCE_MS = 5_000;

/** Rejects instead of hanging, and says what was awaited. */
export function within<T>(
  promise: Promise<T>,
  what: () => string,
  patienceMs: number = PATIENCE_MS,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`waited in vain for ${what()}`)), patienceMs);
    // While a test waits, its runner keeps the process; a wait that nobody awaits any more must not.
    timer.unref();
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

export class Arrivals<T> {
  readonly #name: string;
  readonly #waiting: T[] = [];
  readonly #takers: ((item: T) => void)[] = [];

  constructor(name: string) {
    this.#name = name;
  }

  /** Arrived and not taken yet. */
  get size(): number {
    return this.#waiting.length;
  }

  push(item: T): void {
    const taker = this.#takers.shift();
    if (taker === undefined) this.#waiting.push(item);
    else taker(item);
  }

  next(): Promise<T> {
    const item = this.#waiting.shift();
    if (item !== undefined) return Promise.resolve(item);
    return within(new Promise((resolve) => this.#takers.push(resolve)), () => this.#name);
  }
}
