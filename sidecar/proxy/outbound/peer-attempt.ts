/**
 * An attempt on one route of one peer: proves who calls, checks who answers, and tells peer and route how it went.
 *
 * The health of the route and the health of the peer are told apart here: a connection that cannot be made is the
 * route's fault, a response that breaks is the peer's, and a client that leaves is nobody's. While it is out it is
 * what the stall watch watches, and what the queue migration may ask back.
 */
import { CODES, type Code } from '../../core/errors.ts';
import { endToEndTrailers } from '../../core/forwarding/end-to-end.ts';
import { LOAD_HEADER, SLOT_FREE, SLOT_HEADER } from '../../core/forwarding/sidecar-headers.ts';
import { type Answer, refusalMs } from '../../core/http/answer.ts';
import { isGrpc } from '../../core/http/grpc.ts';
import { first } from '../../core/http/headers.ts';
import type { RawFields } from '../../core/http/message.ts';
import { begin, type EndpointOutcome, finish, requestsAt } from '../../core/peers/accounting.ts';
import type { Endpoint, Peer } from '../../core/peers/peer.ts';
import type { Route } from '../../core/peers/route.ts';
import { usableRoutes } from '../../core/peers/route-order.ts';
import { mayRetry } from '../../core/retry.ts';
import { type AttemptOptions, type AttemptWatch, runAttempt } from '../../http/attempt.ts';
import type { AttemptOutcome, Judgement } from '../../http/attempt-outcome.ts';
import type {
  Downstream,
  IncomingHead,
  Origin,
  OutgoingHead,
  RequestTimeouts,
  Upstreams,
} from '../../http/exchange.ts';
import type { RequestRelay } from '../../http/request-relay.ts';
import { interimHeaders, responseHeaders } from '../hop-headers.ts';
import { hasLearntClock } from '../peer/auth.ts';
import { parseRefusal, REFUSAL_HEADER } from '../peer/refusal.ts';
import type { Sessions } from '../peer/sessions.ts';
import { faultText, NO_FAULT_OF_THE_PEER, refusedText, withSigns } from './attempt-trace.ts';
import type { PeerDirectory } from './directory.ts';
import { ejectOutlier, type OutlierOptions } from './outliers.ts';
import { type PeerRequestOptions, peerOrigin, peerRequestHead } from './peer-request.ts';
import type { MigratableAttempt, QueueMigration } from './queue-migration.ts';
import type { RequestReport } from './report.ts';
import type { OutboundRequest } from './request.ts';
import type { StallWatch, WatchedRequest } from './stall-watch.ts';
import type { Attempted, PeerTarget, Remaining } from './target.ts';
import type { TargetSelector } from './target-selector.ts';
import { judgeUnsigned } from './unsigned-response.ts';

export interface PeerAttemptOptions extends PeerRequestOptions, OutlierOptions {
  readonly directory: Pick<PeerDirectory, 'peek' | 'reported' | 'markSuspect' | 'notOffered' | 'silent'>;
  readonly upstreams: Upstreams;
  readonly stallWatch: StallWatch;
  readonly queueMigration: QueueMigration;
  readonly sessions: Sessions;
}

/** What came of it, and what that leaves. */
export interface PeerAttemptEnd extends Attempted {
  readonly outcome: AttemptOutcome;
}

const NO_ROUTES: readonly Route[] = [];

/** A response of so many bytes is on its way as a whole when its head comes. */
const SHORT_BYTES = 65_536;

/** No connection: nothing is known of who may be there. */
const UNCONNECTED: ReadonlySet<Code> = new Set([
  'connect_failed',
  'connect_timeout',
  'certificate_untrusted',
]);

/**
 * Whose response came: the one of the peer that was asked, proved by its signature; that of the tunnel's edge to what it
 * does not carry; another one; or none.
 */
type Responder = 'nobody' | 'peer' | 'edge' | 'stranger';

/** What an attempt needs of the request that it is made for. */
export interface AttemptContext {
  readonly request: OutboundRequest;
  readonly selector: Pick<TargetSelector, 'hasElsewhere' | 'hasOther'>;
  readonly report: Pick<RequestReport, 'pushResponseHeaders'>;
  /** How it ended; once, maybe before `attemptPeer` returns. Never throws. */
  peerEnded(end: PeerAttemptEnd): void;
  /** In its place, a fault of this program. Never throws. */
  faulted(error: unknown): void;
}

