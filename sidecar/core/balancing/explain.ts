/**
 * The reasons of a choice, as plain JSON: every candidate, each term of its score, each datum's age and source.
 *
 * Made from the same numbers that chose, never recomputed by another formula.
 */
import { failureRateAt } from '../peers/accounting.ts';
import { exclusionReason } from '../peers/exclusion-reason.ts';
import type { Endpoint, Peer, ReportSource } from '../peers/peer.ts';
import { isFit, type TunnelUnfit } from '../peers/tunnel-limits.ts';
import type { ChoiceRequest, NoChoiceCode } from './choice.ts';
import type { ChoiceInput, Policy } from './policy.ts';

export interface ExplainedCandidate {
  readonly worker_id: string;
  readonly key: string;
  /** null for the chosen one. */
  readonly why_not: string | null;
  /** The same in a sentence, for one that was no candidate; else null. */
  readonly because: string | null;
  readonly state: string;
  readonly presence: string;
  readonly health: string;
  /** `unfit`: why this route should not carry the request; null = it may. */
  readonly routes: readonly {
    readonly kind: string;
    readonly state: string;
    readonly extra_ms: number | null;
    readonly unfit: TunnelUnfit | null;
  }[];
  readonly reported: {
    readonly age_ms: number | null;
    readonly source: ReportSource;
    readonly load: number;
    readonly in_flight: number;
    readonly queued: number;
    readonly concurrency: number;
    readonly service_ms: number | null;
    readonly mine: number;
    readonly sharers: number;
    /** How long the first in its queue was under way; null = nobody waited, or it is unknown. */
    readonly oldest_ms: number | null;
  };
  readonly outstanding: number;
  readonly failure_rate: number;
  /** Terms of the score; null when it was not a candidate. */
  readonly score: {
    readonly weight: number;
    readonly live_load: number;
    readonly unreported: number;
    readonly requests: number;
    readonly slots: number;
    readonly service_ms: number;
    readonly extra_ms: number;
    readonly expected_ms: number;
    readonly is_free: boolean;
  } | null;
}

export interface Explanation {
  readonly service: string;
  readonly policy: string;
  /** worker_id. */
  readonly chosen: string | null;
  /** Who would have been chosen without the chosen one, and by how much that one is worse. */
  readonly chosenNext: {
    readonly worker_id: string;
    readonly load_margin: number;
    readonly expected_ms_margin: number;
  } | null;
  readonly refusal: NoChoiceCode | null;
  /** Which worker the request was for; null or absent = any. */
  readonly bound?: BoundTo | null;
  readonly candidates: readonly ExplainedCandidate[];
  /** Candidates that were left out for the sake of length (truncateExplanation). */
  readonly omitted: number;
}

/** By what a request is for one worker, and what became of that. */
export interface BoundTo {
  readonly by: 'sidecar-worker' | 'session';
  /** null = nobody is known to have the session. */
  readonly worker_id: string | null;
  /** `there`: it goes to that worker alone. `gone`, `unknown`, `not_taken`: a session whose request goes to any. */
  readonly state: 'there' | 'gone' | 'unknown' | 'not_taken';
  /** In a sentence. */
  readonly because: string;
}

export interface ExplainOptions {
  readonly peers: readonly Peer[];
  readonly request: ChoiceRequest;
  /** As it was when picked, with scores, also for a policy that does not need them. */
  readonly field: ChoiceInput;
  readonly policy: Policy;
  readonly picked: number | NoChoiceCode;
}

export function explainCandidates(options: ExplainOptions): Explanation {
  const { peers, request, field, policy, picked } = options;
  const { candidates } = field;
  const explained: ExplainedCandidate[] = [];
  for (const peer of peers) {
    const endpoint = peer.endpoint(request.service);
    if (endpoint === undefined) continue;
    let index = -1;
    for (let i = 0; i < candidates.count; i += 1) if (candidates.endpoints[i] === endpoint) index = i;
    const whyNot =
      index < 0 ? candidates.verdict(peer, request) : index === picked ? null : policy.whyNot(field, index);
    explained.push({
      ...describe(endpoint, request.nowMs, request.tunnelUnfit ?? null),
      why_not: index < 0 ? (whyNot ?? 'not a candidate') : whyNot,
      because:
        index < 0 && whyNot !== 'tried' && whyNot !== 'other_worker'
          ? exclusionReason(peer, request.service, request.nowMs, request.requirements)
          : null,
      score: index < 0 ? null : scoreOf(field, index),
    });
  }
  const chosen = typeof picked === 'number' ? candidates.endpoints[picked] : undefined;
  return {
    service: request.service,
    policy: policy.name,
    chosen: chosen?.peer.record.worker_id ?? null,
    chosenNext: null,
    refusal: typeof picked === 'string' ? picked : null,
    candidates: explained,
    omitted: 0,
  };
}

