/**
 * What outbound needs of the directory of peers: find them, and say what requests have shown of them.
 *
 * Declared here, by the consumer: mesh/ fulfils it without being imported.
 */
import type { Code } from '../../core/errors.ts';
import type { SkippedPeer } from '../../core/peers/exclusion-reason.ts';
import type { Peer } from '../../core/peers/peer.ts';
import type { Route } from '../../core/peers/route.ts';

/** A response that is ready: peers (maybe none usable), or why there are none. */
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
  /** From the cache at once, or a promise that a lookup fulfils within the configured wait. `app`: who asks, by name. */
  find(service: string, app: string | null): FindResult;
  /**
   * Looks through all who announce the service until one fits; the view then. Bounded, and shared by all who have the
   * same `wish`, which names what fits. Never rejects.
   */
  search(service: string, wish: string, fits: (peer: Peer) => boolean): Promise<View>;
  /**
   * Nobody known can be reached: the view once somebody can, or once a lookup has found nobody. Shared, bounded, and
   * with pauses that grow while it is in vain; in one of these it is the present view. Never rejects.
   */
  lookUpAnew(service: string): Promise<View>;
  /** The peers known now, without counting as a request. */
  peek(service: string): readonly Peer[];
  /** A response carried this `sidecar-load`. */
  reported(peer: Peer, service: string, value: string): void;
  /** No connection to the peer could be made by any route, or one broke before a response: it may be dead. */
  markSuspect(peer: Peer): void;
  /** The peer answered 421. */
  notOffered(peer: Peer, service: string): void;
  /** Asks those who are warming how they are now; shared, and soon over. Never rejects. */
  checkWarming(service: string): Promise<void>;
  /** Who offered a service until a moment ago, so many at most: for the one who asks why nobody does now. */
  absent(service: string, limit: number): readonly SkippedPeer[];
  /** Services that are known to be offered anywhere: for names that are a slip away from one. */
  services(): ReadonlySet<string>;
  /** Nothing came back over this route: others of its kind may be silent too. */
  silent(route: Route): void;
}