/** `startedMs`: now, monotonic. */
export function attemptPeer(
  target: PeerTarget,
  context: AttemptContext,
  options: PeerAttemptOptions,
  startedMs: number,
): void {
  if (target.route.kind === 'tunnel' && isGrpc(context.request.downstream.head.fields)) {
    const detail = 'a tunnel does not carry HTTP/2 to the worker';
    const outcome = { kind: 'failed', code: 'grpc_not_carried', stage: 'not_sent', detail } as const;
    context.peerEnded({ outcome, remaining: 'other_routes', askedBackFor: null });
    return;
  }
  new PeerAttempt(target, context, options, startedMs).start();
}

class PeerAttempt implements AttemptOptions, WatchedRequest, MigratableAttempt {
  readonly downstream: Downstream;
  readonly relay: RequestRelay;
  readonly upstreams: Upstreams;
  readonly origin: Origin;
  readonly head: OutgoingHead;
  readonly timeouts: RequestTimeouts;
  readonly repeatStale = false;
  readonly deadline: Promise<void> | null;
  readonly watch: AttemptWatch;
  readonly trailers = endToEndTrailers;
  readonly service: string;
  readonly sinceMs: number;
  readonly peer: Peer;
  readonly peerKey: string;
  readonly route: Route;
  readonly others: readonly Route[];
  readonly nonce: string;
  readonly #target: PeerTarget;
  readonly #context: AttemptContext;
  readonly #options: PeerAttemptOptions;
  readonly #startedMs: number;
  /** Start of the life of the peer that it is sent to. */
  readonly #epoch: number;
  /** How far the clock of the peer was known to be ahead when the request was signed. */
  readonly #clockMs: number | null;
  #responder: Responder = 'nobody';
  #isStream = false;
  #endpoint: Endpoint | undefined;
  /** It goes on without a slot there, and so is not counted among what I have outstanding. */
  #isOpen = false;
  #askedBackFor: Peer | null = null;
  #remaining: Remaining = 'other_routes';

  constructor(target: PeerTarget, context: AttemptContext, options: PeerAttemptOptions, startedMs: number) {
    const { peer, route } = target;
    const { downstream, relay, service, sinceMs, deadline, policy } = context.request;
    route.health.tried(startedMs);
    this.#clockMs = options.auth.clockOffsetMs(peer.key);
    const { head, nonce } = peerRequestHead(context.request, target, options);
    this.downstream = downstream;
    this.relay = relay;
    this.upstreams = options.upstreams;
    this.origin = peerOrigin(route, context.request);
    this.head = head;
    this.timeouts = route.kind === 'tunnel' ? policy.tunnel : policy.vpn;
    this.deadline = deadline?.passed ?? null;
    this.service = service;
    this.sinceMs = sinceMs;
    this.peer = peer;
    this.peerKey = peer.key;
    this.route = route;
    this.others =
      peer.routes.length === 1 ? NO_ROUTES : peer.routes.filter((each) => each !== route && each.health.isUp);
    this.nonce = nonce;
    this.#target = target;
    this.#context = context;
    this.#options = options;
    this.#startedMs = startedMs;
    this.#epoch = peer.epoch;
    this.watch = options.stallWatch.watch(this);
  }

