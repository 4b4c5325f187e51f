/**
 * One service of one peer, as the balancer sees it: the last reported figures and my own count.
 *
 * Plain mutable numbers in one flat object, instead of an immutable snapshot per report: a choice reads a thousand of
 * them in microseconds and a response updates one, neither allocating.
 */
import type { Endpoint } from './peer.ts';
import type { Counted } from './standing.ts';

/** How a request that was sent to an endpoint ended, as far as the endpoint is to blame. */
export type EndpointOutcome =
  | Counted
  /** It said no: its sidecar before the worker saw anything (saturated, draining, warming, 421), or the worker: no mark. */
  | 'refused'
  /** The client went away: no mark. */
  | 'cancelled';
/** A report counts in full for so long; then less and less, until the TTL. */
export const FRESH_MS = 3_000;

/** Weight of one outcome in the failure rate. */
const FAILURE_ALPHA = 0.1;

/** Time constant at which the failure rate fades by itself: without it, one bad minute would bar for ever. */
const FAILURE_TAU_MS = 5_000;

/** Count a request as mine at the moment it is sent, so that a burst between two reports spreads. */
export function begin(endpoint: Endpoint, nowMs: number): void {
  endpoint.outstanding += 1;
  endpoint.standing.health.tried(nowMs);
}

/** Undo `begin` and judge. Call exactly once for each `begin`. */
export function finish(endpoint: Endpoint, outcome: EndpointOutcome, nowMs: number): void {
  endpoint.outstanding = Math.max(0, endpoint.outstanding - 1);
  const { standing } = endpoint;
  if (outcome === 'refused' || outcome === 'cancelled') {
    standing.health.abandoned(nowMs);
    return;
  }
  const wasEjected = standing.health.state.kind !== 'closed';
  const rate = failureRateAt(endpoint, nowMs);
  endpoint.failureAtMs = nowMs;
  if (outcome === 'failed') endpoint.failureRate = rate + FAILURE_ALPHA * (1 - rate);
  else endpoint.failureRate = wasEjected ? 0 : rate * (1 - FAILURE_ALPHA);
  standing.answered(outcome, nowMs);
}

/** Requests that are there now, as far as is known: those of others as reported, and mine. */
export function requestsAt(endpoint: Endpoint): number {
  const reported = endpoint.inFlight + endpoint.queued;
  return Math.max(0, reported - endpoint.mineReported) + endpoint.outstanding;
}

/** The failure rate as it has faded until now, 0..1. */
export function failureRateAt(endpoint: Endpoint, nowMs: number): number {
  const rate = Math.min(1, endpoint.failureRate);
  if (!(rate > 0)) return 0;
  const elapsedMs = nowMs - endpoint.failureAtMs;
  return elapsedMs > 0 ? rate * Math.exp(-elapsedMs / FAILURE_TAU_MS) : rate;
}
