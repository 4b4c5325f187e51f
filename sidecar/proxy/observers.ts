/**
 * What the request path tells the rest of the program about each request; declared here by its consumer.
 */
import type { BoundTo, Explanation } from '../core/balancing/explain.ts';
import type { Code } from '../core/errors.ts';
import type { SkippedPeer } from '../core/peers/exclusion-reason.ts';
import type { RouteKind } from '../core/peers/route.ts';
import type { AttemptTrace } from './problem.ts';

export type RequestOutcome = 'ok' | 'worker_error' | 'rejected' | 'failed' | 'broken' | 'client_gone';

export interface FinishedOutbound {
  readonly id: string;
  /** Unix ms. */
  readonly atMs: number;
  readonly method: string;
  readonly service: string;
  /** Name of the app that asked, by its token; null where that has none. */
  readonly app: string | null;
  readonly route: RouteKind | 'none';
  /** Who answered, or had it when the client left; null when the sidecar did. */
  readonly peer: string | null;
  /** 499 when the client left. */
  readonly status: number | null;
  readonly outcome: RequestOutcome;
  readonly code: Code | null;
  readonly firstByteMs: number | null;
  readonly durationMs: number;
  /** Of a failure, for people; null when there is none. */
  readonly detail: string | null;
  readonly attempts: readonly AttemptTrace[];
  /** Workers that could not be asked, when that ended it. */
  readonly skipped: readonly SkippedPeer[];
  /** How the view was got: from the cache, by waiting for a lookup, or not needed. */
  readonly view: 'hit' | 'wait' | 'local' | 'none';
  readonly viewAgeMs: number | null;
  /** What the balancer saw; null unless the app asked for it. */
  readonly decision: Explanation | null;
  /** Which worker it was for, and what became of that; null = any. */
  readonly bound: BoundTo | null;
}

export interface FinishedInbound {
  readonly service: string;
  readonly outcome: RequestOutcome;
  readonly code: Code | null;
  readonly durationMs: number;
  /** Of a failure, for people; null when there is none. */
  readonly detail: string | null;
}

export interface OutboundObserver {
  requestStarted(): void;
  requestRouted(to: 'local' | 'forwarded'): void;
  requestFinished(request: FinishedOutbound): void;
  decided(us: number): void;
  attempted(route: RouteKind): void;
  attemptFailed(code: Code): void;
  retried(code: Code): void;
  retryRefused(): void;
  /** Taken back from the queue of one peer, to be sent to another. */
  migrated(): void;
  /** A fault of this program. */
  internalError(error: unknown): void;
}

export interface InboundObserver {
  inboundStarted(): void;
  inboundFinished(request: FinishedInbound): void;
  internalError(error: unknown): void;
  inputRefused(kind: 'auth' | 'http' | 'report', reason: string): void;
}
