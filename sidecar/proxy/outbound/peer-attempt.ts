/**
 * An attempt on one route of one peer: proves who calls, checks who answers, and tells peer and route how it went.
 *
 * The health of the route and the health of the peer are told apart here: a connection that cannot be made is the
 * route's fault, an answer that breaks is the peer's, and a client that leaves is nobody's. It must not know which
 * attempt comes next.
 */
import { CODES } from '../../core/errors.ts';
import { endToEndTrailers } from '../../core/forwarding/end-to-end.ts';
import { isGrpc } from '../../core/http/grpc.ts';
import { first } from '../../core/http/headers.ts';
import { begin, type Outcome as EndpointOutcome, finish } from '../../core/peers/accounting.ts';
import { runAttempt } from '../../http/attempt.ts';
import type { Judgement, Outcome } from '../../http/attempt-outcome.ts';
import type { IncomingHead } from '../../http/exchange.ts';
import { interimFields, responseFields } from '../hop-headers.ts';
import { hasLearntClock } from '../peer/auth.ts';
import { parseRefusal, REFUSAL_FIELD } from '../peer/refusal.ts';
import { faultText, withSigns } from './attempt-trace.ts';
import { Unanswered } from './in-flight.ts';
import type { OutboundOptions } from './options.ts';
import { peerHead, peerOrigin } from './peer-request.ts';
import type { OutboundRequest } from './request.ts';
import type { Target } from './target.ts';
import { judgeUnsigned } from './unsigned-response.ts';

/** An answer of so many bytes is on its way as a whole when its head comes. */
const SHORT_BYTES = 65_536;

type PeerTarget = Extract<Target, { kind: 'peer' }>;

/**
 * Whose answer came: the one of the peer that was asked, proved by its signature; that of the tunnel's edge to what it
 * does not carry; another one; or none.
 */
type Answerer = 'nobody' | 'peer' | 'edge' | 'stranger';

export async function attemptPeer(
  request: OutboundRequest,
  target: PeerTarget,
  options: OutboundOptions,
): Promise<Outcome> {
  const { peer, route } = target;
  const { service, downstream, relay, deadline, policy } = request;
  const endpoint = peer.endpoint(service);
  const nowMs = performance.now();
  request.attemptStartedMs = nowMs;
  options.observer.attempted(route.kind);
  if (route.kind === 'tunnel' && isGrpc(downstream.head.fields)) {
    const detail = 'a tunnel does not carry HTTP/2 to the worker';
    return { kind: 'failed', code: 'grpc_not_carried', stage: 'not_sent', detail };
  }
  const origin = peerOrigin(route, request);
  const interimVersion = origin.scheme === 'h2c' ? '2.0' : '1.1';
  route.health.tried(nowMs);
  const clockMs = options.auth.clockOffsetMs(peer.key);
  const proved = peerHead(request, target, options);
  const unanswered = new Unanswered(request, target, proved.nonce, options);
  let answerer: Answerer = 'nobody';
  let isStream = false;
  let judged: EndpointOutcome = 'cancelled'; // of a fault in this program the peer knows nothing
  const answered = options.moves?.sent(request, peer, route, proved.nonce);
  if (endpoint !== undefined) begin(endpoint, nowMs);
  try {
    let outcome = await runAttempt({
      downstream,
      relay,
      upstreams: options.upstreams,
      origin,
      head: proved.head,
      timeouts: route.kind === 'tunnel' ? policy.tunnel : policy.vpn,
      judge: (answer) => {
        const header = first(answer.fields, 'sidecar-auth');
        const { nonce } = proved;
        const proof = { peerKey: peer.key, nonce, status: answer.status, nowMs: Date.now(), header };
        answerer = options.auth.verifyResponse(proof) ? 'peer' : 'stranger';
        if (answerer === 'peer') {
          answered?.();
          isStream = !isShort(answer);
          route.health.succeeded(performance.now());
          return judge(answer, isStream, request, target, options);
        }
        const { isEdge, judgement } = judgeUnsigned(answer, route.kind);
        if (isEdge) answerer = 'edge';
        return judgement;
      },
      informational: (fields) => interimFields(fields, interimVersion, options.pseudonym),
      trailers: endToEndTrailers,
      repeatStale: false,
      deadline: deadline?.passed ?? null,
      watch: unanswered.watch(),
    });
    if (answerer === 'nobody') outcome = withSigns(await unanswered.settle(outcome), route, nowMs);
    if (isRefusedByClock(outcome, clockMs, options.auth.clockOffsetMs(peer.key))) {
      request.routesLeft = [route];
      judged = 'refused';
    } else judged = note(outcome, answerer, request, target, options);
    if (isStream && outcome.kind === 'completed') void options.moves?.streamEnded(peer, route, service);
    const text = faultText(outcome);
    if (text !== null && request.reroutes.reason === null) peer.lastFault = { atMs: performance.now(), text };
    return outcome;
  } finally {
    answered?.();
    if (endpoint !== undefined) finish(endpoint, judged, performance.now());
  }
}

