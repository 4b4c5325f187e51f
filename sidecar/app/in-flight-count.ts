/**
 * Counts what is running, and says when nothing is.
 *
 * For the drain: metrics count too, but nobody can wait for a metric.
 */

export class InFlightCount {
  #running = 0;
  #waiters: (() => void)[] = [];

  get running(): number {
    return this.#running;
  }

  began(): void {
    this.#running++;
  }

  ended(): void {
    this.#running--;
    if (this.#running > 0 || this.#waiters.length === 0) return;
    for (const wake of this.#waiters.splice(0)) wake();
  }

  /** True when nothing runs any more; false when `limitMs` passed or `cut` was aborted before. */
  idle(limitMs: number, cut: AbortSignal): Promise<boolean> {
    if (this.#running === 0) return Promise.resolve(true);
    if (cut.aborted) return Promise.resolve(false);
    return new Promise((resolve) => {
      const done = (isIdle: boolean): void => {
        clearTimeout(timer);
        cut.removeEventListener('abort', giveUp);
        resolve(isIdle);
      };
      const giveUp = (): void => done(false);
      const timer = setTimeout(giveUp, limitMs);
      cut.addEventListener('abort', giveUp);
      this.#waiters.push(() => done(true));
    });
  }
}
