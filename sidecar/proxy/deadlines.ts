/**
 * Coarse time limits: one interval checks all armed deadlines.
 *
 * A setTimeout per request costs about 4 µs, as much as parsing its head; limits of seconds to minutes do
 * not need that precision. They fire up to one tick late. Connect time-outs, which are short and rare, use
 * real timers. It must not know what a deadline is for.
 */

/** Which limit has passed, for people. */
export function tooLate(limits: { headMs: number; idleMs: number } | null, hasBegun: boolean): string {
  if (hasBegun) return `no byte for ${limits?.idleMs} ms, the limit of timeouts.idle`;
  return `no answer within ${limits?.headMs} ms, the limit of timeouts.head`;
}

export class Deadline {
  /** Monotonic ms; Infinity = not armed. */
  atMs = Number.POSITIVE_INFINITY;
  readonly onPassed: () => void;

  constructor(onPassed: () => void) {
    this.onPassed = onPassed;
  }
}

export class Deadlines {
  readonly #armed = new Set<Deadline>();
  readonly #tickMs: number;
  #timer: NodeJS.Timeout | null = null;

  constructor(tickMs: number) {
    this.#tickMs = tickMs;
  }

  /** Arms (or moves) a deadline `afterMs` from now. Moving an armed one is one assignment. */
  arm(deadline: Deadline, afterMs: number): void {
    const wasArmed = deadline.atMs !== Number.POSITIVE_INFINITY;
    deadline.atMs = performance.now() + afterMs;
    if (wasArmed) return;
    this.#armed.add(deadline);
    if (this.#timer === null) {
      this.#timer = setInterval(() => this.#tick(), this.#tickMs);
      this.#timer.unref();
    }
  }

  disarm(deadline: Deadline): void {
    if (deadline.atMs === Number.POSITIVE_INFINITY) return;
    deadline.atMs = Number.POSITIVE_INFINITY;
    this.#armed.delete(deadline);
  }

  get size(): number {
    return this.#armed.size;
  }

  #tick(): void {
    if (this.#armed.size === 0 && this.#timer !== null) {
      clearInterval(this.#timer);
      this.#timer = null;
      return;
    }
    // After the sockets were read: what came in while the loop stood still is not late (see fair-timeout).
    setImmediate(() => this.#check());
  }

  #check(): void {
    const nowMs = performance.now();
    for (const deadline of this.#armed) {
      if (deadline.atMs > nowMs) continue;
      this.disarm(deadline);
      deadline.onPassed();
    }
  }
}
