/**
 * What the balancer is asked for one request, and what it answers: a peer with the routes to it, or why there is none.
 */
import type { Endpoint, Peer } from '../peers/peer.ts';
import type { Requirement } from '../peers/requirements.ts';
import type { Route } from '../peers/route.ts';
import type { TunnelUnfit } from '../peers/tunnel-limits.ts';

export interface ChoiceRequest {
  readonly service: string;
  /** Monotonic ms. */
  readonly nowMs: number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** Keys of peers that were already tried. */
  readonly excluded: ReadonlySet<string>;
  /** Requests with the same key go to the same peer where possible; null = the policy decides. */
  readonly affinityKey: string | null;
  /** Key of the one peer that it may go to; absent or null = any. */
  readonly only?: string | null;
  /** A worker has refused it: one that is known to be full is not asked, too. Absent = none has. */
  readonly isRefused?: boolean;
  /** Why the request should not go by a tunnel; absent or null = it may. */
  readonly tunnelUnfit?: TunnelUnfit | null;
  /** Who does not meet all of them is no candidate; absent = none. */
  readonly requirements?: readonly Requirement[];
  /** Who meets more of them, and has a free slot, comes first; absent = none. */
  readonly preferences?: readonly Requirement[];
}

/** `saturated` is for the caller's own use: a choice never refuses for it, since a queue may be free by then. */
export type NoChoiceCode =
  | 'no_peers'
  | 'requirements_unmet'
  | 'all_ejected'
  | 'warming'
  | 'draining'
  | 'paused'
  | 'saturated';

export type Choice =
  | {
      readonly kind: 'chosen';
      readonly peer: Peer;
      readonly endpoint: Endpoint;
      /** Usable now, in the order to try; never empty. Those that fit the request, if one does. */
      readonly routes: readonly Route[];
      /** Usable, and doubtful for this request: for when nobody else is left. */
      readonly spare: readonly Route[];
      /** The place in the peer's queue that the request counts on, 0 = a free slot; null = any, it queues. */
      readonly expectedQueue: number | null;
    }
  | { readonly kind: 'refused'; readonly code: NoChoiceCode };
