/**
 * The choice: from the peers of a service to one of them, with the routes to try and what to expect there.
 *
 * Eligibility is one place for all policies (candidates), the figures another (scores), and each policy a
 * small function of both.
 */
import type { Endpoint, Peer } from '../peers/peer.ts';
import { usableRoutes } from '../peers/route-order.ts';
import { sortedByFitness } from '../peers/tunnel-limits.ts';
import { createAdaptive } from './adaptive.ts';
import { createAffinity } from './affinity.ts';
import { AffinityHolders } from './affinity-holders.ts';
import { createLeastLoad, createP2c, createRandom, createRank, createRoundRobin } from './basic-policies.ts';
import { Candidates, type Ineligible } from './candidates.ts';
import type { Choice, ChoiceRequest, NoChoiceCode } from './choice.ts';
import { type Explanation, explainCandidates, withNext } from './explain.ts';
import type { ChoiceInput, Policy } from './policy.ts';
import { Scores } from './scores.ts';

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

export interface BalancerOptions {
  /** Reports older than this count for nothing. */
  readonly ttlMs: number;
}

/** Who cannot serve for longer than a moment gives its affinity keys away. */
const LOSES_KEYS: ReadonlySet<Ineligible | null> = new Set<Ineligible | null>([
  'not_offered',
  'unmet',
  'warming',
  'draining',
  'paused',
  'ejected',
]);

interface Decision {
  readonly choice: Choice;
  readonly explanation: Explanation;
}

export class Balancer {
  #policy: PolicyName;
  #named: Policy;
  readonly #affinity = createAffinity();
  readonly #holders = new AffinityHolders();
  readonly #candidates = new Candidates();
  readonly #scores: Scores;
  readonly #field: ChoiceInput;
  /** Service → choices so far. Only of services that have peers, so that callers cannot make it grow. */
  readonly #turns = new Map<string, number>();

  constructor(policy: PolicyName, options: BalancerOptions) {
    this.#policy = policy;
    this.#named = POLICIES[policy]();
    this.#scores = new Scores(options.ttlMs);
    this.#field = { candidates: this.#candidates, scores: this.#scores };
  }

  get policy(): PolicyName {
    return this.#policy;
  }

  /** For the choices from now on. */
  use(policy: PolicyName): void {
    if (policy === this.#policy) return;
    this.#policy = policy;
    this.#named = POLICIES[policy]();
  }

  choose(peers: readonly Peer[], request: ChoiceRequest): Choice {
    const picked = this.#pick(peers, request);
    const choice = this.#choiceOf(picked, request);
    this.#chosen(choice, peers, request);
    return choice;
  }

  /** A choice together with its reasons: for `sidecar-explain` and the recorded requests. */
  decide(peers: readonly Peer[], request: ChoiceRequest): Decision {
    const decided = this.#explained(peers, request);
    this.#chosen(decided.choice, peers, request);
    return decided;
  }

  /** A dry run: changes nothing. */
  explain(peers: readonly Peer[], request: ChoiceRequest): Explanation {
    return this.#explained(peers, request).explanation;
  }

  #policyFor(request: ChoiceRequest): Policy {
    return request.affinityKey === null ? this.#named : this.#affinity;
  }

  /** Fills the field; returns the index of the picked candidate, or why there is none. */
  #pick(peers: readonly Peer[], request: ChoiceRequest): number | NoChoiceCode {
    const policy = this.#policyFor(request);
    const refusal = this.#candidates.fill(peers, request);
    if (refusal !== null) return refusal;
    if (policy.needsScores) this.#scores.fill(this.#candidates, request.nowMs);
    const { random, affinityKey, service, nowMs } = request;
    const holderKey = affinityKey === null ? null : this.#holders.holderOf(service, affinityKey, nowMs);
    const turn = this.#turns.get(service) ?? 0;
    return policy.pick(this.#field, { random, affinityKey, holderKey, turn });
  }

  #choiceOf(picked: number | NoChoiceCode, request: ChoiceRequest): Choice {
    if (typeof picked === 'string') return { kind: 'refused', code: picked };
    const endpoint = this.#candidates.endpoints[picked] as Endpoint;
    const { peer } = endpoint;
    const usable = usableRoutes(peer.routes, request.nowMs);
    const { routes, spare } = sortedByFitness(usable, request.tunnelUnfit ?? null);
    let expectedQueue: number | null = null;
    if (this.#policyFor(request).redispatches) {
      const { requests, slots } = this.#scores;
      const waiting = (requests[picked] as number) - (slots[picked] as number);
      expectedQueue = waiting < 0 ? 0 : Math.ceil(waiting + 1);
    }
    return { kind: 'chosen', peer, endpoint, routes, spare, expectedQueue };
  }

  #chosen(choice: Choice, peers: readonly Peer[], request: ChoiceRequest): void {
    if (choice.kind === 'refused') return;
    const { affinityKey, excluded, nowMs, only, service } = request;
    this.#takeTurn(service);
    // A second attempt says nothing of where the next request should go.
    if (affinityKey === null || excluded.size > 0 || only != null) return;
    const holderKey = this.#holders.holderOf(service, affinityKey, nowMs);
    const holder = holderKey === null ? undefined : peers.find(({ key }) => key === holderKey);
    const isKept = holder !== undefined && !LOSES_KEYS.has(this.#candidates.verdict(holder, request));
    this.#holders.used(service, affinityKey, isKept ? holder.key : choice.peer.key, nowMs);
  }

  #takeTurn(service: string): void {
    this.#turns.set(service, ((this.#turns.get(service) ?? 0) + 1) % Number.MAX_SAFE_INTEGER);
  }

  #explained(peers: readonly Peer[], request: ChoiceRequest): Decision {
    const tape: number[] = [];
    const record = (): number => {
      const value = request.random();
      tape.push(value);
      return value;
    };
    const picked = this.#pick(peers, { ...request, random: record });
    const choice = this.#choiceOf(picked, request);
    const policy = this.#policyFor(request);
    if (!policy.needsScores && this.#candidates.count > 0) this.#scores.fill(this.#candidates, request.nowMs);
    const explanation = explainCandidates({ peers, request, field: this.#field, policy, picked });
    if (choice.kind === 'refused') return { choice, explanation };
    // The same throw of the dice, without the chosen one.
    let at = 0;
    const replay = (): number => tape[at++] ?? request.random();
    const excluded = new Set([...request.excluded, choice.peer.key]);
    const next = this.#pick(peers, { ...request, random: replay, excluded });
    const nextKey = typeof next === 'number' ? (this.#candidates.endpoints[next] as Endpoint).peer.key : null;
    return { choice, explanation: withNext(explanation, nextKey) };
  }
}
