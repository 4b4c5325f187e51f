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
import { createLeastLoad, createP2c, createRandom, createRank, createRoundRobin } from './basic-policies.ts';
import { Candidates } from './candidates.ts';
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
  const scores = new Scores(options.ttlMs);
  const field: ChoiceInput = { candidates, scores };
  /** Service → choices so far. Only of services that have peers, so that callers cannot make it grow. */
  const turns = new Map<string, number>();

  const policyFor = (request: ChoiceRequest): Policy => (request.affinityKey === null ? named : affinity);

  /** Fills the field; returns the index of the picked candidate, or why there is none. */
  function pick(peers: readonly Peer[], request: ChoiceRequest): number | NoChoiceCode {
    const policy = policyFor(request);
    const refusal = candidates.fill(peers, request);
    if (refusal !== null) return refusal;
    if (policy.needsScores) scores.fill(candidates, request.nowMs);
    const { random, affinityKey } = request;
    return policy.pick(field, { random, affinityKey, turn: turns.get(request.service) ?? 0 });
  }

  function choiceOf(picked: number | NoChoiceCode, request: ChoiceRequest): Choice {
    if (typeof picked === 'string') return { kind: 'refused', code: picked };
    const endpoint = candidates.endpoints[picked] as Endpoint;
    const { peer } = endpoint;
    const usable = usableRoutes(peer.routes, request.nowMs);
    const { routes, spare } = sortedByFitness(usable, request.tunnelUnfit ?? null);
    let expectedQueue: number | null = null;
    if (policyFor(request).redispatches) {
      const waiting = (scores.requests[picked] as number) - (scores.slots[picked] as number);
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
    if (!policy.needsScores && candidates.count > 0) scores.fill(candidates, request.nowMs);
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
