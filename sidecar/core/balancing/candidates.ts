/**
 * The candidates of one choice: which peers of a service may be chosen at all.
 *
 * What makes a peer eligible is decided here once for all policies. One pass in the usual case and an array that is
 * kept from choice to choice: a choice among 1,000 peers allocates nothing.
 */
import { requestsAt } from '../peers/accounting.ts';
import type { Endpoint, Peer } from '../peers/peer.ts';
import { meetsAll, NO_REQUIREMENTS, preferenceRank, type Requirement } from '../peers/requirements.ts';
import { badUntilMs, hasUsableRoute } from '../peers/route-order.ts';
import type { ChoiceRequest, NoChoiceCode } from './choice.ts';
import { selectInPlace } from './median.ts';

/** Why a peer is not among the first to be chosen from. */
export type Ineligible =
  | 'not_offered'
  /** It lacks a capability that the request requires. */
  | 'unmet'
  /** The request is for one worker, and this is another. */
  | 'other_worker'
  | 'warming'
  | 'draining'
  | 'paused'
  | 'tried'
  | 'ejected'
  /** Its worker has refused a request while it had as many as now. */
  | 'full'
  | 'no_route'
  /** Reached only by routes that cannot carry the request. */
  | 'unfit_route'
  | 'suspect';

/** What is asked of the candidates: the request without its randomness. */
export type Wanted = Pick<
  ChoiceRequest,
  'service' | 'nowMs' | 'excluded' | 'only' | 'tunnelUnfit' | 'isRefused' | 'requirements' | 'preferences'
>;

export class Candidates {
  /** The first `count` are the candidates; what follows is left from earlier choices. */
  readonly endpoints: Endpoint[] = [];
  count = 0;
  /** Ejections that end no later than this are not in force. */
  #pardonedMs = Number.NEGATIVE_INFINITY;
  #offering = 0;
  #ejectedUntilMs = new Float64Array(64);

  /**
   * Fill from the peers of a service with the first of these that is not empty: sound peers; full ones, unless one has
   * refused the request already; suspects; those whose
   * routes do not fit the request; the least bad of those that are ejected or whose routes are all down; those that
   * shut down, which still take requests for a moment. Returns null, or why there is none.
   */
  fill(peers: readonly Peer[], wanted: Wanted): NoChoiceCode | null {
    this.#pardonedMs = Number.NEGATIVE_INFINITY;
    const ejected = this.#collect(peers, wanted, null);
    // At most half of the peers are ejected, and never the last: those that end first are pardoned.
    const excess = ejected - (this.#offering >> 1);
    if (excess > 0) {
      this.#pardonedMs = selectInPlace(this.#ejectedUntilMs, ejected, excess - 1);
      this.#collect(peers, wanted, null);
    }
    if (this.count === 0 && wanted.isRefused !== true) this.#collect(peers, wanted, 'full');
    if (this.count === 0) this.#collect(peers, wanted, 'suspect');
    if (this.count === 0 && wanted.tunnelUnfit != null) this.#collect(peers, wanted, 'unfit_route');
    if (this.count === 0) this.#collectLeastBad(peers, wanted);
    if (this.count === 0) this.#collectLeaving(peers, wanted);
    // Peers that have left must not be held by the unused end.
    if (this.endpoints.length > 2 * this.count + 64) this.endpoints.length = this.count;
    if (this.count === 0) return refusalOf(peers, wanted);
    const { preferences = NO_REQUIREMENTS } = wanted;
    if (preferences.length > 0) this.#narrow(preferences);
    return null;
  }

  verdict(peer: Peer, wanted: Wanted): Ineligible | null {
    const endpoint = peer.endpoint(wanted.service);
    if (endpoint === undefined) return 'not_offered';
    if (isOther(peer, wanted)) return 'other_worker';
    return fittingEndpoint(peer, wanted) === undefined ? 'unmet' : this.#verdict(endpoint, wanted);
  }

  #verdict(endpoint: Endpoint, wanted: Wanted): Ineligible | null {
    const { peer } = endpoint;
    if (peer.state !== 'ready') return peer.state;
    if (endpoint.isPaused) return 'paused';
    if (ejectedUntilMs(endpoint, wanted.nowMs) > this.#pardonedMs) return 'ejected';
    if (wanted.excluded.size > 0 && wanted.excluded.has(peer.key)) return 'tried';
    if (!hasUsableRoute(peer.routes, wanted.nowMs)) return 'no_route';
    const unfit = wanted.tunnelUnfit ?? null;
    if (unfit !== null && !hasUsableRoute(peer.routes, wanted.nowMs, unfit)) return 'unfit_route';
    if (peer.presence !== 'live') return 'suspect';
    return endpoint.standing.isFull(requestsAt(endpoint), wanted.nowMs) ? 'full' : null;
  }

  /** Returns how many are ejected, with the ends of their ejections in `#ejectedUntilMs`. */
  #collect(peers: readonly Peer[], wanted: Wanted, verdict: Ineligible | null): number {
    const { endpoints } = this;
    let count = 0;
    let offering = 0;
    let ejected = 0;
    for (let i = 0; i < peers.length; i += 1) {
      const peer = peers[i] as Peer;
      const endpoint = fittingEndpoint(peer, wanted);
      if (endpoint === undefined) continue;
      const found = this.#verdict(endpoint, wanted);
      if (found !== 'warming' && found !== 'draining' && found !== 'paused') offering += 1;
      if (found === verdict) endpoints[count++] = endpoint;
      if (found === 'ejected') {
        if (ejected === this.#ejectedUntilMs.length) this.#grow();
        this.#ejectedUntilMs[ejected++] = ejectedUntilMs(endpoint, wanted.nowMs);
      }
    }
    this.count = count;
    this.#offering = offering;
    return ejected;
  }

  #collectLeastBad(peers: readonly Peer[], wanted: Wanted): void {
    let leastMs = Number.POSITIVE_INFINITY;
    for (const peer of peers) {
      const endpoint = fittingEndpoint(peer, wanted);
      if (endpoint === undefined || peer.routes.length === 0 || wanted.excluded.has(peer.key)) continue;
      const verdict = this.#verdict(endpoint, wanted);
      if (verdict !== 'ejected' && verdict !== 'no_route') continue;
      const untilMs = Math.max(ejectedUntilMs(endpoint, wanted.nowMs), badUntilMs(peer.routes));
      if (this.count > 0 && !(untilMs < leastMs)) continue;
      leastMs = untilMs;
      this.endpoints[0] = endpoint;
      this.count = 1;
    }
  }

