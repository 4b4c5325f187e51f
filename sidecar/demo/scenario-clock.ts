/**
 * The clock of the demo: time since the traffic began, and waits that end early when the demo does.
 *
 * Every wait goes through here, so that Ctrl-C or the loss of a process ends the plot wherever it is.
 */
import { setTimeout as delay } from 'node:timers/promises';

export class ScenarioClock {
  readonly #end: AbortSignal;
  readonly #ended: Promise<never>;
  #zeroMs = performance.now();

  /** All waits reject with the reason of `end` once it is aborted. */
  constructor(end: AbortSignal) {
    this.#end = end;
    this.#ended = new Promise((_, reject) => {
      const fail = (): void => reject(end.reason);
      if (end.aborted) fail();
      else end.addEventListener('abort', fail, { once: true });
    });
    this.#ended.catch(() => {});
  }

  get elapsedMs(): number {
    return performance.now() - this.#zeroMs;
  }

  /** For sentences: `5.0`. */
  get seconds(): string {
    return (this.elapsedMs / 1000).toFixed(1);
  }

  restart(): void {
    this.#zeroMs = performance.now();
  }

  /** Until so long after the zero; at once if that has passed. Keeps no process alive. */
  async until(ms: number): Promise<void> {
    const waiting = delay(Math.max(0, ms - this.elapsedMs), undefined, { signal: this.#end, ref: false });
    // Its rejection says "aborted", ours says why.
    waiting.catch(() => {});
    await this.race(waiting);
  }

  /** The same promise, given up when the demo ends. */
  race<T>(promise: Promise<T>): Promise<T> {
    promise.catch(() => {});
    return Promise.race([this.#ended, promise]);
  }
}
