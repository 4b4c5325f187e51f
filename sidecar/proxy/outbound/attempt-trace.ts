/**
 * One try as the reader of a response or of /explain sees it: at whom, by which route and address, what came of it,
 * when.
 *
 * Made in one place, so that the response, the record of the request and the log of both say the same words.
 */
import type { Code } from '../../core/errors.ts';
import type { Peer } from '../../core/peers/peer.ts';
import type { Route, RouteKind } from '../../core/peers/route.ts';
import { routeAddress } from '../../core/peers/route.ts';
import type { Stage } from '../../core/retry.ts';
import type { AttemptOutcome } from '../../http/attempt-outcome.ts';
import type { AttemptTrace } from '../problem.ts';
import type { LocalService } from '../worker/local-service.ts';

/** Whom it went to. */
export type Tried =
  | { readonly kind: 'local'; readonly service: LocalService }
  | { readonly kind: 'peer'; readonly peer: Peer; readonly route: Route };

/** Ends that the request brought about itself: they say nothing of the peer. */
const OWN_DOING: ReadonlySet<Code> = new Set([
  'request_timeout',
  'loop_detected',
  'grpc_not_carried',
  'body_too_large',
]);

/** Ends for which the peer that was asked is not to blame. */
export const NO_FAULT_OF_THE_PEER: ReadonlySet<Code> = new Set([
  // The app's own doing.
  'loop_detected',
  'request_timeout',
  'deadline',
  'grpc_not_carried',
  // Its sidecar lives, and withdraws the worker that is gone.
  'connect_failed',
  'connect_timeout',
  'certificate_untrusted',
  // It says how it is.
  'not_offered_here',
  'saturated',
  'draining',
  'paused',
  'warming',
  'worker_refused',
]);

/** A worker has refused it, and another may be asked. */
export function refusedText(status: number): string {
  return status === 200 ? 'its worker refused it by its gRPC status' : `its worker refused it with ${status}`;
}

/** By then a sidecar that lives has been asked over the route, and has answered. */
const TELLING_MS = 1_500;

interface Failure {
  readonly code: Code;
  readonly stage: Stage;
  readonly detail: string;
}

interface Times {
  /** Arrival of the request, Unix ms. */
  readonly arrivedAtMs: number;
  /** Since then. */
  readonly startedMs: number;
  readonly tookMs: number;
}

export function traceOf(tried: Tried, ownId: string, failure: Failure, times: Times): AttemptTrace {
  const { code, stage, detail } = failure;
  return {
    peer: workerOf(tried, ownId),
    route: kindOf(tried),
    address: tried.kind === 'local' ? tried.service.address : routeAddress(tried.route),
    code,
    stage,
    reason: detail,
    at: new Date(times.arrivedAtMs + times.startedMs).toISOString(),
    at_ms: round(times.startedMs),
    took_ms: round(times.tookMs),
  };
}

/** worker_id. */
export function workerOf(tried: Tried, ownId: string): string {
  return tried.kind === 'local' ? ownId : tried.peer.record.worker_id;
}

export function kindOf(tried: Tried): RouteKind {
  return tried.kind === 'local' ? 'local' : tried.route.kind;
}

/** The one sentence of an attempt. */
export function attemptText({ peer, route, address, reason }: AttemptTrace): string {
  const where = route === 'local' ? `the local worker (${address})` : `${peer} by ${route} (${address})`;
  return `${where}: ${reason}`;
}

/** What an operator is told of it later, when the peer is not chosen for that; null = nothing went wrong there. */
export function faultText(outcome: AttemptOutcome): string | null {
  switch (outcome.kind) {
    case 'completed':
      return outcome.status >= 500 ? `its worker answered with ${outcome.status}` : null;
    case 'failed':
    case 'broken':
      return OWN_DOING.has(outcome.code) || outcome.code === 'worker_refused'
        ? null
        : `${outcome.code}: ${outcome.detail}`;
    case 'client_gone':
      return null;
  }
}

/** Whether the silence of an unanswered request is that of the worker or of the way to it, as far as is known. */
export function withSigns(outcome: AttemptOutcome, route: Route, sentMs: number): AttemptOutcome {
  if (outcome.kind !== 'failed' || (outcome.code !== 'response_timeout' && outcome.code !== 'deadline'))
    return outcome;
  if (route.health.heardAtMs > sentMs)
    return { ...outcome, detail: `${outcome.detail}; its sidecar answers meanwhile, its worker does not` };
  if (performance.now() - sentMs < TELLING_MS) return outcome;
  return { ...outcome, detail: `${outcome.detail}; its sidecar does not answer by ${route.kind} either` };
}

function round(ms: number): number {
  return Math.round(ms * 10) / 10;
}
