/**
 * Who is next: the worker beside us, the next route of the peer that was chosen, or another peer.
 *
 * It owns all that decides about that for one request: the view of the mesh, who was tried, the routes that are left,
 * and how often the request was sent from one queue to another, which is bounded.
 */
import type { Choice } from '../../core/balancing/choice.ts';
import type { Explanation } from '../../core/balancing/explain.ts';
import { requestsAt } from '../../core/peers/accounting.ts';
import type { Peer } from '../../core/peers/peer.ts';
import { type Capabilities, meetsAll, preferenceRank } from '../../core/peers/requirements.ts';
import type { Route } from '../../core/peers/route.ts';
import { usableRoutes } from '../../core/peers/route-order.ts';
import { sortedByFitness } from '../../core/peers/tunnel-limits.ts';
import type { AttemptTrace } from '../problem.ts';
import type { LocalService } from '../worker/local-service.ts';
import { type ChoiceOptions, choosePeer } from './choose-peer.ts';
import type { FindResult, PeerDirectory, View } from './directory.ts';
import { areGone, reachable } from './gone-workers.ts';
import {
  type NoUpstream,
  type NoUpstreamOptions,
  noUpstreamAmong,
  noUpstreamKnown,
  tooLate,
} from './no-upstream.ts';
import { isLeftOut } from './outliers.ts';
import type { OutboundRequest } from './request.ts';
import type { Attempted, LocalTarget, PeerTarget, Seen, Target } from './target.ts';

export interface SelectorOptions extends NoUpstreamOptions, ChoiceOptions {
  readonly services: ReadonlyMap<string, LocalService>;
  readonly directory: PeerDirectory;
  /** Of the worker beside this sidecar. */
  readonly workerId: string;
  readonly capabilities: Capabilities;
}

/** Turned away so often, a request takes any queue (design, Balancing). */
const MAX_REJECTIONS = 2;

/** A request that had so many attempts has none to spare for being asked back. */
const MAX_ATTEMPTS_BEFORE_MIGRATION = 4;

const NO_ROUTES: readonly Route[] = [];
const NOBODY: ReadonlySet<string> = new Set();

/** What became of the request before anybody could take it. */
interface Before {
  /** Where it was already, in vain. */
  readonly left: Peer | LocalService | null;
  /** A view that was found for it, and how. */
  readonly found: { readonly by: Seen['view']; readonly view: View } | null;
}

const NOTHING_BEFORE: Before = { left: null, found: null };

export class TargetSelector {
  readonly #request: OutboundRequest;
  readonly #options: SelectorOptions;
  /** A view that is not looked at yet. */
  #found: Before['found'];
  #view: Seen['view'] = 'none';
  #viewAgeMs: number | null = null;
  #decision: Explanation | null = null;
  #hasCheckedWarming = false;
  #hasSearched = false;
  #hasLookedAnew = false;
  /** Keys of peers; an array, since nearly every request tries one. */
  #tried: string[] = [];
  #hasTriedLocal = false;
  /** A worker has refused it: those that are known to be full would, too. */
  #isRefused = false;
  /** To whom it was sent by the same route again, which happens once. */
  #repeatedAt: Peer | null = null;
  /** The peer that it goes to, with the routes to it; those from `#routeIndex` on are left. */
  #peer: Peer | null = null;
  #routes = NO_ROUTES;
  #routeIndex = 0;
  #expectedQueue: number | null = null;
  /** Ways that were passed over as unfit, for when nobody else is left. */
  readonly #spare: { readonly peer: Peer; readonly route: Route }[] = [];
  /** Takes any queue. From the start if its body cannot be sent twice: being turned away would be its end. */
  #acceptsAnyQueue: boolean;
  #rejections = 0;
  /** The peer that it was asked back for, to go there; null = it never was. */
  #askedBackFor: Peer | null = null;
  /** It was given back, and goes there now. */
  #isMigrating = false;

  constructor(request: OutboundRequest, options: SelectorOptions, { left, found }: Before = NOTHING_BEFORE) {
    this.#request = request;
    this.#options = options;
    this.#found = found;
    if (left !== null && 'record' in left) this.#tried.push(left.key);
    else this.#hasTriedLocal = left !== null;
    this.#acceptsAnyQueue = !request.isBodyKept;
  }

