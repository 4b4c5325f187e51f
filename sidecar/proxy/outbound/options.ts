/**
 * What the request path of apps is built from, and the view of the mesh that it asks for.
 *
 * Declared here, by the consumer: mesh/ fulfils PeerDirectory without being imported.
 */
import type { Balancer } from '../../core/balancing/balancer.ts';
import type { Ttfb } from '../../core/peers/ttfb.ts';
import type { TunnelLimits } from '../../core/peers/tunnel-limits.ts';
import type { RetryBudget } from '../../core/retry.ts';
import type { RequestTimeouts, Upstreams } from '../../http/exchange.ts';
import type { OutboundObserver } from '../observers.ts';
import type { PeerAuth } from '../peer/auth.ts';
import type { LocalService } from '../worker/local-service.ts';
import type { PeerDirectory } from './directory.ts';
import type { QueueMigration } from './queue-migration.ts';
import type { StallWatch } from './stall-watch.ts';

/** How a service is called. */
export interface CallPolicy {
  readonly vpn: RequestTimeouts;
  readonly tunnel: RequestTimeouts;
  /** A POST with Idempotency-Key may be sent again. */
  readonly retryPost: boolean;
}

export interface OutboundOptions {
  readonly workerId: string;
  readonly pseudonym: string;
  readonly aliases: ReadonlyMap<string, string>;
  readonly services: ReadonlyMap<string, LocalService>;
  readonly directory: PeerDirectory;
  readonly balancer: Balancer;
  readonly upstreams: Upstreams;
  readonly auth: PeerAuth;
  /** Absent: a path that dies in silence is noticed by the time limits alone. */
  readonly stallWatch?: StallWatch;
  /** Absent: what waits in a peer's queue stays there. */
  readonly queueMigration?: QueueMigration;
  /** What tunnels carry, and how slow each service is. */
  readonly tunnelLimits: TunnelLimits;
  readonly ttfb: Ttfb;
  readonly budget: RetryBudget;
  readonly replayBytes: number;
  readonly trustForwarded: boolean;
  /** Wanted of every request in `sidecar-token` when set. */
  readonly token: string | null;
  readonly observer: OutboundObserver;
  random(): number;
  callPolicy(service: string): CallPolicy;
}
