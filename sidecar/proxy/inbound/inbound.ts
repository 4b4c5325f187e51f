/**
 * Requests from peers (and, through the tunnel, from anywhere): who asks, what for, then the local worker.
 *
 * Reads top to bottom: classify → admit → attempt → answer. One hop only: nothing that comes in here is ever sent on to
 * another peer.
 */
import { BoundedCache } from '../../core/bounded-cache.ts';
import { CODES, type Code } from '../../core/errors.ts';
import { endToEndTrailers } from '../../core/forwarding/end-to-end.ts';
import { serviceAddress } from '../../core/forwarding/service-address.ts';
import {
  INTRODUCTION_HEADER,
  LOAD_HEADER,
  REVISION_HEADER,
  ROUTE_HEADER,
  SLOT_FREE,
  SLOT_HEADER,
} from '../../core/forwarding/sidecar-headers.ts';
import { viaContains } from '../../core/forwarding/via.ts';
import { type HostPort, parseHostPort } from '../../core/host-port.ts';
import { first } from '../../core/http/headers.ts';
import { http2Status } from '../../core/http/http2-head.ts';
import type { RawFields, RequestHead } from '../../core/http/message.ts';
import type { Stage } from '../../core/retry.ts';
import type { AttemptOutcome, HeldAnswer } from '../../http/attempt-outcome.ts';
import type { Downstream } from '../../http/exchange.ts';
import { RequestRelay } from '../../http/request-relay.ts';
import type { CoarseTimers } from '../../http/sockets/timers.ts';
import { finalRecipient } from '../final-recipient.ts';
import { interimHeaders, repeatedFields, responseHeaders } from '../hop-headers.ts';
import type { InboundObserver, RequestOutcome } from '../observers.ts';
import type { CallerVerdict, PeerAuth } from '../peer/auth.ts';
import { type CancelToken, parseCancelToken, RECALL_PATH } from '../peer/recall.ts';
import {
  EXPECTED_QUEUE_HEADER,
  encodeRefusal,
  parseCount,
  REFUSAL_HEADER,
  underWayMs,
} from '../peer/refusal.ts';
import { parseSessionPath, SESSION_PATH } from '../peer/session-proof.ts';
import { bytesReply, jsonReply, problemReply, sendHeld, sendReply } from '../problem.ts';
import type { LocalService } from '../worker/local-service.ts';
import { atWorker, refused } from '../worker/worker-fault.ts';
import { forApp, workerRequest } from '../worker/worker-hop.ts';
import { StreamHeartbeat } from './stream-heartbeat.ts';

type Member = Extract<CallerVerdict, { kind: 'member' }>;
type Proved = Pick<Member, 'key' | 'nonce' | 'ownKey'>;

export interface Introduction {
  readonly address: HostPort;
  /** How often its record has changed in this life; null = not told. */
  readonly revision: number | null;
}

/** What peers may learn of this sidecar. */
export interface InboundSelf {
  readonly workerId: string;
  health(): { readonly status: 'ok' | 'warming' | 'draining' };
  /** The sealed record, fresh. */
  record(): Buffer;
  /** Body of GET /state for this caller. */
  state(callerKey: string): unknown;
  /** Value of `sidecar-load` for a caller's response. */
  report(service: string, callerKey: string): string;
  /** Body of GET /life/…: proves which run of this sidecar it is. */
  life(callerKey: string, target: string): unknown;
  /** Body of GET /revoked/…: the list of revoked keys, where it is newer than the caller's. */
  revoked(callerKey: string, target: string): unknown;
  /** A request with these fields is of a session that the worker here has. */
  hasSession(service: string, fields: RawFields): boolean;
  /** That the worker here has the session which is asked for by this handle; null = it has not. */
  sessionProof(handle: string): string | null;
  /** Makes sure that this request of the caller is never delivered; false when it is too late for that. */
  cancelQueued(callerKey: string, token: CancelToken): boolean;
}