/** The peer has told its time, and takes what is signed by that. */
function isRefusedByClock(outcome: Outcome, beforeMs: number | null, afterMs: number | null): boolean {
  return outcome.kind === 'failed' && outcome.code === 'not_a_member' && hasLearntClock(beforeMs, afterMs);
}

/** Its end comes with its head, or right after: then the slot that it took is free. */
function isShort({ status, bodyBytes }: IncomingHead): boolean {
  return status !== 101 && bodyBytes !== null && bodyBytes <= SHORT_BYTES;
}

function judge(
  answer: IncomingHead,
  isStream: boolean,
  request: OutboundRequest,
  target: PeerTarget,
  { directory, moves, pseudonym }: OutboundOptions,
): Judgement {
  const { peer } = target;
  const report = first(answer.fields, 'endpoint-load-metrics');
  if (report !== undefined) directory.reported(peer, request.service, report);
  const refusal = parseRefusal(first(answer.fields, REFUSAL_FIELD) ?? '');
  if (refusal !== null) {
    const { code, stage, detail } = refusal;
    const said = (detail === '' ? CODES[code].meaning : detail).replace(/\.$/, '');
    return { kind: 'refuse', code, stage, detail: `its sidecar says: ${said}` };
  }
  if (report !== undefined && answer.status < 500) moves?.heard(peer, request.service, !isStream);
  return {
    kind: 'forward',
    fields: [...responseFields(answer.fields, answer.version, pseudonym), ...request.answerFields(target)],
  };
}

/**
 * Tells the route how it went; returns what the outcome says of the peer and its service. A peer that answers has
 * proved the route, whatever it says: a code like `connect_failed` is then about its worker, and another route leads
 * to the same peer.
 */
function note(
  outcome: Outcome,
  answerer: Answerer,
  request: OutboundRequest,
  { peer, route }: PeerTarget,
  { directory }: OutboundOptions,
): EndpointOutcome {
  const nowMs = performance.now();
  if (outcome.kind === 'client_gone') return 'cancelled';
  if (outcome.kind === 'completed') {
    route.health.succeeded(nowMs);
    return outcome.status >= 500 ? 'failed' : 'served';
  }
  const { code } = outcome;
  const isLost = outcome.kind === 'failed' && outcome.isPathLost === true;
  const isUnconnected = code === 'connect_failed' || code === 'connect_timeout' || isLost;
  if (code === 'connect_timeout') directory.silent?.(route);
  if (answerer === 'stranger' || (answerer === 'nobody' && isUnconnected)) {
    route.health.failed(nowMs, outcome.detail);
    if (request.routesLeft.length > 0) return 'refused';
    if (!isUnconnected) return 'failed';
    // Of a peer that was not reached by its last route nothing is known; unless its host says that it is gone.
    directory.doubted(peer);
    return outcome.kind === 'failed' && outcome.isRefused === true ? 'failed' : 'refused';
  }
  if (answerer === 'edge') return 'refused'; // about this one request
  if (answerer === 'peer') {
    route.health.succeeded(nowMs);
    request.routesLeft = [];
  }
  switch (code) {
    case 'loop_detected':
    case 'request_timeout':
      return 'refused'; // the app's own doing
    case 'grpc_not_carried':
      return 'refused';
    case 'not_offered_here':
      directory.notOffered(peer, request.service);
      return 'refused';
    case 'saturated':
      request.reroutes.sentAway(peer, request.triedPeers);
      return 'refused';
    case 'connect_failed':
    case 'connect_timeout':
      // Its sidecar lives, and withdraws the worker that is gone.
      return 'refused';
    case 'draining':
    case 'warming':
    case 'deadline':
      return 'refused';
    case 'upstream_reset':
      if (answerer === 'nobody') directory.doubted(peer);
      return 'failed';
    default:
      return 'failed';
  }
}
