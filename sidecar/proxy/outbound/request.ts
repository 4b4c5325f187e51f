/**
 * One request of an app while it is under way: what it addressed, what was tried, how it ended.
 *
 * The state that the steps of outbound share, in one object instead of a dozen parameters; its end is told to the
 * observer exactly once.
 */

import { randomBytes } from 'node:crypto';
import type { Choice } from '../../core/balancing/choice.ts';
import type { Explanation } from '../../core/balancing/explain.ts';
import { CODES, type Code } from '../../core/errors.ts';
import type { Addressed } from '../../core/forwarding/service-address.ts';
import { isGrpc } from '../../core/http/grpc.ts';
import { first } from '../../core/http/headers.ts';
import type { RawFields } from '../../core/http/message.ts';
import type { SkippedPeer } from '../../core/peers/exclusion-reason.ts';
import type { Peer } from '../../core/peers/peer.ts';
import type { Route } from '../../core/peers/route.ts';
import { type TunnelUnfit, tunnelUnfit } from '../../core/peers/tunnel-limits.ts';
import type { AttemptOutcome } from '../../http/attempt-outcome.ts';
import type { Downstream } from '../../http/exchange.ts';
import type { LocalReply } from '../../http/local-reply.ts';
import { RequestRelay, willKeep } from '../../http/request-relay.ts';
import { RequestDeadline } from '../../http/sockets/timers.ts';
import type { RequestOutcome } from '../observers.ts';
import { parseCount } from '../peer/refusal.ts';
import { type AttemptTrace, inFormOf, problemReply, sendReply } from '../problem.ts';
import type { LocalService } from '../worker/local-service.ts';
import { kindOf, type Tried, traceOf, workerOf } from './attempt-trace.ts';
import type { CallPolicy, OutboundOptions } from './options.ts';
import { Redispatch } from './redispatch.ts';
import type { Target } from './target.ts';

type RealTarget = Exclude<Target, { kind: 'nobody' }>;
type Responded = Extract<AttemptOutcome, { kind: 'completed' | 'broken' }>;

/** As logs of proxies have it; nobody is there to be told. */
const CLIENT_GONE_STATUS = 499;

export class OutboundRequest {
  readonly downstream: Downstream;
  readonly id: string;
  readonly relay: RequestRelay;
  readonly attempts: AttemptTrace[] = [];
  readonly triedPeers = new Set<string>();
  readonly affinityKey: string | null;
  readonly wantsDecision: boolean;
  readonly deadline: RequestDeadline | null;
  service = '';
  target = '/';
  chosen: Extract<Choice, { kind: 'chosen' }> | null = null;
  routesLeft: Route[] = [];
  /** Why it should not go by a tunnel. */
  tunnelUnfit: TunnelUnfit | null = null;
  /** Ways that were passed over for that, for when nobody else is left. */
  readonly spare: { readonly peer: Peer; readonly route: Route }[] = [];
  decision: Explanation | null = null;
  /** Workers that could not be asked, once nobody else can. */
  skipped: readonly SkippedPeer[] = [];
  view: 'hit' | 'wait' | 'local' | 'none' = 'none';
  viewAgeMs: number | null = null;
  /** Those that were warming have been asked for it how they are. */
  hasCheckedWarming = false;
  policy: CallPolicy;
  /** Monotonic ms at which the present attempt began. */
  attemptStartedMs = 0;
  readonly #options: OutboundOptions;
  /** Monotonic ms. */
  readonly sinceMs = performance.now();
  readonly #arrivedAtMs = Date.now();
  readonly redispatch: Redispatch;
  #isRouted = false;
  #isOver = false;
  #detail: string | null = null;

  constructor(downstream: Downstream, options: OutboundOptions) {
    const { fields } = downstream.head;
    this.downstream = downstream;
    this.#options = options;
    this.id = nextRequestId();
    this.affinityKey = first(fields, 'sidecar-affinity') ?? null;
    this.wantsDecision = first(fields, 'sidecar-explain') === '1';
    const deadlineMs = parseCount(first(fields, 'sidecar-deadline-ms'));
    this.deadline = deadlineMs === null ? null : new RequestDeadline(deadlineMs);
    this.policy = options.callPolicy('');
    this.relay = new RequestRelay(downstream, options.replayBytes);
    this.redispatch = new Redispatch(!willKeep(downstream.head.framing, options.replayBytes));
  }

  get elapsedMs(): number {
    return performance.now() - this.sinceMs;
  }

  address(addressed: Addressed): void {
    this.service = addressed.service;
    this.target = addressed.target;
    this.policy = this.#options.callPolicy(addressed.service);
    const { head } = this.downstream;
    const { ttfb, tunnelLimits } = this.#options;
    const carried = {
      isGrpc: isGrpc(head.fields),
      bodyBytes: head.framing.kind === 'length' ? head.framing.bytes : null,
      firstByteMs: ttfb.expectedMs(addressed.service, performance.now()),
    };
    this.tunnelUnfit = tunnelUnfit(carried, tunnelLimits);
  }