export interface InboundOptions {
  readonly pseudonym: string;
  readonly services: ReadonlyMap<string, LocalService>;
  readonly auth: PeerAuth;
  readonly self: InboundSelf;
  readonly observer: InboundObserver;
  /** Of a body so much is kept, to be sent to a worker of HTTP/2 again. */
  readonly replayBytes: number;
  /** True once no new request is taken. */
  isClosed(): boolean;
  /** For event streams that leave by a tunnel; null: they stay as silent as the worker. */
  readonly heartbeat: { readonly intervalMs: number; readonly timers: CoarseTimers } | null;
  /** A member asked for our record, and says where it has its own. */
  onIntroduction(callerKey: string, introduction: Introduction): void;
}

/** Answered by discovery, which tells two lives of one key apart. */
const LIFE_PATH = '/life/';

/** Answered by discovery, which spreads the list. */
const REVOKED_PATH = '/revoked/';

/** Whose first request is remembered; who is forgotten is new again. */
const MAX_CALLERS = 16_384;

const NO_FIELDS: RawFields = [];
const NO_ALIASES: ReadonlyMap<string, string> = new Map();

const FAULT: AttemptOutcome = {
  kind: 'failed',
  code: 'internal',
  stage: 'sent',
  detail: 'a fault in this sidecar',
};

/** Retries are the caller's affair; only what a worker says it has not looked at (HTTP/2) is sent there again. */
const NO_REPLAY = 0;

