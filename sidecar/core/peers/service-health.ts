/**
 * Health of one service of one worker: ejection after failures in a row, or because its answers stand out, and the way
 * back through one real request.
 *
 * Of a service and not of the whole worker: one that breaks takes no other one along. Apart from route-health, since a
 * black-holed VPN is not the worker's fault, and a failing worker is not cured by another route. Time is passed in.
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

export type ServiceHealthState =
  | { readonly kind: 'closed' }
  /** From `untilMs` on, one real request at a time may decide. */
  | { readonly kind: 'ejected'; readonly untilMs: number }
  /** One real request is on its way. */
  | { readonly kind: 'half_open'; readonly trialSinceMs: number };

/** What of its answers stood out from those of the others, and how, for people. */
export interface Outlier {
  readonly of: 'failed' | 'rejected';
  readonly text: string;
}

const CLOSED: ServiceHealthState = { kind: 'closed' };

export class ServiceHealth {
  #state: ServiceHealthState = CLOSED;
  #failures = 0;
  #ejections = 0;
  #outlier: Outlier | null = null;
  #recoveredAtMs = Number.NEGATIVE_INFINITY;
  #resetAtMs = Number.NEGATIVE_INFINITY;

  get state(): ServiceHealthState {
    return this.#state;
  }

  /** Failures in a row. */
  get consecutiveFailures(): number {
    return this.#failures;
  }

  /** Why it is ejected, when not for failures in a row. */
  get outlier(): Outlier | null {
    return this.#outlier;
  }

  /** A request is being sent: once the ejection is over, it takes the one trial. */
  tried(nowMs: number): void {
    if (this.#state.kind !== 'closed' && !this.isEjected(nowMs)) {
      this.#state = { kind: 'half_open', trialSinceMs: nowMs };
    }
  }

  /**
   * Closes it: a request that was tried because nobody else was left counts as well. Not so for an outlier, some of
   * whose answers are good: there only the trial decides.
   */
  succeeded(nowMs: number): void {
    this.#failures = 0;
    if (this.#state.kind === 'closed' || (this.#outlier !== null && this.#state.kind === 'ejected')) return;
    this.#state = CLOSED;
    this.#outlier = null;
    this.#recoveredAtMs = nowMs;
  }

  /** It answered with a client error: as good as any answer, except where too many of those have ejected it. */
  rejected(nowMs: number): void {
    if (this.#outlier?.of !== 'rejected') this.succeeded(nowMs);
    else if (this.#state.kind === 'half_open') this.#eject(nowMs);
  }

  failed(nowMs: number): void {
    this.#failures += 1;
    const isTrial = this.#state.kind === 'half_open';
    if (!isTrial && (this.#state.kind === 'ejected' || this.#failures < EJECT_AFTER_FAILURES)) return;
    this.#eject(nowMs);
  }

  /** Its answers stand out from those of the others. */
  stoodOut(outlier: Outlier, nowMs: number): void {
    if (this.#state.kind === 'ejected') return;
    this.#outlier = outlier;
    this.#eject(nowMs);
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
    this.#outlier = null;
    this.#recoveredAtMs = Number.NEGATIVE_INFINITY;
    return true;
  }

  #eject(nowMs: number): void {
    const isTrial = this.#state.kind === 'half_open';
    if (nowMs - this.#recoveredAtMs > MAX_EJECTION_MS && !isTrial) this.#ejections = 0;
    this.#ejections += 1;
    const lastsMs = Math.min(MAX_EJECTION_MS, EJECTION_MS * this.#ejections);
    this.#state = { kind: 'ejected', untilMs: nowMs + lastsMs };
  }
}
