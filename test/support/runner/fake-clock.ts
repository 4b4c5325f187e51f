/**
 * A clock that stands still until it is told to move: an hour of timers runs in a millisecond.
 *
 * Own and small, because node's mock timers replace globals and the mesh takes its clock as a parameter. It
 * must not know what the timers are for.
 */
import type { Clock } from '../../../sidecar/mesh/clock.ts';

interface Timer {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

export class FakeClock implements Clock {
  #nowMs: number;
  #order = 0;
  #sleptMs = 0;
  readonly #timers = new Set<Timer>();

  constructor(startMs = 1_000_000) {
    this.#nowMs = startMs;
  }

  /** Timers that have not run: 0 after everything was stopped. */
  get pending(): number {
    return this.#timers.size;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  unixMs(): number {
    return 1_700_000_000_000 + this.#nowMs + this.#sleptMs;
  }

  /** As a host that is suspended: only the time of day goes on. */
  sleep(ms: number): void {
    this.#sleptMs += ms;
  }

  after(delayMs: number, run: () => void): () => void {
    this.#order += 1;
    const timer = { atMs: this.#nowMs + delayMs, order: this.#order, run };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  }

  /** Runs what is due, in order; before each timer and at the end all promises that can settle do. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    for (;;) {
      await settle();
      let next: Timer | null = null;
      for (const timer of this.#timers) {
        if (timer.atMs > endMs) continue;
        if (
          next === null ||
          timer.atMs < next.atMs ||
          (timer.atMs === next.atMs && timer.order < next.order)
        ) {
          next = timer;
        }
      }
      if (next === null) break;
      this.#timers.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.run();
    }
    this.#nowMs = endMs;
    await settle();
  }
}

/** Lets promise chains run that need no event of the outside world. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn += 1) await new Promise<void>((resolve) => setImmediate(resolve));
}