export function createInbound(options: InboundOptions): (downstream: Downstream) => void {
  const { auth, self, services, pseudonym, observer } = options;

  /** Monotonic ms of the first request of each caller. */
  const metAtMs = new BoundedCache<string, number>(MAX_CALLERS, () => {});

  function meet({ key }: Proved): void {
    if (metAtMs.get(key) === undefined) metAtMs.set(key, performance.now());
  }

  /** Since when a request is under way: its caller's word, as far back as that caller is known here. */
  function sinceMs({ key }: Proved, fields: RawFields): number {
    const nowMs = performance.now();
    return Math.max(nowMs - underWayMs(fields), metAtMs.get(key) ?? nowMs);
  }

  function handle(downstream: Downstream): void {
    const { head } = downstream;
    if (head.target === '/health') {
      const health = { ...self.health(), worker_id: self.workerId };
      sendReply(downstream, jsonReply(200, health), []);
      return;
    }
    const isOwn =
      head.target === '/record' ||
      head.target === '/state' ||
      head.target.startsWith(RECALL_PATH) ||
      head.target.startsWith(LIFE_PATH) ||
      head.target.startsWith(REVOKED_PATH) ||
      head.target.startsWith(SESSION_PATH);
    const { method, target: asked } = head;
    const addressed = isOwn
      ? null
      : serviceAddress({ method, target: asked, host: '', fields: NO_FIELDS }, NO_ALIASES);
    if (addressed !== null && 'error' in addressed) {
      refuse(downstream, null, addressed.error, 'not_sent', addressed.detail, null);
      return;
    }
    const service = addressed?.service ?? '';
    const caller = auth.verify({
      header: first(head.fields, 'sidecar-auth'),
      method: head.method,
      target: head.target,
      service,
      nowMs: Date.now(),
    });
    if (caller.kind === 'member') downstream.proved(caller.validUntilMs, caller.key);
    else if (caller.caller !== null) downstream.proved(Number.POSITIVE_INFINITY, caller.caller.key);
    if (caller.kind === 'refused') {
      observer.inputRefused('auth', caller.code);
      refuse(downstream, caller.caller, caller.code, 'not_sent', caller.detail, service);
      return;
    }
    meet(caller);
    if (addressed === null) replyToPeer(downstream, caller);
    else serve(downstream, caller, service, addressed.target);
  }

  function replyToPeer(downstream: Downstream, caller: Member): void {
    const { target } = downstream.head;
    if (target === '/record') introduce(downstream.head.fields, caller);
    const reply = target === '/record' ? bytesReply(self.record()) : jsonReply(200, ownReply(target, caller));
    sendReply(downstream, reply, signature(caller, 200));
  }

  function ownReply(target: string, caller: Member): unknown {
    if (target === '/state') return self.state(caller.key);
    if (target.startsWith(LIFE_PATH)) return self.life(caller.key, target);
    if (target.startsWith(REVOKED_PATH)) return self.revoked(caller.key, target);
    const session = parseSessionPath(target);
    if (session !== null)
      return { proof: caller.mayCall(session.service) ? self.sessionProof(session.handle) : null };
    const token = parseCancelToken(target);
    return { recalled: token !== null && self.cancelQueued(caller.key, token) };
  }

  function introduce(fields: RawFields, caller: Member): void {
    const address = parseHostPort(first(fields, INTRODUCTION_HEADER) ?? '');
    const revision = parseCount(first(fields, REVISION_HEADER));
    if (address !== null) options.onIntroduction(caller.key, { address, revision });
  }

  function serve(downstream: Downstream, caller: Member, service: string, target: string): void {
    const startedMs = performance.now();
    observer.inboundStarted();
    const ended = (outcome: AttemptOutcome): void => {
      try {
        finish(downstream, caller, service, outcome, startedMs);
      } catch (error) {
        observer.internalError(error);
        downstream.destroy(); // nobody else would end it
      }
    };
    const faulted = (error: unknown): void => {
      observer.internalError(error);
      ended(FAULT);
    };
    try {
      attempt(downstream, caller, service, target, ended, faulted);
    } catch (error) {
      faulted(error);
    }
  }

  function finish(
    downstream: Downstream,
    caller: Member,
    service: string,
    ended: AttemptOutcome,
    startedMs: number,
  ): void {
    const held = ended.kind === 'failed' ? ended.held : undefined;
    const outcome = held === undefined ? ended : giveHeld(downstream, held);
    if (outcome.kind === 'failed')
      refuse(downstream, caller, outcome.code, outcome.stage, outcome.detail, service);
    observer.inboundFinished({
      service,
      outcome: inboundOutcome(outcome),
      code: outcome.kind === 'failed' || outcome.kind === 'broken' ? outcome.code : null,
      detail: outcome.kind === 'failed' || outcome.kind === 'broken' ? outcome.detail : null,
      durationMs: performance.now() - startedMs,
    });
  }

  /** Calls back once, with how it ended or with a fault of this program; or throws one before that. */
  function attempt(
    downstream: Downstream,
    caller: Member,
    service: string,
    target: string,
    ended: (outcome: AttemptOutcome) => void,
    faulted: (error: unknown) => void,
  ): void {
    const { head } = downstream;
    const local = services.get(service);
    if (local === undefined) {
      ended(refused('not_offered_here', `${self.workerId} does not offer ${service}`));
      return;
    }
    const fault = faultOf(head, caller, service);
    if (fault !== null) {
      ended(fault);
      return;
    }
    const last = finalRecipient(head);
    if (last.kind === 'refuse') {
      ended(refused(last.code, last.detail));
      return;
    }
    if (last.kind === 'reply') {
      sendReply(downstream, last.reply, signature(caller, last.reply.status));
      ended({ kind: 'completed', status: last.reply.status, firstByteMs: 0, answer: 'served' });
      return;
    }
    const { instances } = local;
    let asked = instances.first;
    const facts = {
      version: downstream.version,
      clientIp: downstream.remoteAddress,
      pseudonym,
      trusted: true,
      prefix: '',
      sender: 'sidecar',
    } as const;
    let sent = workerRequest(asked, target, head, facts);
    const { heartbeat } = options;
    const client =
      heartbeat !== null && first(head.fields, ROUTE_HEADER) === 'tunnel'
        ? new StreamHeartbeat(downstream, heartbeat.intervalMs, heartbeat.timers)
        : downstream;
    local.attempt({
      downstream: client,
      relay: new RequestRelay(client, local.mayRepeat ? options.replayBytes : NO_REPLAY),
      head: sent,
      headFor: !instances.hasSeveral
        ? null
        : (instance) => {
            asked = instance;
            sent = workerRequest(asked, target, head, facts);
            return sent;
          },
      callerKey: caller.key,
      expectedQueue: parseCount(first(head.fields, EXPECTED_QUEUE_HEADER)),
      sinceMs: sinceMs(caller, head.fields),
      nonce: caller.nonce,
      judge: (response, _answer, holdsSlot, mayGoOn) => {
        const first = repeatedFields(response, pseudonym);
        const fields =
          first === null
            ? forApp(asked, sent, responseHeaders(response.fields, response.version, pseudonym))
            : [...first.fields];
        const status = downstream.version === '2.0' ? http2Status(response.status) : response.status;
        fields.push(LOAD_HEADER, self.report(service, caller.key), ...signature(caller, status));
        if (!holdsSlot) fields.push(SLOT_HEADER, SLOT_FREE);
        if (mayGoOn) return { kind: 'hold', fields, detail: 'refused', passedOn: () => {} };
        return { kind: 'forward', fields, first };
      },
      informational: (fields) => forApp(asked, sent, interimHeaders(fields, '1.1', pseudonym)),
      trailers: endToEndTrailers,
      deadline: null,
      ended: (outcome) => ended(atWorker(local, outcome)),
      faulted,
    });
  }

  /** Why it is not carried; null = nothing is against it. */
  function faultOf(head: RequestHead, caller: Member, service: string): AttemptOutcome | null {
    if (!caller.mayCall(service)) return refused('not_allowed', `${caller.workerId} may not call ${service}`);
    if (viaContains(head.fields, pseudonym))
      return refused('loop_detected', 'Via names this sidecar already');
    // A session is here and nowhere else: its requests are taken for as long as running ones are waited for.
    if (options.isClosed() && !self.hasSession(service, head.fields))
      return refused('draining', `${self.workerId} is shutting down`);
    return head.method === 'CONNECT' ? refused('not_supported', 'CONNECT is not carried') : null;
  }

  function signature({ key: peerKey, nonce, ownKey }: Proved, status: number): RawFields {
    return ['sidecar-auth', auth.signResponse({ peerKey, nonce, ownKey, status, nowMs: Date.now() })];
  }

  function refuse(
    downstream: Downstream,
    caller: Proved | null,
    code: Code,
    stage: Stage,
    detail: string,
    service: string | null,
  ): void {
    const problem = {
      code,
      detail,
      service,
      requestId: null,
      attempts: [],
      isRepeatable: stage === 'not_sent',
      proxyName: pseudonym,
    };
    const fields: RawFields = [REFUSAL_HEADER, encodeRefusal({ code, stage, detail })];
    if (caller !== null) {
      fields.push(...signature(caller, CODES[code].status));
      if (service !== null && services.has(service)) {
        fields.push(LOAD_HEADER, self.report(service, caller.key));
      }
    }
    sendReply(downstream, problemReply(problem), fields);
  }

  return handle;
}

/** One of several instances refused it, and the next could not be asked. */
function giveHeld(downstream: Downstream, held: HeldAnswer): AttemptOutcome {
  const { status, fields, firstByteMs } = held;
  sendHeld(downstream, held, fields);
  return { kind: 'completed', status, firstByteMs, answer: 'refused' };
}

function inboundOutcome(outcome: AttemptOutcome): RequestOutcome {
  switch (outcome.kind) {
    case 'completed':
      return outcome.status >= 500 ? 'worker_error' : 'ok';
    case 'failed':
      return CODES[outcome.code].status < 500 ? 'rejected' : 'failed';
    default:
      return outcome.kind;
  }
}