  get seen(): Seen {
    return { view: this.#view, viewAgeMs: this.#viewAgeMs, decision: this.#decision, bound: null };
  }

  /** It was taken back from the queue of one peer, to be sent to another. */
  get isMigrating(): boolean {
    return this.#isMigrating;
  }

  /** Whether there is another way to send it while an attempt is out. */
  get hasElsewhere(): boolean {
    if (this.#routeIndex < this.#routes.length) return true;
    const peers = this.#options.directory.peek(this.#request.service);
    return peers.some((peer) => this.#isUntriedAndReady(peer));
  }

  /** Whether a worker is there that may take what this one refuses. */
  get hasOther(): boolean {
    const nowMs = performance.now();
    const { service } = this.#request;
    const local = this.#untriedLocal;
    if (local !== null && !local.isLeftOut(nowMs)) return true;
    return this.#options.directory.peek(service).some((peer) => {
      const endpoint = peer.endpoint(service);
      if (endpoint === undefined || endpoint.isPaused || !this.#isUntriedAndReady(peer)) return false;
      return !endpoint.standing.isFull(requestsAt(endpoint), nowMs);
    });
  }

  /** A worker has refused it, and it goes to another one. */
  refused(): void {
    this.#isRefused = true;
  }

  /** `attempts`: those that failed. A promise only where it must wait; rejects only for a fault of this program. */
  next(attempts: readonly AttemptTrace[]): Target | Promise<Target> {
    const local = this.#untriedLocal;
    if (
      local !== null &&
      !isLeftOut(local, this.#options, performance.now()) &&
      this.#isLocalPreferred(attempts)
    )
      return this.#toLocal(local);
    this.#isMigrating = false;
    const left = this.#nextRoute(attempts);
    if (left !== null) return left;
    if (this.#found !== null) return this.#amongFound(this.#found, attempts);
    const found = this.#find();
    // One that is left out serves rather than that a request waits for others to be found.
    if (local !== null && found.kind === 'wait') return this.#toLocal(local);
    return found.kind === 'hit' ? this.#among(found.view, attempts) : this.#looked(found.ready, attempts);
  }

  /** Nobody who is known to be ready has more of what is preferred. */
  #isLocalPreferred(attempts: readonly AttemptTrace[]): boolean {
    const { requirements, preferences, service } = this.#request;
    if (preferences.length === 0 || attempts.length > 0) return true;
    const { capabilities, directory } = this.#options;
    const rank = preferenceRank(capabilities, preferences);
    return !directory
      .peek(service)
      .some(
        (peer) =>
          this.#isUntriedAndReady(peer) &&
          meetsAll(peer.record.capabilities, requirements) &&
          preferenceRank(peer.record.capabilities, preferences) > rank,
      );
  }

  #amongFound(
    { by, view }: NonNullable<Before['found']>,
    attempts: readonly AttemptTrace[],
  ): ReturnType<TargetSelector['next']> {
    this.#found = null;
    this.#view = by;
    return this.#among(view, attempts);
  }

  async #looked(ready: Promise<View>, attempts: readonly AttemptTrace[]): Promise<Target> {
    const found = await this.#request.whileWanted(ready);
    if (found === null) return tooLate('the deadline of the caller passed while the service was looked up');
    return this.#among(found.value, attempts);
  }

  #among(view: View, attempts: readonly AttemptTrace[]): Target | Promise<Target> {
    if (view.kind === 'none')
      return (
        this.#lastResort ?? noUpstreamKnown(this.#asked(attempts), view.code, view.detail, this.#options)
      );
    this.#viewAgeMs = view.ageMs;
    const choice = this.#choose(view.peers);
    if (choice.kind === 'refused') {
      if (choice.code === 'requirements_unmet' && !this.#hasSearched) return this.#searched(attempts);
      if (this.#mayBeReadyByNow(view.peers)) return this.#checked(attempts);
      if (this.#mayBeReplaced(view.peers, attempts)) return this.#lookedAnew(attempts);
    }
    return this.#chosen(choice, view.peers, attempts);
  }

  /** The view is a sample, and may lack the one worker that fits. */
  async #searched(attempts: readonly AttemptTrace[]): Promise<Target> {
    const { directory } = this.#options;
    const { service, requirements } = this.#request;
    this.#hasSearched = true;
    const wish = requirements.map(({ text }) => text).join();
    const fits = ({ record }: Peer): boolean => meetsAll(record.capabilities, requirements);
    const found = await this.#request.whileWanted(directory.search(service, wish, fits));
    if (found === null)
      return tooLate('the deadline of the caller passed while a worker that fits was searched');
    return this.#among(found.value, attempts);
  }

  /** The view is of workers that are gone: others may be in their place, or the same ones elsewhere. */
  async #lookedAnew(attempts: readonly AttemptTrace[]): Promise<Target> {
    const { directory } = this.#options;
    const { service } = this.#request;
    this.#hasLookedAnew = true;
    const before = reachable(directory.peek(service), service);
    const found = await this.#request.whileWanted(directory.lookUpAnew(service));
    if (found === null)
      return tooLate('the deadline of the caller passed while the service was looked up anew');
    const after = reachable(directory.peek(service), service);
    this.#tried = this.#tried.filter((key) => before.has(key) || !after.has(key));
    return this.#among(found.value, attempts);
  }

  /** Those that were warming are asked once more. */
  async #checked(attempts: readonly AttemptTrace[]): Promise<Target> {
    const { directory } = this.#options;
    const { service } = this.#request;
    this.#hasCheckedWarming = true;
    const checked = await this.#request.whileWanted(directory.checkWarming(service));
    if (checked === null) return tooLate('the deadline of the caller passed');
    const peers = directory.peek(service);
    return this.#chosen(this.#choose(peers), peers, attempts);
  }