/** The explanation with the counterfactual; `nextKey` null = nobody else could be chosen. */
export function withNext(explanation: Explanation, nextKey: string | null): Explanation {
  const chosen = explanation.candidates.find((each) => each.why_not === null);
  const next = explanation.candidates.find((each) => each.key === nextKey);
  if (chosen?.score == null || next === undefined) return explanation;
  // A suspect or ejected one would be chosen only for want of others: it has no score to compare.
  const score = next.score ?? chosen.score;
  return {
    ...explanation,
    chosenNext: {
      worker_id: next.worker_id,
      load_margin: rounded(score.live_load - chosen.score.live_load),
      expected_ms_margin: rounded(score.expected_ms - chosen.score.expected_ms),
    },
  };
}

function describe(
  endpoint: Endpoint,
  nowMs: number,
  unfit: TunnelUnfit | null,
): Omit<ExplainedCandidate, 'why_not' | 'because' | 'score'> {
  const { peer } = endpoint;
  const { health } = endpoint.standing;
  const ageMs = nowMs - endpoint.reportedAtMs;
  return {
    worker_id: peer.record.worker_id,
    key: peer.key,
    state: peer.state,
    presence: peer.presence,
    health: health.isEjected(nowMs) ? 'ejected' : health.state.kind === 'closed' ? 'closed' : 'half_open',
    routes: peer.routes.map((route) => ({
      kind: route.kind,
      state: route.health.state.kind,
      extra_ms: finiteOrNull(route.health.extraMs),
      unfit: isFit(route, unfit) ? null : unfit,
    })),
    reported: {
      age_ms: finiteOrNull(ageMs),
      source: endpoint.reportSource,
      load: endpoint.load,
      in_flight: endpoint.inFlight,
      queued: endpoint.queued,
      concurrency: endpoint.concurrency,
      service_ms: finiteOrNull(endpoint.serviceMs),
      mine: endpoint.mineReported,
      sharers: endpoint.activeCallers,
      oldest_ms: finiteOrNull(endpoint.oldestMs),
    },
    outstanding: endpoint.outstanding,
    failure_rate: rounded(failureRateAt(endpoint, nowMs)),
  };
}

function scoreOf({ scores }: ChoiceInput, i: number): ExplainedCandidate['score'] {
  const requests = scores.requests[i] as number;
  const slots = scores.slots[i] as number;
  return {
    weight: rounded(scores.weight[i] as number),
    live_load: rounded(scores.load[i] as number),
    unreported: rounded(scores.unreported[i] as number),
    requests: rounded(requests),
    slots,
    service_ms: rounded(scores.serviceMs[i] as number),
    extra_ms: rounded(scores.extraMs[i] as number),
    expected_ms: rounded(scores.expectedMs[i] as number),
    is_free: requests < slots,
  };
}

/** JSON has no NaN and no Infinity: unknown is null. */
function finiteOrNull(value: number): number | null {
  return Number.isFinite(value) ? rounded(value) : null;
}

function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}

/** Of JSON; leaves room for what else is in the response. */
const MAX_CHARS = 8_000;

/** The same, with the chosen, the next, then those that would serve soonest; `omitted` says how many are left out. */
export function truncateExplanation(explanation: Explanation): Explanation {
  if (JSON.stringify(explanation).length <= MAX_CHARS) return explanation;
  const { candidates, chosen, chosenNext } = explanation;
  const rankOf = ({ worker_id, score }: ExplainedCandidate): number => {
    if (worker_id === chosen) return -2;
    if (worker_id === chosenNext?.worker_id) return -1;
    return score?.expected_ms ?? Number.POSITIVE_INFINITY;
  };
  const ranked = candidates.map((each) => ({ each, rank: rankOf(each) }));
  ranked.sort((a, b) => (a.rank < b.rank ? -1 : a.rank > b.rank ? 1 : 0));
  let left = MAX_CHARS - JSON.stringify({ ...explanation, candidates: [] }).length;
  const kept: ExplainedCandidate[] = [];
  for (const { each } of ranked) {
    left -= JSON.stringify(each).length + 1;
    if (left < 0) break;
    kept.push(each);
  }
  return { ...explanation, candidates: kept, omitted: explanation.omitted + candidates.length - kept.length };
}