  start(): void {
    const endpoint = this.peer.endpoint(this.service);
    this.#endpoint = endpoint;
    if (this.#target.isMigratable) this.#options.queueMigration.sent(this);
    if (endpoint !== undefined) begin(endpoint, this.#startedMs);
    runAttempt(this);
  }

  ended(outcome: AttemptOutcome): void {
    if (this.#responder === 'nobody' && this.#mayBeTakenBack(outcome))
      this.#takenBack(outcome).then(
        (settled) => this.#finish(settled),
        (error) => this.faulted(error),
      );
    else this.#finish(outcome);
  }

  /** Of a fault in this program the peer knows nothing. */
  faulted(error: unknown): void {
    this.#count('cancelled');
    this.#context.faulted(error);
  }

  #finish(ended: AttemptOutcome): void {
    let end: PeerAttemptEnd;
    let judged: EndpointOutcome;
    try {
      const { peer, route, service } = this;
      const outcome = this.#responder === 'nobody' ? withSigns(ended, route, this.#startedMs) : ended;
      judged = this.#note(outcome);
      if (this.#isStream && outcome.kind === 'completed')
        void this.#options.queueMigration.streamEnded(peer, route, service);
      end = this.#endOf(outcome);
    } catch (error) {
      this.faulted(error);
      return;
    }
    this.#count(judged);
    this.#context.peerEnded(end);
  }

  #count(judged: EndpointOutcome): void {
    const endpoint = this.#endpoint;
    if (this.#target.isMigratable) this.#options.queueMigration.answered(this);
    if (endpoint === undefined) return;
    if (this.#isOpen) endpoint.outstanding += 1;
    const nowMs = performance.now();
    finish(endpoint, judged, nowMs);
    if (judged === 'failed' || judged === 'rejected')
      ejectOutlier(endpoint.standing, judged, this.service, this.#options, nowMs);
  }

  judge(response: IncomingHead, answer: Answer): Judgement {
    const { peer, route, nonce } = this;
    const { auth } = this.#options;
    const header = first(response.fields, 'sidecar-auth');
    const proof = { peerKey: peer.key, nonce, status: response.status, nowMs: Date.now(), header };
    this.#responder = auth.verifyResponse(proof) ? 'peer' : 'stranger';
    if (this.#responder === 'peer') {
      if (this.#target.isMigratable) this.#options.queueMigration.answered(this);
      this.#isStream = !isShort(response);
      route.health.succeeded(performance.now());
      return this.#judgeSigned(response, answer);
    }
    const { isEdge, judgement } = judgeUnsigned(response, route.kind);
    if (isEdge) this.#responder = 'edge';
    return judgement;
  }

  informational(fields: RawFields): RawFields {
    const version = this.origin.scheme === 'h2c' ? '2.0' : '1.1';
    return interimHeaders(fields, version, this.#options.pseudonym);
  }

  /** Of the watch: this route is the silent one. */
  cancelQueued(): Promise<boolean> {
    return this.#cancelQueued((route) => route !== this.route);
  }

  mayGoElsewhere(): boolean {
    return this.#maySendTwice() && this.#context.selector.hasElsewhere;
  }

  askedBackFor(to: Peer): void {
    this.#askedBackFor = to;
  }

  #judgeSigned(response: IncomingHead, answer: Answer): Judgement {
    const { peer, service } = this;
    const { directory, pseudonym, queueMigration } = this.#options;
    const load = first(response.fields, LOAD_HEADER);
    if (load !== undefined) directory.reported(peer, service, load);
    const refused = first(response.fields, REFUSAL_HEADER);
    const refusal = refused === undefined ? null : parseRefusal(refused);
    if (refusal !== null) {
      const { code, stage, detail } = refusal;
      const said = (detail === '' ? CODES[code].meaning : detail).replace(/\.$/, '');
      return { kind: 'refuse', code, stage, detail: `its sidecar says: ${said}` };
    }
    // A short response is over before anybody could count it.
    if (this.#isStream && first(response.fields, SLOT_HEADER) === SLOT_FREE) this.#goesOnOpen();
    if (load !== undefined && response.status < 500 && answer !== 'refused')
      queueMigration.onReport(peer, service, !this.#isStream);
    const fields = responseHeaders(response.fields, response.version, pseudonym);
    if (answer !== 'refused')
      this.#options.sessions.answeredBy(peer, service, this.downstream.head, response);
    if (answer === 'refused') {
      this.#noteFull(response.fields);
      if (this.#context.request.mayAskAnother && this.#context.selector.hasOther) {
        const passedOn = (to: RawFields): void => this.#context.report.pushResponseHeaders(to, this.#target);
        return { kind: 'hold', fields, detail: refusedText(response.status), passedOn };
      }
    }
    this.#context.report.pushResponseHeaders(fields, this.#target);
    return { kind: 'forward', fields };
  }

  /** Unless its sidecar has said with how many its worker is full, as older ones do not. */
  #noteFull(fields: RawFields): void {
    const endpoint = this.peer.endpoint(this.service);
    const nowMs = performance.now();
    if (endpoint === undefined || endpoint.standing.fullAt(nowMs) !== null) return;
    endpoint.standing.refusedAt(requestsAt(endpoint) - 1, nowMs, refusalMs(fields, Date.now()));
  }

  #goesOnOpen(): void {
    if (this.#endpoint === undefined || this.#isOpen) return;
    this.#isOpen = true;
    this.#endpoint.outstanding -= 1;
  }

  /** It may lie in the queue of the peer, and only its word makes it free to go elsewhere. */
  #mayBeTakenBack(outcome: AttemptOutcome): boolean {
    if (outcome.kind !== 'failed' || outcome.stage !== 'sent' || outcome.code !== 'upstream_reset')
      return false;
    return this.relay.isReplayable && !this.#maySendTwice();
  }

  /** The outcome with what the peer says of it: a request that it takes back was not sent. Never rejects. */
  async #takenBack(outcome: AttemptOutcome): Promise<AttemptOutcome> {
    const isTakenBack = await this.#cancelQueued(() => true);
    return isTakenBack && outcome.kind === 'failed' ? { ...outcome, stage: 'not_sent' } : outcome;
  }

  #cancelQueued(isWanted: (route: Route) => boolean): Promise<boolean> {
    const routes = usableRoutes(this.peer.routes, performance.now()).filter(isWanted);
    return this.#options.stallWatch.cancelQueued(this.peer, routes, {
      nonce: this.nonce,
      epoch: this.#epoch,
    });
  }

  #maySendTwice(): boolean {
    return mayRetry(this.#context.request.retryQuestion('sent'));
  }

  /**
   * Tells the route how it went, and notes what is left to try; returns what the outcome says of the peer and its
   * service. A peer that answers has proved the route, whatever it says: a code like `connect_failed` is then about its
   * worker, and another route leads to the same peer.
   */
  #note(outcome: AttemptOutcome): EndpointOutcome {
    const { peer, route, service } = this;
    const { directory } = this.#options;
    const responder = this.#responder;
    const nowMs = performance.now();
    if (outcome.kind === 'client_gone') return 'cancelled';
    if (outcome.kind === 'completed') {
      route.health.succeeded(nowMs);
      return outcome.answer;
    }
    if (this.#isRefusedByClock(outcome)) {
      this.#remaining = 'same_route';
      return 'refused';
    }
    const { code } = outcome;
    const isLost = outcome.kind === 'failed' && outcome.isPathLost === true;
    const isUnconnected = isLost || UNCONNECTED.has(code);
    if (code === 'connect_timeout') directory.silent(route);
    if (responder === 'stranger' || (responder === 'nobody' && isUnconnected)) {
      route.health.failed(nowMs, outcome.detail);
      if (!this.#target.isLastRoute) return 'refused';
      if (!isUnconnected) return 'failed';
      // Of a peer that was not reached by its last route nothing is known; unless its host says that it is gone.
      directory.markSuspect(peer);
      return outcome.kind === 'failed' && outcome.isRefused === true ? 'failed' : 'refused';
    }
    if (responder === 'edge') return 'refused'; // about this one request
    if (responder === 'peer') {
      route.health.succeeded(nowMs);
      this.#remaining = 'no_route';
    }
    if (code === 'not_offered_here') directory.notOffered(peer, service);
    else if (code === 'saturated') this.#remaining = 'queue';
    else if (code === 'upstream_reset' && responder === 'nobody') directory.markSuspect(peer);
    return NO_FAULT_OF_THE_PEER.has(code) ? 'refused' : 'failed';
  }

  /** The peer has told its time, and takes what is signed by that. */
  #isRefusedByClock(outcome: AttemptOutcome): boolean {
    if (outcome.kind !== 'failed' || outcome.code !== 'not_a_member') return false;
    return hasLearntClock(this.#clockMs, this.#options.auth.clockOffsetMs(this.peerKey));
  }

  /** In words; where it was given back at our own wish, that is no fault of the peer. */
  #endOf(outcome: AttemptOutcome): PeerAttemptEnd {
    const remaining = this.#remaining;
    const askedBackFor = this.#askedBackFor;
    if (outcome.kind === 'failed' && remaining === 'queue' && askedBackFor !== null) {
      const detail = `taken back from its queue: ${askedBackFor.record.worker_id} serves younger requests`;
      return { outcome: { ...outcome, detail }, remaining, askedBackFor };
    }
    const text = faultText(outcome);
    if (text !== null) this.peer.lastFault = { atMs: performance.now(), text };
    return { outcome, remaining, askedBackFor };
  }
}

/** Its end comes with its head, or right after: then the slot that it took is free. */
function isShort({ status, bodyBytes }: IncomingHead): boolean {
  return status !== 101 && bodyBytes !== null && bodyBytes <= SHORT_BYTES;
}
