/**
 * Health of a peer: ejection after failures in a row, and the way back through one real request.
 *
 * Apart from route-health, instead of one breaker for both: a black-holed VPN is not the worker's fault, and a failing
 * worker is not cured by another route. Time is passed in.
 */

/** Failures in a row that eject. */
export const EJECT_AFTER_FAILURES = 5;

/** The n-th ejection lasts n times this. */
export const EJECTION_MS = 30_000;
export const MAX_EJECTION_MS = 300_000;

/** A trial that has not ended by then no longer keeps others from trying (a stream may run for hours). */
const TRIAL_MS = 10_000;

/** A peer that starts anew more often is not excused again: by its own word it would never be ejected. */
const EXCUSED_EVERY_MS = 10_000;

export type PeerHealthState =
  | { readonly kind: 'closed' }
  /** From `untilMs` on, one real request at a time may decide. */
  | { readonly kind: 'ejected'; readonly untilMs: number }
  /** One real request is on its way. */
  | { readonly kind: 'half_open'; readonly trialSinceMs: number };

const CLOSED: PeerHealthState = { kind: 'closed' };

export class PeerHealth {
  #state: PeerHealthState = CLOSED;
  #failures = 0;
  #ejections = 0;
  #recoveredAtMs = Number.NEGATIVE_INFINITY;
  #resetAtMs = Number.NEGATIVE_INFINITY;

  get state(): PeerHealthState {
    return this.#state;
  }

  /** Failures in a row. */
  get consecutiveFailures(): number {
    return this.#failures;
  }

  /** A request is being sent: once the ejection is over, it takes the one trial. */
  tried(nowMs: number): void {
    if (this.#state.kind !== 'closed' && !this.isEjected(nowMs)) {
      this.#state = { kind: 'half_open', trialSinceMs: nowMs };
    }
  }

  /** Any success closes it: a request that was tried because nobody else was left counts as well. */
  succeeded(nowMs: number): void {
    this.#failures = 0;
    if (this.#state.kind === 'closed') return;
    this.#state = CLOSED;
    this.#recoveredAtMs = nowMs;
  }

  failed(nowMs: number): void {
    this.#failures += 1;
    const isTrial = this.#state.kind === 'half_open';
    if (!isTrial && (this.#state.kind === 'ejected' || this.#failures < EJECT_AFTER_FAILURES)) return;
    if (nowMs - this.#recoveredAtMs > MAX_EJECTION_MS && !isTrial) this.#ejections = 0;
    this.#ejections += 1;
    const lastsMs = Math.min(MAX_EJECTION_MS, EJECTION_MS * this.#ejections);
    this.#state = { kind: 'ejected', untilMs: nowMs + lastsMs };
  }

  /** The request ended without a judgement (turned away, client gone): gives a trial back. */
  abandoned(nowMs: number): void {
    if (this.#state.kind === 'half_open') this.#state = { kind: 'ejected', untilMs: nowMs };
  }

  isEjected(nowMs: number): boolean {
    const state = this.#state;
    if (state.kind === 'closed') return false;
    if (state.kind === 'ejected') return nowMs < state.untilMs;
    return nowMs < state.trialSinceMs + TRIAL_MS;
  }

  /**
   * The peer says that it has started anew: what its former life did is not held against it. False when it said so a
   * moment ago; then all stays as it is.
   */
  reset(nowMs: number): boolean {
    if (nowMs - this.#resetAtMs < EXCUSED_EVERY_MS) return false;
    this.#resetAtMs = nowMs;
    this.#state = CLOSED;
    this.#failures = 0;
    this.#ejections = 0;
    this.#recoveredAtMs = Number.NEGATIVE_INFINITY;
    return true;
  }
}
