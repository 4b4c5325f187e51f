/**
 * Counts what is running, and says when nothing is, or nothing has been for a while.
 *
 * For the drain: metrics count too, but nobody can wait for a metric.
 */
import { setTimeout as pause } from 'node:timers/promises';

const NEVER_MS = Number.NEGATIVE_INFINITY;

export class InFlightCount {
  #running = 0;
  /** Monotonic ms. */
  #endedAtMs = NEVER_MS;
  #waiters: (() => void)[] = [];

  get running(): number {
    return this.#running;
  }

  began(): void {
    this.#running++;
  }

  ended(): void {
    this.#running--;
    this.#endedAtMs = performance.now();
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

  /**
   * True when nothing runs and nothing has for `quietMs`, also before this was asked: who asks again and again is not
   * done between two requests. False when `limitMs` passed or `cut` was aborted before.
   */
  async quiet(quietMs: number, limitMs: number, cut: AbortSignal): Promise<boolean> {
    const untilMs = performance.now() + limitMs;
    for (;;) {
      const nowMs = performance.now();
      if (!(await this.idle(Math.max(0, untilMs - nowMs), cut))) return false;
      const restMs = this.#endedAtMs + quietMs - performance.now();
      if (restMs <= 0) return true;
      const leftMs = untilMs - performance.now();
      if (leftMs <= 0) return false;
      await pause(Math.min(restMs, leftMs), undefined, { signal: cut }).catch(() => {});
      if (cut.aborted) return false;
    }
  }
}
