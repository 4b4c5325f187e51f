/**
 * Health of one route to a peer: up, down, or down with something on its way to find out.
 *
 * Down after a single failure and not after several, since each try over a black-holed VPN costs a request its whole
 * connect time-out. A probe brings it back; where nobody probes, a request does, rarely.
 */

export type RouteHealthState =
  | { readonly kind: 'up' }
  | {
      readonly kind: 'down';
      readonly sinceMs: number;
      readonly failures: number;
      readonly failedAtMs: number;
    }
  | {
      readonly kind: 'probing';
      readonly sinceMs: number;
      readonly failures: number;
      readonly failedAtMs: number;
      readonly trialSinceMs: number;
    };

/** A probe of a route that is down is due so long after each failure. */
const PROBE_AFTER_MS = 1_000;

/** A request tries a route that is down, and that no probe has brought back, n times this after the n-th failure. */
const REQUEST_AFTER_MS = 30_000;
const MAX_REQUEST_AFTER_MS = 300_000;

/** A trial that has not ended by then is lost. */
const TRIAL_MS = 5_000;

/** Weight of a new measurement in `extraMs`. */
const EXTRA_ALPHA = 0.2;

const UP: RouteHealthState = { kind: 'up' };

export class RouteHealth {
  #state: RouteHealthState = UP;
  /** Why it went down last, for people. */
  lastFault = '';
  /** Monotonic ms at which the peer was last heard over it; -Infinity = never. */
  heardAtMs: number = Number.NEGATIVE_INFINITY;
  /** Moving average of the time that this route adds to a request, in ms; NaN = not measured. */
  extraMs: number = Number.NaN;

  get state(): RouteHealthState {
    return this.#state;
  }

  get isUp(): boolean {
    return this.#state.kind === 'up';
  }

  /** A probe or a request got through. */
  succeeded(nowMs: number): void {
    this.heardAtMs = nowMs;
    this.#state = UP;
  }

  /** Nothing got through: refused, timed out, no such host. */
  failed(nowMs: number, why = ''): void {
    this.lastFault = why;
    const was = this.#state;
    const failures = was.kind === 'up' ? 1 : was.failures + 1;
    this.#state = {
      kind: 'down',
      sinceMs: was.kind === 'up' ? nowMs : was.sinceMs,
      failures,
      failedAtMs: nowMs,
    };
  }

  /** Something is being sent over it: while it is down, that is the one trial. */
  tried(nowMs: number): void {
    const was = this.#state;
    if (was.kind === 'down') this.#state = { ...was, kind: 'probing', trialSinceMs: nowMs };
  }

  /** One measurement of the time that the route adds, in ms: a probe's round trip. */
  measured(extraMs: number): void {
    if (!Number.isFinite(extraMs) || extraMs < 0) return;
    this.extraMs = Number.isNaN(this.extraMs)
      ? extraMs
      : this.extraMs + EXTRA_ALPHA * (extraMs - this.extraMs);
  }

  /** May a request use it, in its place in the order of preference? */
  usable(nowMs: number): boolean {
    const state = this.#state;
    if (state.kind === 'up') return true;
    return this.#isDue(nowMs, Math.min(MAX_REQUEST_AFTER_MS, REQUEST_AFTER_MS * state.failures));
  }

  /** Down, and a probe of it is due; also when a request may use it where the peer has no other route. */
  probeDue(nowMs: number): boolean {
    return this.#state.kind !== 'up' && this.#isDue(nowMs, PROBE_AFTER_MS);
  }

  /** The peer has started anew, so the route may be as good as any. */
  reset(): void {
    this.#state = UP;
  }

  #isDue(nowMs: number, afterMs: number): boolean {
    const state = this.#state;
    if (state.kind === 'up') return false;
    if (state.kind === 'probing' && nowMs < state.trialSinceMs + TRIAL_MS) return false;
    return nowMs >= state.failedAtMs + afterMs;
  }
}
