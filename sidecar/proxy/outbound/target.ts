/**
 * What the steps of a request hand on: where it goes next, what an attempt leaves to be tried, and how the choice was
 * come by.
 */
import type { BoundTo, Explanation } from '../../core/balancing/explain.ts';
import type { Peer } from '../../core/peers/peer.ts';
import type { Route } from '../../core/peers/route.ts';
import type { LocalService } from '../worker/local-service.ts';
import type { NoUpstream } from './no-upstream.ts';

export interface LocalTarget {
  readonly kind: 'local';
  readonly service: LocalService;
}

export interface PeerTarget {
  readonly kind: 'peer';
  readonly peer: Peer;
  readonly route: Route;
  /** The queue that the request counts on there; null = it takes any. */
  readonly expectedQueue: number | null;
  /** After this one no other route to the peer is left. */
  readonly isLastRoute: boolean;
  /** It may be asked back from the queue there, to go where its turn comes sooner. */
  readonly isMigratable: boolean;
}

export type Target = LocalTarget | PeerTarget | NoUpstream;

/** What an attempt leaves to be tried of its peer. */
export type Remaining =
  /** The routes that are left: nothing is known of the peer itself. */
  | 'other_routes'
  /** The same route once more. */
  | 'same_route'
  /** Nothing: the peer itself has answered. */
  | 'no_route'
  /** Nothing for now: its queue was longer than expected, or it gave the request back from there. */
  | 'queue';

/** What an attempt on a peer says about who is next. */
export interface Attempted {
  readonly remaining: Remaining;
  /** During it, the request was asked back from the queue there, to go to this peer. */
  readonly askedBackFor: Peer | null;
}

/** How the choice was come by. */
export interface Seen {
  /** How the view was got: from the cache, by waiting for a lookup, or not needed. */
  readonly view: 'hit' | 'wait' | 'local' | 'none';
  readonly viewAgeMs: number | null;
  /** What the balancer saw; null unless the app asked for it. */
  readonly decision: Explanation | null;
  /** Which worker it is for, or was; null = any. */
  readonly bound: BoundTo | null;
}

export const NOTHING_SEEN: Seen = { view: 'none', viewAgeMs: null, decision: null, bound: null };