  /** The worker beside us, while the request has not been there. */
  get #untriedLocal(): LocalService | null {
    const local = this.#options.services.get(this.#request.service);
    if (this.#hasTriedLocal || local === undefined || local.whyNot !== null) return null;
    const { requirements } = this.#request;
    // What this worker has is gathered anew each time that it is asked for.
    return requirements.length === 0 || meetsAll(this.#options.capabilities, requirements) ? local : null;
  }

  #toLocal(service: LocalService): LocalTarget {
    this.#hasTriedLocal = true;
    if (this.#view === 'none') this.#view = 'local';
    return { kind: 'local', service };
  }

  /** The worker beside us is left out, and nobody else is there. One that is full is not asked after a refusal. */
  get #lastResort(): LocalTarget | null {
    const local = this.#untriedLocal;
    return local === null || this.#isRefused ? null : this.#toLocal(local);
  }

  #chosen(choice: Choice, peers: readonly Peer[], attempts: readonly AttemptTrace[]): Target {
    if (choice.kind === 'refused') this.#takeSpare();
    else {
      for (const route of choice.spare) this.#spare.push({ peer: choice.peer, route });
      this.#goTo(choice.peer, choice.routes, choice.expectedQueue);
    }
    return this.#nextRoute(attempts) ?? this.#lastResort ?? this.#nobody(choice, peers, attempts);
  }

  /** An attempt on a peer is over. */
  attempted({ peer, route }: PeerTarget, { remaining, askedBackFor }: Attempted): void {
    if (askedBackFor !== null) this.#askedBackFor = askedBackFor;
    if (remaining === 'other_routes') return;
    const isRepeated = remaining === 'same_route' && this.#repeatedAt !== peer;
    if (isRepeated) this.#repeatedAt = peer;
    this.#peer = peer;
    this.#routes = isRepeated ? [route] : NO_ROUTES;
    this.#routeIndex = 0;
    if (remaining === 'queue') this.#rejectedByQueue(peer, askedBackFor);
  }

  /**
   * A peer has sent the request away before its worker saw it. It has told its true state, so it stays a candidate:
   * excluding it costs p99 (three workers, 85 % busy: 1.04 → 1.29 of the ideal). After two such responses the request
   * takes any queue, and then only a full one turns it away, for good.
   */
  #rejectedByQueue(peer: Peer, goesTo: Peer | null): void {
    // Where it was moved to it should have come first: no more of that.
    if (this.#askedBackFor === peer) this.#acceptsAnyQueue = true;
    if (this.#acceptsAnyQueue && goesTo === null) return;
    this.#tried = this.#tried.filter((key) => key !== peer.key);
    if (goesTo !== null) this.#migrate(goesTo);
    else if (++this.#rejections >= MAX_REJECTIONS) this.#acceptsAnyQueue = true;
  }

  /** It comes first at the peer that it was asked back for; unless that one cannot be asked any more. */
  #migrate(to: Peer): void {
    this.#isMigrating = true;
    const { service, requirements, tunnelUnfit } = this.#request;
    if (!this.#isUntriedAndReady(to) || to.endpoint(service) === undefined) return;
    if (!meetsAll(to.record.capabilities, requirements)) return;
    const { routes } = sortedByFitness(usableRoutes(to.routes, performance.now()), tunnelUnfit);
    if (routes.length > 0) this.#goTo(to, routes, null);
  }

  #takeSpare(): void {
    const spare = this.#spare.shift();
    if (spare !== undefined) this.#goTo(spare.peer, [spare.route], null);
  }

  /** By these routes, in their order. */
  #goTo(peer: Peer, routes: readonly Route[], expectedQueue: number | null): void {
    this.#tried.push(peer.key);
    this.#peer = peer;
    this.#routes = routes;
    this.#routeIndex = 0;
    this.#expectedQueue = expectedQueue;
  }

  /** To the peer that it goes to; null when none is left. */
  #nextRoute(attempts: readonly AttemptTrace[]): PeerTarget | null {
    const route = this.#routes[this.#routeIndex];
    if (route === undefined || this.#peer === null) return null;
    this.#routeIndex++;
    return {
      kind: 'peer',
      peer: this.#peer,
      route,
      expectedQueue: this.#acceptsAnyQueue ? null : this.#expectedQueue,
      isLastRoute: this.#routeIndex === this.#routes.length,
      isMigratable: this.#isMigratable(attempts),
    };
  }

  /** Once; and only what is sent into a queue by the expected time, can be sent again as it is, and goes anywhere. */
  #isMigratable(attempts: readonly AttemptTrace[]): boolean {
    const { affinityKey, isBodyKept, requirements, tunnelUnfit } = this.#request;
    const goesAnywhere =
      isBodyKept && affinityKey === null && tunnelUnfit === null && requirements.length === 0;
    const isSpent = this.#askedBackFor !== null || attempts.length > MAX_ATTEMPTS_BEFORE_MIGRATION;
    const queue = this.#expectedQueue;
    return goesAnywhere && !isSpent && queue !== null && (this.#acceptsAnyQueue || queue > 0);
  }

  #nobody(choice: Choice, peers: readonly Peer[], attempts: readonly AttemptTrace[]): NoUpstream {
    const asked = this.#asked(attempts);
    const code = choice.kind === 'refused' ? choice.code : 'no_peers';
    if (peers.length > 0) return noUpstreamAmong(asked, code, peers, this.#excluded, this.#options);
    return noUpstreamKnown(asked, code, 'No worker is known to offer this service any more.', this.#options);
  }

  /** For the words of a refusal. */
  #asked(attempts: readonly AttemptTrace[]) {
    const { requirements, service } = this.#request;
    const { capabilities, services, workerId: worker_id } = this.#options;
    const isLacking = services.has(service) && !meetsAll(capabilities, requirements);
    return { service, attempts, requirements, lacking: isLacking ? { worker_id, capabilities } : null };
  }

  /** What is known of those that were warming is a moment old, and there is nobody else. */
  #mayBeReadyByNow(peers: readonly Peer[]): boolean {
    if (this.#hasCheckedWarming || this.#spare.length > 0) return false;
    return peers.some(({ key, state }) => state === 'warming' && !this.#tried.includes(key));
  }

  /** Nobody can be reached whom it has not tried, and those that it tried were not there. */
  #mayBeReplaced(peers: readonly Peer[], attempts: readonly AttemptTrace[]): boolean {
    if (this.#hasLookedAnew || this.#isRefused || this.#spare.length > 0 || this.#untriedLocal !== null)
      return false;
    // What it has just waited for was such a lookup.
    if (attempts.length === 0 && this.#view === 'wait') return false;
    return areGone(peers, this.#request.service, this.#tried, attempts);
  }

  #isUntriedAndReady(peer: Peer): boolean {
    return peer.state === 'ready' && peer.presence === 'live' && !this.#tried.includes(peer.key);
  }

  get #excluded(): ReadonlySet<string> {
    return this.#tried.length === 0 ? NOBODY : new Set(this.#tried);
  }

  /** For the first choice as the directory has it; for a later one the peers as they are by then. */
  #find(): FindResult {
    const { directory } = this.#options;
    const { app, service } = this.#request;
    if (this.#viewAgeMs !== null) {
      const view = { kind: 'peers', peers: directory.peek(service), ageMs: this.#viewAgeMs } as const;
      return { kind: 'hit', view };
    }
    const found = directory.find(service, app);
    this.#view = found.kind;
    return found;
  }

  #choose(peers: readonly Peer[]): Choice {
    const among = { excluded: this.#excluded, isRefused: this.#isRefused, only: null };
    const { choice, decision } = choosePeer(this.#request, this.#options, peers, among);
    this.#decision = decision;
    return choice;
  }
}