  /** Counts where the request goes first; once. */
  routed(to: 'local' | 'forwarded'): void {
    if (this.#isRouted) return;
    this.#isRouted = true;
    this.#options.observer.requestRouted(to);
  }

  /** The worker beside us offers the service and cannot take it now. */
  noteLocal(local: LocalService): void {
    if (local.state === 'ready') return;
    const detail = `the worker is not ready: ${local.healthReason}`;
    this.attemptStartedMs = performance.now();
    this.#trace({ kind: 'local', service: local }, { code: local.state, stage: 'not_sent', detail });
  }

  failedAttempt(target: RealTarget, outcome: Extract<AttemptOutcome, { kind: 'failed' }>): void {
    if (outcome.code === 'response_timeout' && kindOf(target) === 'tunnel') {
      const { ttfb, tunnelLimits } = this.#options;
      ttfb.cutAt(this.service, tunnelLimits.firstByteMs, performance.now());
    }
    this.#trace(target, { ...outcome, detail: this.redispatch.reason ?? outcome.detail });
  }

  #trace(tried: Tried, failure: Parameters<typeof traceOf>[2]): void {
    const { workerId } = this.#options;
    const startedMs = this.attemptStartedMs - this.sinceMs;
    const times = { arrivedAtMs: this.#arrivedAtMs, startedMs, tookMs: this.elapsedMs - startedMs };
    this.attempts.push(traceOf(tried, workerId, failure, times));
  }

  /** Fields that tell the app who answered; the decision too, if it asked. */
  responseHeaders(target: RealTarget): RawFields {
    const { workerId } = this.#options;
    const fields = ['sidecar-worker', workerOf(target, workerId), 'sidecar-route', kindOf(target)];
    fields.push('sidecar-attempts', String(this.attempts.length + 1), ...this.#idHeaders());
    return fields;
  }

  responded(target: RealTarget, outcome: Responded): void {
    const result = outcome.kind === 'broken' ? 'broken' : outcome.status >= 500 ? 'worker_error' : 'ok';
    const code = outcome.kind === 'broken' ? outcome.code : null;
    this.#options.ttfb.took(this.service, outcome.firstByteMs, performance.now());
    if (outcome.kind === 'broken') this.#detail = `the response broke off: ${outcome.detail}`;
    this.#finish(result, code, outcome.status, outcome.firstByteMs, target);
  }

  /** For a request that goes no further than here. */
  replyLocally(reply: LocalReply): void {
    sendReply(this.downstream, reply, ['sidecar-attempts', '0', ...this.#idHeaders()]);
    this.#finish('ok', null, reply.status, null, null);
  }

  /** `target`: where the request was then; null = nowhere yet. */
  clientGone(target: RealTarget | null, firstByteMs: number | null = null): void {
    this.#finish('client_gone', null, CLIENT_GONE_STATUS, firstByteMs, target);
  }

  /** Answers in place of a worker. */
  refuse(code: Code, detail: string): void {
    if (this.relay.isGone) {
      this.clientGone(null);
      return;
    }
    const reply = problemReply({
      code,
      detail,
      service: this.service === '' ? null : this.service,
      requestId: this.id,
      attempts: this.attempts,
      skipped: this.skipped,
      proxyName: this.#options.pseudonym,
    });
    sendReply(this.downstream, inFormOf(this.downstream, reply, code, detail), [
      'sidecar-attempts',
      String(this.attempts.length),
      ...this.#idHeaders(),
    ]);
    this.#detail = detail;
    const { status } = CODES[code];
    this.#finish(status < 500 || code === 'loop_detected' ? 'rejected' : 'failed', code, status, null, null);
  }

  #idHeaders(): RawFields {
    const fields = ['sidecar-request-id', this.id];
    if (this.decision !== null) fields.push('sidecar-decision', JSON.stringify(this.decision));
    return fields;
  }

  #finish(
    outcome: RequestOutcome,
    code: Code | null,
    status: number | null,
    firstByteMs: number | null,
    target: RealTarget | null,
  ): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.deadline?.cancel();
    this.#options.observer.requestFinished({
      id: this.id,
      atMs: this.#arrivedAtMs,
      method: this.downstream.head.method,
      service: this.service,
      route: target === null ? 'none' : kindOf(target),
      peer: target === null ? null : workerOf(target, this.#options.workerId),
      status,
      outcome,
      code,
      firstByteMs,
      durationMs: this.elapsedMs,
      detail: this.#detail,
      attempts: this.attempts,
      skipped: this.skipped,
      view: this.view,
      viewAgeMs: this.viewAgeMs,
      decision: this.decision,
    });
  }
}

export function startRequest(downstream: Downstream, options: OutboundOptions): OutboundRequest {
  return new OutboundRequest(downstream, options);
}

const idPrefix = randomBytes(6).toString('hex');

let idCount = 0;

/**
 * Unique in the fleet by a random prefix per process and a counter: randomUUID costs 5 µs, as much as the rest of the
 * bookkeeping.
 */
function nextRequestId(): string {
  idCount++;
  return `${idPrefix}-${idCount.toString(36)}`;
}
