/**
 * The choice: from the peers of a service to one of them, with the routes to try and what to expect there.
 *
 * Eligibility is one place for all policies (core/candidates) and each policy is a small function of what
 * is left (core/policies). It must not send anything, count anything, or know where the peers come from.
 */
import type { Endpoint } from './endpoint.ts';
import type { Explanation } from './explain.ts';
import type { Peer, Route } from './peer.ts';

export type PolicyName = 'adaptive' | 'rank' | 'least-load' | 'p2c' | 'round-robin' | 'random';

export interface ChoiceRequest {
  readonly service: string;
  /** Monotonic ms. */
  readonly nowMs: number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** Keys of peers that were already tried. */
  readonly excluded: ReadonlySet<string>;
  readonly affinityKey: string | null;
}

export type Refusal = 'no_peers' | 'all_ejected' | 'warming' | 'draining' | 'saturated';

export type Choice =
  | {
      readonly kind: 'chosen';
      readonly peer: Peer;
      readonly endpoint: Endpoint;
      /** Usable now, in the order to try; never empty. */
      readonly routes: readonly Route[];
      /** The place in the peer's queue that this request expects; 0 = a free slot. */
      readonly expectedQueue: number;
    }
  | { readonly kind: 'refused'; readonly code: Refusal };

export interface Balancer {
  readonly policy: PolicyName;
  choose(peers: readonly Peer[], request: ChoiceRequest): Choice;
  /** A choice together with its reasons: for `sidecar-explain` and the recorded requests. */
  decide(peers: readonly Peer[], request: ChoiceRequest): { choice: Choice; explanation: Explanation };
  explain(peers: readonly Peer[], request: ChoiceRequest): Explanation;
}

export interface BalancerOptions {
  /** Reports older than this count for nothing. */
  readonly ttlMs: number;
}

export function createBalancer(policy: PolicyName, _options: BalancerOptions): Balancer {
  const choose = (): Choice => ({ kind: 'refused', code: 'no_peers' });
  const explain = (): Explanation => ({
    service: '',
    policy,
    chosen: null,
    chosenNext: null,
    refusal: null,
    candidates: [],
  });
  return { policy, choose, explain, decide: () => ({ choice: choose(), explanation: explain() }) };
}
