/**
 * Who is next for a request that is for one worker: the one that `sidecar-worker` names, or the one that has its session.
 *
 * It waits in the queue of that worker however long, and what that worker refuses the app gets: another one cannot serve
 * it. Only a session whose worker is gone, or cannot be reached, is given up: its request goes to any worker, which says
 * what becomes of clients whose session it does not know.
 */
import type { BoundTo, Explanation } from '../../core/balancing/explain.ts';
import { exclusionReason } from '../../core/peers/exclusion-reason.ts';
import type { Peer } from '../../core/peers/peer.ts';
import { meetsAll } from '../../core/peers/requirements.ts';
import type { Route } from '../../core/peers/route.ts';
import { usableRoutes } from '../../core/peers/route-order.ts';
import { type SessionKey, sessionKey } from '../peer/session-proof.ts';
import type { SessionOwner, Sessions } from '../peer/sessions.ts';
import type { AttemptTrace } from '../problem.ts';
import type { LocalService } from '../worker/local-service.ts';
import { attemptText } from './attempt-trace.ts';
import { choosePeer } from './choose-peer.ts';
import type { View } from './directory.ts';
import { type NoUpstream, noUpstreamAmong, noUpstreamKnown, tooLate } from './no-upstream.ts';
import type { OutboundRequest } from './request.ts';
import type { SessionSearch } from './session-search.ts';
import type { Attempted, LocalTarget, PeerTarget, Seen, Target } from './target.ts';
import { type SelectorOptions, TargetSelector } from './target-selector.ts';

export interface BoundSelectorOptions extends SelectorOptions {
  readonly sessions: Sessions;
  readonly sessionSearch: Pick<SessionSearch, 'ownerOf'>;
}

/** What the steps of a request ask of the one that says who is next. */
export type Selector = Pick<
  TargetSelector,
  'next' | 'attempted' | 'refused' | 'seen' | 'isMigrating' | 'hasElsewhere' | 'hasOther'
>;

export function selectorFor(request: OutboundRequest, options: BoundSelectorOptions): Selector {
  const bond = bondOf(request, options);
  return bond === null ? new TargetSelector(request, options) : new BoundSelector(request, bond, options);
}

/** By what a request is for one worker. */
type Bond =
  | { readonly by: 'sidecar-worker'; readonly workerId: string }
  | { readonly by: 'session'; readonly keys: readonly SessionKey[] }
  /** What carries the sessions of the service its workers say, and none of them is known yet. */
  | { readonly by: 'unsaid' };

type Attempts = readonly AttemptTrace[];

/** So many of those that have left are told apart from those that never were. */
const MAX_ABSENT = 64;
const NOBODY: ReadonlySet<string> = new Set();
const NO_ROUTES: readonly Route[] = [];

function bondOf(
  { downstream, service, workerId }: OutboundRequest,
  { directory, services, sessions }: BoundSelectorOptions,
): Bond | null {
  if (workerId !== null) return { by: 'sidecar-worker', workerId };
  const peers = directory.peek(service);
  if (peers.length === 0 && !services.has(service) && !sessions.isConfigured(service))
    return { by: 'unsaid' };
  return sessionBond(service, sessions.idsIn(service, peers, downstream.head.fields));
}

function sessionBond(service: string, ids: readonly string[]): Bond | null {
  return ids.length === 0 ? null : { by: 'session', keys: ids.map((id) => sessionKey(service, id)) };
}

class BoundSelector implements Selector {
  readonly #request: OutboundRequest;
  readonly #options: BoundSelectorOptions;
  #bond: Bond;
  /** Where it was sent; null = nowhere yet. */
  #place: Peer | LocalService | null = null;
  #routes = NO_ROUTES;
  #routeIndex = 0;
  /** The peers were asked whose session it is. */
  #hasAsked = false;
  /** Its worker was searched beyond the view. */
  #hasSearched = false;
  #hasRepeated = false;
  /** It was sent by the same route again, signed by the clock of the peer. */
  #hasSignedAnew = false;
  #view: Seen['view'] = 'none';
  #viewAgeMs: number | null = null;
  #decision: Explanation | null = null;
  #bound: BoundTo | null;
  /** Once it is for no worker any more. */
  #free: TargetSelector | null = null;

