/**
 * What the request path of apps is built from, and the view of the mesh that it asks for.
 *
 * Declared here, by the consumer: mesh/ fulfils PeerDirectory without being imported. It must not hold logic.
 */
import type { Balancer } from '../core/choose.ts';
import type { Code } from '../core/errors.ts';
import type { FirstByteTimes } from '../core/first-byte-times.ts';
import type { Peer, Route } from '../core/peer.ts';
import type { RetryBudget } from '../core/retry.ts';
import type { TunnelLimits } from '../core/route-capability.ts';
import type { NotAsked } from '../core/standing.ts';
import type { RequestTimeouts, Upstreams } from './exchange.ts';
import type { LocalService } from './local-service.ts';
import type { Moves } from './moves.ts';
import type { PathWatch } from './path-watch.ts';
import type { PeerAuth } from './peer-auth.ts';
import type { OutboundObserver } from './request-log.ts';

/** An answer that is ready: peers (maybe none usable), or why there are none. */
export type View =
  | { readonly kind: 'peers'; readonly peers: readonly Peer[]; readonly ageMs: number }
  | {
      readonly kind: 'none';
      readonly code: Extract<Code, 'no_peers' | 'discovery_unavailable'>;
      readonly detail: string;
    };

export type FindResult =
  | { readonly kind: 'hit'; readonly view: View }
  | { readonly kind: 'wait'; readonly ready: Promise<View> };

export interface PeerDirectory {
  /** From the cache at once, or a promise that a lookup fulfils within the configured wait. */
  find(service: string): FindResult;
  /** The peers known now, without counting as a request. */
  peek(service: string): readonly Peer[];
  /** A response carried this `endpoint-load-metrics`. */
  reported(peer: Peer, service: string, value: string): void;
  /** No connection to the peer could be made by any route, or one broke before an answer: it may be dead. */
  doubted(peer: Peer): void;
  /** The peer answered 421. */
  notOffered(peer: Peer, service: string): void;
  /** Whether the peer answers over this route now; shared by all who ask. Never rejects. Absent: nobody knows. */
  answers?(peer: Peer, route: Route): Promise<boolean>;
  /** Asks those who are warming how they are now; shared, and soon over. Never rejects. Absent: nobody knows. */
  recheck?(service: string): Promise<void>;
  /** Who offered a service until a moment ago, so many at most: for the one who asks why nobody does now. */
  absent?(service: string, limit: number): readonly NotAsked[];
  /** Services that are known to be offered anywhere: for names that are a slip away from one. */
  services?(): ReadonlySet<string>;
  /** Nothing came back over this route: others of its kind may be silent too. */
  silent?(route: Route): void;
}

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
  readonly paths?: PathWatch;
  /** Absent: what waits in a peer's queue stays there. */
  readonly moves?: Moves;
  /** What tunnels carry, and how slow each service is. */
  readonly tunnelLimits: TunnelLimits;
  readonly firstBytes: FirstByteTimes;
  readonly budget: RetryBudget;
  readonly replayBytes: number;
  readonly trustForwarded: boolean;
  /** Wanted of every request in `sidecar-token` when set. */
  readonly token: string | null;
  readonly observer: OutboundObserver;
  random(): number;
  callPolicy(service: string): CallPolicy;
}
