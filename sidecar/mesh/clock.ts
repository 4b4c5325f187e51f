/**
 * The clock of the mesh: what time it is, and how to be called later.
 *
 * Passed in instead of the globals, so that a test can let 60 s pass at once and see that nothing is left waiting after
 * a stop. Two readings, because ages are measured on a clock that cannot jump and signed times are compared with other
 * hosts.
 */
import { performance } from 'node:perf_hooks';

export interface Clock {
  /** Milliseconds that only go forward; the zero point means nothing. */
  monotonicMs(): number;
  /** Milliseconds since 1970. */
  unixMs(): number;
  /** Calls `run` once after `delayMs`. The returned function calls it off and may be called at any time. */
  after(delayMs: number, run: () => void): () => void;
}

export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  unixMs: () => Date.now(),
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs);
    return () => clearTimeout(timer);
  },
};

/**
 * Settles like `work`, or with `fallback` once `limitMs` have passed. The work itself goes on, and its later
 * failure is swallowed: it was given up, not forgotten.
 */
export function within<T, F>(clock: Clock, limitMs: number, work: Promise<T>, fallback: F): Promise<T | F> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(Math.max(0, limitMs), () => resolve(fallback));
    work.then(resolve, reject).finally(cancel);
  });
}
