/**
 * The choice: from the peers of a service to one of them, with the routes to try and what to expect there.
 *
 * Eligibility is one place for all policies (core/candidates), the figures another (core/measures), and each
 * policy a small function of both. It must not send anything, count anything, or know where peers come from.
 */
import { Candidates } from './candidates.ts';
import type { Endpoint } from './endpoint.ts';
import { type Explanation, explainCandidates, withNext } from './explain.ts';
import { Measures } from './measures.ts';
import type { Peer, Route } from './peer.ts';
import { createAdaptive } from './policies/adaptive.ts';
import { createAffinity } from './policies/affinity.ts';
import { createLeastLoad } from './policies/least-load.ts';
import { createP2c } from './policies/p2c.ts';
import type { Field, Policy } from './policies/policy.ts';
import { createRandom } from './policies/random.ts';
import { createRank } from './policies/rank.ts';
import { createRoundRobin } from './policies/round-robin.ts';
import { sortedByFitness, type TunnelUnfit } from './route-capability.ts';
import { usableRoutes } from './route-order.ts';

const POLICIES = {
  adaptive: createAdaptive,
  rank: createRank,
  'least-load': createLeastLoad,
  p2c: createP2c,
  'round-robin': createRoundRobin,
  random: createRandom,
} as const satisfies Record<string, () => Policy>;

export type PolicyName = keyof typeof POLICIES;

export const POLICY_NAMES = Object.keys(POLICIES) as readonly PolicyName[];

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
  /** Why the request should not go by a tunnel; absent or null = it may. */
  readonly tunnelUnfit?: TunnelUnfit | null;
}

/** `saturated` is for the caller's own use: a choice never refuses for it, since a queue may be free by then. */
export type Refusal = 'no_peers' | 'all_ejected' | 'warming' | 'draining' | 'saturated';

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
  | { readonly kind: 'refused'; readonly code: Refusal };

export interface Balancer {
  readonly policy: PolicyName;
  choose(peers: readonly Peer[], request: ChoiceRequest): Choice;
  /** A choice together with its reasons: for `sidecar-explain` and the recorded requests. */
  decide(peers: readonly Peer[], request: ChoiceRequest): { choice: Choice; explanation: Explanation };
  /** A dry run: changes nothing. */
  explain(peers: readonly Peer[], request: ChoiceRequest): Explanation;
}

export interface BalancerOptions {
  /** Reports older than this count for nothing. */
  readonly ttlMs: number;
}

export function createBalancer(policyName: PolicyName, options: BalancerOptions): Balancer {
  const named = POLICIES[policyName]();
  const affinity = createAffinity();
  const candidates = new Candidates();
  const measures = new Measures(options.ttlMs);
  const field: Field = { candidates, measures };
  /** Service → choices so far. Only of services that have peers, so that callers cannot make it grow. */
  const turns = new Map<string, number>();

  const policyFor = (request: ChoiceRequest): Policy => (request.affinityKey === null ? named : affinity);

  /** Fills the field; returns the index of the picked candidate, or why there is none. */
  function pick(peers: readonly Peer[], request: ChoiceRequest): number | Refusal {
    const policy = policyFor(request);
    const refusal = candidates.fill(peers, request);
    if (refusal !== null) return refusal;
    if (policy.needsMeasures) measures.fill(candidates, request.nowMs);
    const { random, affinityKey } = request;
    return policy.pick(field, { random, affinityKey, turn: turns.get(request.service) ?? 0 });
  }

  function choiceOf(picked: number | Refusal, request: ChoiceRequest): Choice {
    if (typeof picked === 'string') return { kind: 'refused', code: picked };
    const endpoint = candidates.endpoints[picked] as Endpoint;
    const { peer } = endpoint;
    const usable = usableRoutes(peer.routes, request.nowMs);
    const { routes, spare } = sortedByFitness(usable, request.tunnelUnfit ?? null);
    let expectedQueue: number | null = null;
    if (policyFor(request).reroutes) {
      const waiting = (measures.requests[picked] as number) - (measures.slots[picked] as number);
      expectedQueue = waiting < 0 ? 0 : Math.ceil(waiting + 1);
    }
    return { kind: 'chosen', peer, endpoint, routes, spare, expectedQueue };
  }

  function takeTurn(service: string): void {
    turns.set(service, ((turns.get(service) ?? 0) + 1) % Number.MAX_SAFE_INTEGER);
  }

  function explained(
    peers: readonly Peer[],
    request: ChoiceRequest,
  ): { choice: Choice; explanation: Explanation } {
    const tape: number[] = [];
    const record = (): number => {
      const value = request.random();
      tape.push(value);
      return value;
    };
    const picked = pick(peers, { ...request, random: record });
    const choice = choiceOf(picked, request);
    const policy = policyFor(request);
    if (!policy.needsMeasures && candidates.count > 0) measures.fill(candidates, request.nowMs);
    const explanation = explainCandidates({ peers, request, field, policy, picked });
    if (choice.kind === 'refused') return { choice, explanation };
    // The same throw of the dice, without the chosen one.
    let at = 0;
    const replay = (): number => tape[at++] ?? request.random();
    const excluded = new Set([...request.excluded, choice.peer.key]);
    const next = pick(peers, { ...request, random: replay, excluded });
    const nextKey = typeof next === 'number' ? (candidates.endpoints[next] as Endpoint).peer.key : null;
    return { choice, explanation: withNext(explanation, nextKey) };
  }

  return {
    policy: policyName,
    choose(peers, request) {
      const picked = pick(peers, request);
      if (typeof picked === 'number') takeTurn(request.service);
      return choiceOf(picked, request);
    },
    decide(peers, request) {
      const decided = explained(peers, request);
      if (decided.choice.kind === 'chosen') takeTurn(request.service);
      return decided;
    },
    explain: (peers, request) => explained(peers, request).explanation,
  };
}
