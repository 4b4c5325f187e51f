/**
 * May this request be sent again? The rule, and the budget that keeps retries from becoming a storm.
 *
 * A table of stage × method instead of a list of error texts: what was sent decides, not what went wrong.
 */

export type Stage =
  /** No byte reached a worker: refused, timed out, or turned away by the peer's sidecar. */
  | 'not_sent'
  /** Sent, and no byte of a response came. */
  | 'sent'
  /** The worker has seen it, and says that it does not take it up (429, 503 with Retry-After, gRPC 8 and 14). */
  | 'refused'
  /** A response has begun. */
  | 'begun';

export interface RetryQuestion {
  readonly stage: Stage;
  readonly method: string;
  /** The whole body can still be sent from its first byte: none of it was consumed, or all of that is kept. */
  readonly replayable: boolean;
  /** The request carries `Idempotency-Key`. */
  readonly idempotencyKey: boolean;
  /** The service allows POST with a key to be sent again. */
  readonly postOptIn: boolean;
  /** The service allows what a worker refused to be sent to another. */
  readonly refusedOptIn: boolean;
}

// RFC 9110 §9.2.2.
const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);

/** With the leave of both, the app and the service. */
const BY_LEAVE: ReadonlySet<string> = new Set(['POST', 'PATCH']);

export function mayRetry(q: RetryQuestion): boolean {
  if (!q.replayable || q.stage === 'begun') return false;
  if (q.stage === 'not_sent') return true;
  if (q.stage === 'refused') return q.refusedOptIn;
  if (IDEMPOTENT.has(q.method)) return true;
  return BY_LEAVE.has(q.method) && q.idempotencyKey && q.postOptIn;
}

const NOT_KEPT = 'not sent again, since its body is not kept whole (retries.replay)';

/** Why a request that failed is not sent again, for people; null = it may be. */
export function whyNoRetry(q: RetryQuestion): string | null {
  if (mayRetry(q)) return null;
  if (q.stage === 'begun') return 'a response had begun';
  if (q.stage === 'refused' && !q.refusedOptIn) return 'not sent to another worker (retries.refused is off)';
  if (q.stage === 'not_sent' || q.stage === 'refused' || IDEMPOTENT.has(q.method)) return NOT_KEPT;
  if (!BY_LEAVE.has(q.method))
    return 'not sent again, since it may have been done, and its method is none that may be repeated';
  if (!q.idempotencyKey || !q.postOptIn)
    return `not sent again, since it may have been done: a ${q.method} needs Idempotency-Key and retries.post for that`;
  return NOT_KEPT;
}

export interface RetryBudgetOptions {
  /** Retries allowed per request, e.g. 0.2. */
  readonly ratio: number;
  /** Retries allowed on top, per second. */
  readonly perSecond: number;
}

/** Credit of past requests does not pile up beyond so many of them. */
const MAX_CREDIT_REQUESTS = 1000;

export class RetryBudget {
  readonly #ratio: number;
  readonly #perSecond: number;
  #earned = 0;
  #reserve: number;
  #refilledAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: RetryBudgetOptions) {
    this.#ratio = options.ratio;
    this.#perSecond = options.perSecond;
    this.#reserve = options.perSecond;
  }

  /** A first attempt: earns `ratio` of a retry. */
  deposit(nowMs: number): void {
    this.#refill(nowMs);
    this.#earned = Math.min(this.#ratio * MAX_CREDIT_REQUESTS, this.#earned + this.#ratio);
  }

  /** Take one retry; false when there is none. */
  withdraw(nowMs: number): boolean {
    this.#refill(nowMs);
    // The reserve first: it comes back by itself.
    if (this.#reserve >= 1) {
      this.#reserve -= 1;
      return true;
    }
    // 1e-9: five deposits of 0.2 are a hair less than one.
    if (this.#earned >= 1 - 1e-9) {
      this.#earned = Math.max(0, this.#earned - 1);
      return true;
    }
    return false;
  }

  #refill(nowMs: number): void {
    const elapsedMs = nowMs - this.#refilledAtMs;
    if (!(elapsedMs > 0)) return;
    this.#refilledAtMs = nowMs;
    if (elapsedMs === Number.POSITIVE_INFINITY) return;
    this.#reserve = Math.min(this.#perSecond, this.#reserve + (this.#perSecond * elapsedMs) / 1000);
  }
}