  /** Not those that are gone by now. */
  #collectLeaving(peers: readonly Peer[], wanted: Wanted): void {
    for (const peer of peers) {
      const endpoint = fittingEndpoint(peer, wanted);
      if (endpoint === undefined || peer.state !== 'draining' || peer.presence === 'suspect') continue;
      if (wanted.excluded.has(peer.key) || !hasUsableRoute(peer.routes, wanted.nowMs)) continue;
      this.endpoints[this.count++] = endpoint;
    }
  }

  /** Leaves those of the best rank of which one has a free slot; all, when nobody has one. */
  #narrow(preferences: readonly Requirement[]): void {
    const { count, endpoints } = this;
    let best = -1;
    for (let i = 0; i < count; i += 1) {
      const endpoint = endpoints[i] as Endpoint;
      if (hasFreeSlot(endpoint)) best = Math.max(best, rankOf(endpoint, preferences));
    }
    if (best === -1) return;
    let kept = 0;
    for (let i = 0; i < count; i += 1) {
      const endpoint = endpoints[i] as Endpoint;
      if (rankOf(endpoint, preferences) === best) endpoints[kept++] = endpoint;
    }
    this.count = kept;
  }

  #grow(): void {
    const longer = new Float64Array(this.#ejectedUntilMs.length * 2);
    longer.set(this.#ejectedUntilMs);
    this.#ejectedUntilMs = longer;
  }
}

/** -Infinity = not ejected. While a trial runs nobody knows its end: the same as ending now. */
function ejectedUntilMs({ standing: { health } }: Endpoint, nowMs: number): number {
  const { state } = health;
  if (state.kind === 'closed' || !health.isEjected(nowMs)) return Number.NEGATIVE_INFINITY;
  return state.kind === 'ejected' ? state.untilMs : nowMs;
}

function isOther({ key }: Peer, { only }: Wanted): boolean {
  return only != null && only !== key;
}

/** undefined: not offered there, or not by a worker that the request may go to. */
function fittingEndpoint(peer: Peer, wanted: Wanted): Endpoint | undefined {
  const { service, requirements } = wanted;
  if (isOther(peer, wanted)) return undefined;
  const endpoint = peer.endpoint(service);
  if (endpoint === undefined || requirements === undefined || requirements.length === 0) return endpoint;
  return meetsAll(peer.record.capabilities, requirements) ? endpoint : undefined;
}

function rankOf({ peer }: Endpoint, preferences: readonly Requirement[]): number {
  return preferenceRank(peer.record.capabilities, preferences);
}

/** By its last report, and what I have sent since. */
function hasFreeSlot({ concurrency, inFlight, queued, mineReported, outstanding }: Endpoint): boolean {
  return concurrency === 0 || inFlight + queued - mineReported + outstanding < concurrency;
}

/** Warming before paused before draining: the first says that waiting helps, the last that it does not. */
function refusalOf(peers: readonly Peer[], wanted: Wanted): NoChoiceCode {
  let refusal: NoChoiceCode = 'no_peers';
  for (const peer of peers) {
    if (peer.endpoint(wanted.service) === undefined || isOther(peer, wanted)) continue;
    if (fittingEndpoint(peer, wanted) === undefined) {
      if (refusal === 'no_peers') refusal = 'requirements_unmet';
    } else if (peer.state === 'warming') refusal = 'warming';
    else if (peer.state === 'ready') {
      if (peer.endpoint(wanted.service)?.isPaused !== true) return 'all_ejected';
      if (refusal !== 'warming') refusal = 'paused';
    } else if (refusal !== 'warming' && refusal !== 'paused') refusal = 'draining';
  }
  return refusal;
}
