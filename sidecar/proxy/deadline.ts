/**
 * The time limit that a caller sets for a whole request (`sidecar-deadline-ms`).
 *
 * A real timer, because the caller means milliseconds. It must not know what is given up when it passes.
 */
import { fairTimeout } from './fair-timeout.ts';

export class Deadline {
  /** Resolves when the time is up; never, when it is cancelled before. */
  readonly passed: Promise<void>;
  readonly cancel: () => void;

  constructor(afterMs: number) {
    let resolve: () => void = () => {};
    this.passed = new Promise((done) => {
      resolve = done;
    });
    this.cancel = fairTimeout(resolve, afterMs);
  }
}
