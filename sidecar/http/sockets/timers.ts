/**
 * Time limits of requests and connections, coarse and exact.
 *
 * A setTimeout per request costs about 4 µs, as much as parsing its head, so limits of seconds to minutes share one
 * interval and fire a tick or two late. Both kinds let the sockets be read before they fire: after a pause of the whole
 * process (a busy host, SIGSTOP) Node runs due timers first, and what the kernel has long received would seem missing.
 */

import { LinkedList, ListMember } from '../../core/linked-list.ts';

/** Says in plain words which limit has passed. */
export function tooLate(limits: { headMs: number; idleMs: number } | null, hasBegun: boolean): string {
  if (hasBegun) return `no byte for ${limits?.idleMs} ms, the limit of timeouts.idle`;
  return `no response within ${limits?.headMs} ms, the limit of timeouts.head`;
}

export class CoarseTimer extends ListMember {
  /** By the clock of the timers; Infinity = not armed. */
  atMs = Number.POSITIVE_INFINITY;
  readonly onPassed: () => void;

  constructor(onPassed: () => void) {
    super();
    this.onPassed = onPassed;
  }
}

/**
 * Their clock counts ticks: the system's is not read some five times for each request, and while the process stands
 * still no time passes. A timer fires one to two ticks late, later where ticks are.
 */
export class CoarseTimers {
  readonly #armed = new LinkedList<CoarseTimer>();
  readonly #tickMs: number;
  #clockMs = 0;
  #timer: NodeJS.Timeout | null = null;

  constructor(tickMs: number) {
    this.#tickMs = tickMs;
  }

  /** Arms (or moves) a timer `afterMs` from now. Moving an armed one is one assignment. */
  arm(timer: CoarseTimer, afterMs: number): void {
    // The present tick may be over at any moment.
    timer.atMs = this.#clockMs + this.#tickMs + afterMs;
    if (timer.isListed) return;
    this.#armed.add(timer);
    if (this.#timer === null) {
      this.#timer = setInterval(() => this.#tick(), this.#tickMs);
      this.#timer.unref();
    }
  }

  disarm(timer: CoarseTimer): void {
    timer.atMs = Number.POSITIVE_INFINITY;
    this.#armed.remove(timer);
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
    this.#clockMs += this.#tickMs;
    // After the sockets were read: what came in while the loop stood still is not late.
    setImmediate(() => this.#check());
  }

  #check(): void {
    for (const timer of this.#armed.toArray()) {
      if (timer.atMs > this.#clockMs) continue;
      this.disarm(timer);
      timer.onPassed();
    }
  }
}

/**
 * Calls `onPassed` once, unless the function that it returns is called before: `setImmediate` runs after the poll phase
 * (libuv, the event loop), so what has arrived by then is read first.
 */
export function setTimeoutAfterPoll(onPassed: () => void, afterMs: number): () => void {
  let look: NodeJS.Immediate | null = null;
  const timer = setTimeout(() => {
    look = setImmediate(onPassed);
  }, afterMs);
  return () => {
    clearTimeout(timer);
    if (look !== null) clearImmediate(look);
  };
}

/** The limit that a caller sets for a whole request (`sidecar-deadline-ms`); exact, because it is in milliseconds. */
export class RequestDeadline {
  /** Resolves when the time is up; never, when it is cancelled before. */
  readonly passed: Promise<void>;
  readonly cancel: () => void;

  constructor(afterMs: number) {
    let resolve: () => void = () => {};
    this.passed = new Promise((done) => {
      resolve = done;
    });
    this.cancel = setTimeoutAfterPoll(resolve, afterMs);
  }
}