  constructor(request: OutboundRequest, bond: Bond, options: BoundSelectorOptions) {
    this.#request = request;
    this.#bond = bond;
    this.#options = options;
    this.#bound = firstWord(bond);
  }

  get seen(): Seen {
    const bound = this.#bound;
    const seen: Omit<Seen, 'bound'> = this.#free?.seen ?? {
      view: this.#view,
      viewAgeMs: this.#viewAgeMs,
      decision: this.#decision,
    };
    return { ...seen, bound, decision: seen.decision === null ? null : { ...seen.decision, bound } };
  }

  get isMigrating(): boolean {
    return this.#free?.isMigrating ?? false;
  }

  get hasElsewhere(): boolean {
    return this.#free?.hasElsewhere ?? this.#routeIndex < this.#routes.length;
  }

  get hasOther(): boolean {
    return this.#free?.hasOther ?? false;
  }

  refused(): void {
    this.#free?.refused();
  }

  next(attempts: Attempts): Target | Promise<Target> {
    if (this.#free !== null) return this.#free.next(attempts);
    if (this.#place === null) return this.#first(attempts);
    return this.#nextRoute() ?? this.#again(attempts) ?? this.#left(attempts);
  }

  attempted(target: PeerTarget, ended: Attempted): void {
    if (this.#free !== null) {
      this.#free.attempted(target, ended);
      return;
    }
    if (ended.remaining === 'other_routes') return;
    const isAgain = ended.remaining === 'same_route' && !this.#hasSignedAnew;
    if (isAgain) this.#hasSignedAnew = true;
    this.#routes = isAgain ? [target.route] : NO_ROUTES;
    this.#routeIndex = 0;
  }

  #first(attempts: Attempts): Target | Promise<Target> {
    const { directory, sessions } = this.#options;
    const { app, service } = this.#request;
    const owner = this.#knownOwner;
    if (owner?.key === sessions.own.key) return this.#toLocal(owner, attempts);
    const found = directory.find(service, app);
    this.#view = found.kind;
    if (found.kind === 'hit') return this.#among(found.view, attempts);
    return this.#once(found.ready, 'the service was looked up', (view) => this.#among(view, attempts));
  }

  get #knownOwner(): SessionOwner | null {
    const { sessions } = this.#options;
    if (this.#bond.by === 'unsaid') return null;
    if (this.#bond.by === 'sidecar-worker')
      return this.#bond.workerId === sessions.own.workerId ? sessions.own : null;
    for (const key of this.#bond.keys) {
      const owner = sessions.find(key);
      if (owner !== null) return owner;
    }
    return null;
  }

  #among(view: View, attempts: Attempts): Target | Promise<Target> {
    const peers = view.kind === 'none' ? [] : view.peers;
    if (view.kind === 'peers') this.#viewAgeMs = view.ageMs;
    if (this.#bond.by === 'unsaid') {
      const { downstream, service } = this.#request;
      const bond = sessionBond(service, this.#options.sessions.idsIn(service, peers, downstream.head.fields));
      if (bond === null) return this.#goAnywhere(view, attempts);
      this.#bond = bond;
      this.#bound = firstWord(bond);
    }
    const peer = this.#boundAmong(peers);
    if (peer !== undefined) return this.#toPeer(peer, peers, attempts);
    const search = this.#search(view);
    if (search === null) return this.#absent(view, attempts);
    return this.#once(search, 'its worker was searched', (found) => this.#among(found, attempts));
  }

  #boundAmong(peers: readonly Peer[]): Peer | undefined {
    if (this.#bond.by !== 'sidecar-worker') {
      const key = this.#knownOwner?.key;
      return key === undefined ? undefined : peers.find((peer) => peer.key === key);
    }
    const { workerId } = this.#bond;
    const named = peers.filter(({ record }) => record.worker_id === workerId);
    return named.find(({ state, presence }) => state === 'ready' && presence === 'live') ?? named[0];
  }

  /** A view is a sample, and a session may have been given elsewhere. null = there is nothing to search. */
  #search(view: View): Promise<View> | null {
    const { directory, sessionSearch } = this.#options;
    const { service } = this.#request;
    const owner = this.#knownOwner;
    if (this.#bond.by === 'session' && owner === null) {
      if (this.#hasAsked || view.kind === 'none') return null;
      this.#hasAsked = true;
      const { peers, ageMs } = view;
      return sessionSearch
        .ownerOf(service, this.#bond.keys, peers)
        .then(() => ({ kind: 'peers', peers: directory.peek(service), ageMs }));
    }
    if (this.#hasSearched) return null;
    this.#hasSearched = true;
    if (this.#bond.by === 'sidecar-worker') {
      const { workerId } = this.#bond;
      return directory.search(service, `worker ${workerId}`, ({ record }) => record.worker_id === workerId);
    }
    if (owner === null) return null;
    if (directory.absent(service, MAX_ABSENT).some(({ peer }) => peer === owner.workerId)) return null;
    return directory.search(service, `key ${owner.key}`, ({ key }) => key === owner.key);
  }

  #absent(view: View, attempts: Attempts): Target | Promise<Target> {
    const { directory, sessions } = this.#options;
    const { service } = this.#request;
    if (this.#bond.by !== 'sidecar-worker') {
      const owner = this.#knownOwner;
      if (this.#bond.by === 'session') for (const key of this.#bond.keys) sessions.forget(key);
      if (owner === null)
        return this.#release('unknown', null, 'no worker that was asked has its session', view, attempts);
      const absent = directory.absent(service, MAX_ABSENT).find(({ peer }) => peer === owner.workerId);
      const why = absent === undefined ? 'it is not known any more' : absent.reason;
      return this.#release(
        'gone',
        owner.workerId,
        `the worker of its session is gone: ${why}`,
        view,
        attempts,
      );
    }
    const { workerId } = this.#bond;
    const asked = { service, attempts };
    if (view.kind === 'none' && view.code === 'discovery_unavailable')
      return noUpstreamKnown(asked, view.code, view.detail, this.#options);
    const absent = directory.absent(service, MAX_ABSENT).filter(({ peer }) => peer === workerId);
    const known = view.kind === 'none' ? 0 : view.peers.length;
    const why = absent.map(({ reason }) => `; ${reason}`).join('');
    const detail = `${workerId} is not among the ${known} workers of others that are known to offer ${service}${why}`;
    return { kind: 'no_upstream', code: 'unknown_worker', detail, skipped: absent };
  }

  #toPeer(peer: Peer, peers: readonly Peer[], attempts: Attempts): Target | Promise<Target> {
    this.#isAt(peer.record.worker_id);
    const narrow = { excluded: NOBODY, isRefused: false, only: peer.key };
    const { choice, decision } = choosePeer(this.#request, this.#options, peers, narrow);
    this.#decision = decision;
    this.#place = peer;
    if (choice.kind === 'chosen') {
      this.#routes = [...choice.routes, ...choice.spare];
      this.#routeIndex = 0;
      const target = this.#nextRoute();
      if (target !== null) return target;
    }
    const { requirements, service } = this.#request;
    if (this.#bond.by === 'session') {
      const reason = exclusionReason(peer, service, performance.now(), requirements);
      return this.#notTaken(reason, attempts);
    }
    const code = choice.kind === 'refused' ? choice.code : 'all_ejected';
    return noUpstreamAmong({ service, attempts, requirements }, code, [peer], NOBODY, this.#options);
  }

  #toLocal(owner: SessionOwner, attempts: Attempts): Target | Promise<Target> {
    const { capabilities, services } = this.#options;
    const { requirements, service } = this.#request;
    const local = services.get(service);
    const isSession = this.#bond.by === 'session';
    if (local === undefined) {
      if (isSession)
        return this.#release('gone', owner.workerId, 'its worker does not offer it any more', null, attempts);
      const detail = `${owner.workerId}, the worker beside this sidecar, does not offer ${service}`;
      return { kind: 'no_upstream', code: 'unknown_worker', detail, skipped: [] };
    }
    this.#isAt(owner.workerId);
    this.#view = 'local';
    this.#place = local;
    if (!meetsAll(capabilities, requirements)) {
      if (isSession) return this.#notTaken('it does not meet what is required', attempts);
      const asked = { service, attempts, requirements, lacking: { worker_id: owner.workerId, capabilities } };
      return noUpstreamKnown(asked, 'requirements_unmet', '', this.#options);
    }
    const { whyNot } = local;
    if (whyNot === null) return { kind: 'local', service: local };
    if (isSession) return this.#notTaken(whyNot.detail, attempts);
    return { kind: 'no_upstream', ...whyNot, skipped: [] };
  }

  #isAt(workerId: string): void {
    if (this.#bond.by === 'session')
      this.#bound = { by: 'session', worker_id: workerId, state: 'there', because: 'its session is there' };
  }

  #nextRoute(): PeerTarget | null {
    const route = this.#routes[this.#routeIndex];
    const peer = this.#place;
    if (route === undefined || peer === null || !('record' in peer)) return null;
    this.#routeIndex++;
    const isLastRoute = this.#routeIndex === this.#routes.length;
    return { kind: 'peer', peer, route, expectedQueue: null, isLastRoute, isMigratable: false };
  }

  /** What may be sent again goes to the same worker once more: its session lives on when a connection has broken. */
  #again(attempts: Attempts): LocalTarget | PeerTarget | null {
    const place = this.#place;
    if (place === null || this.#hasRepeated || attempts.at(-1)?.stage !== 'sent') return null;
    this.#hasRepeated = true;
    if (!('record' in place)) return place.whyNot === null ? { kind: 'local', service: place } : null;
    if (place.state === 'warming') return null;
    this.#routes = usableRoutes(place.routes, performance.now());
    this.#routeIndex = 0;
    return this.#nextRoute();
  }

  /** The worker has not taken it. */
  #left(attempts: Attempts): Target | Promise<Target> {
    const last = attempts.at(-1);
    const said = last === undefined ? 'it was not asked' : attemptText(last);
    if (last !== undefined && this.#bond.by === 'sidecar-worker')
      return refusedThere(last, `${said}; sidecar-worker asks for this worker alone`);
    if (last?.code === 'saturated')
      return refusedThere(last, `${said}; its session is there, and nowhere else`);
    return this.#notTaken(said, attempts);
  }

  #notTaken(why: string, attempts: Attempts): Target | Promise<Target> {
    const because = `the worker of its session cannot take it: ${why}`;
    return this.#release('not_taken', this.#bound?.worker_id ?? null, because, null, attempts);
  }

  /** From here on any worker may serve it. */
  #release(
    state: BoundTo['state'],
    workerId: string | null,
    because: string,
    view: View | null,
    attempts: Attempts,
  ): Target | Promise<Target> {
    this.#bound = { by: 'session', worker_id: workerId, state, because };
    return this.#goAnywhere(view, attempts);
  }

  /** `view`: what was found for it just now. */
  #goAnywhere(view: View | null, attempts: Attempts): Target | Promise<Target> {
    const found = view === null ? null : { by: this.#view, view };
    this.#free = new TargetSelector(this.#request, this.#options, { left: this.#place, found });
    return this.#free.next(attempts);
  }

  async #once<T>(
    ready: Promise<T>,
    meanwhile: string,
    then: (value: T) => Target | Promise<Target>,
  ): Promise<Target> {
    const found = await this.#request.whileWanted(ready);
    if (found === null) return tooLate(`the deadline of the caller passed while ${meanwhile}`);
    return then(found.value);
  }
}

function firstWord(bond: Bond): BoundTo | null {
  switch (bond.by) {
    case 'unsaid':
      return null;
    case 'session':
      return { by: 'session', worker_id: null, state: 'unknown', because: 'it carries a session' };
    case 'sidecar-worker': {
      const because = 'sidecar-worker asks for this worker alone';
      return { by: 'sidecar-worker', worker_id: bond.workerId, state: 'there', because };
    }
  }
}

function refusedThere({ code }: AttemptTrace, detail: string): NoUpstream {
  return { kind: 'no_upstream', code, detail, skipped: [] };
}
