/**
 * An attempt on one route of one peer: proves who calls, checks who answers, and tells peer and route how it went.
 *
 * The health of the route and the health of the peer are told apart here: a connection that cannot be made is the
 * route's fault, a response that breaks is the peer's, and a client that leaves is nobody's.
 */
import { CODES } from '../../core/errors.ts';
import { endToEndTrailers } from '../../core/forwarding/end-to-end.ts';
import { isGrpc } from '../../core/http/grpc.ts';
import { first } from '../../core/http/headers.ts';
import { begin, type EndpointOutcome, finish } from '../../core/peers/accounting.ts';
import { runAttempt } from '../../http/attempt.ts';
import type { AttemptOutcome, Judgement } from '../../http/attempt-outcome.ts';
import type { IncomingHead } from '../../http/exchange.ts';
import { interimHeaders, responseHeaders } from '../hop-headers.ts';
import { hasLearntClock } from '../peer/auth.ts';
import { parseRefusal, REFUSAL_HEADER } from '../peer/refusal.ts';
import { faultText, withSigns } from './attempt-trace.ts';
import { InFlight } from './in-flight.ts';
import type { OutboundOptions } from './options.ts';
import { peerOrigin, peerRequestHead } from './peer-request.ts';
import type { OutboundRequest } from './request.ts';
import type { Target } from './target.ts';
import { judgeUnsigned } from './unsigned-response.ts';

/** A response of so many bytes is on its way as a whole when its head comes. */
const SHORT_BYTES = 65_536;

type PeerTarget = Extract<Target, { kind: 'peer' }>;

/**
 * Whose response came: the one of the peer that was asked, proved by its signature; that of the tunnel's edge to what it
 * does not carry; another one; or none.
 */
type Responder = 'nobody' | 'peer' | 'edge' | 'stranger';

export async function attemptPeer(
  request: OutboundRequest,
  target: PeerTarget,
  options: OutboundOptions,
): Promise<AttemptOutcome> {
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
  const proved = peerRequestHead(request, target, options);
  const inFlight = new InFlight(request, target, proved.nonce, options);
  let responder: Responder = 'nobody';
  let isStream = false;
  let judged: EndpointOutcome = 'cancelled'; // of a fault in this program the peer knows nothing
  const answered = options.queueMigration?.sent(request, peer, route, proved.nonce);
  if (endpoint !== undefined) begin(endpoint, nowMs);
  try {
    let outcome = await runAttempt({
      downstream,
      relay,
      upstreams: options.upstreams,
      origin,
      head: proved.head,
      timeouts: route.kind === 'tunnel' ? policy.tunnel : policy.vpn,
      judge: (response) => {
        const header = first(response.fields, 'sidecar-auth');
        const { nonce } = proved;
        const proof = { peerKey: peer.key, nonce, status: response.status, nowMs: Date.now(), header };
        responder = options.auth.verifyResponse(proof) ? 'peer' : 'stranger';
        if (responder === 'peer') {
          answered?.();
          isStream = !isShort(response);
          route.health.succeeded(performance.now());
          return judge(response, isStream, request, target, options);
        }
        const { isEdge, judgement } = judgeUnsigned(response, route.kind);
        if (isEdge) responder = 'edge';
        return judgement;
      },
      informational: (fields) => interimHeaders(fields, interimVersion, options.pseudonym),
      trailers: endToEndTrailers,
      repeatStale: false,
      deadline: deadline?.passed ?? null,
      watch: inFlight.watch(),
    });
    if (responder === 'nobody') outcome = withSigns(await inFlight.settle(outcome), route, nowMs);
    if (isRefusedByClock(outcome, clockMs, options.auth.clockOffsetMs(peer.key))) {
      request.routesLeft = [route];
      judged = 'refused';
    } else judged = note(outcome, responder, request, target, options);
    if (isStream && outcome.kind === 'completed')
      void options.queueMigration?.streamEnded(peer, route, service);
    const text = faultText(outcome);
    if (text !== null && request.redispatch.reason === null)
      peer.lastFault = { atMs: performance.now(), text };
    return outcome;
  } finally {
    answered?.();
    if (endpoint !== undefined) finish(endpoint, judged, performance.now());
  }
}

/** The peer has told its time, and takes what is signed by that. */
function isRefusedByClock(outcome: AttemptOutcome, beforeMs: number | null, afterMs: number | null): boolean {
  return outcome.kind === 'failed' && outcome.code === 'not_a_member' && hasLearntClock(beforeMs, afterMs);
}

/** Its end comes with its head, or right after: then the slot that it took is free. */
function isShort({ status, bodyBytes }: IncomingHead): boolean {
  return status !== 101 && bodyBytes !== null && bodyBytes <= SHORT_BYTES;
}

function judge(
  response: IncomingHead,
  isStream: boolean,
  request: OutboundRequest,
  target: PeerTarget,
  { directory, queueMigration, pseudonym }: OutboundOptions,
): Judgement {
  const { peer } = target;
  const report = first(response.fields, 'endpoint-load-metrics');
  if (report !== undefined) directory.reported(peer, request.service, report);
  const refusal = parseRefusal(first(response.fields, REFUSAL_HEADER) ?? '');
  if (refusal !== null) {
    const { code, stage, detail } = refusal;
    const said = (detail === '' ? CODES[code].meaning : detail).replace(/\.$/, '');
    return { kind: 'refuse', code, stage, detail: `its sidecar says: ${said}` };
  }
  if (report !== undefined && response.status < 500)
    queueMigration?.onReport(peer, request.service, !isStream);
  return {
    kind: 'forward',
    fields: [
      ...responseHeaders(response.fields, response.version, pseudonym),
      ...request.responseHeaders(target),
    ],
  };
}

/**
 * Tells the route how it went; returns what the outcome says of the peer and its service. A peer that answers has
 * proved the route, whatever it says: a code like `connect_failed` is then about its worker, and another route leads
 * to the same peer.
 */
function note(
  outcome: AttemptOutcome,
  responder: Responder,
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
  if (responder === 'stranger' || (responder === 'nobody' && isUnconnected)) {
    route.health.failed(nowMs, outcome.detail);
    if (request.routesLeft.length > 0) return 'refused';
    if (!isUnconnected) return 'failed';
    // Of a peer that was not reached by its last route nothing is known; unless its host says that it is gone.
    directory.markSuspect(peer);
    return outcome.kind === 'failed' && outcome.isRefused === true ? 'failed' : 'refused';
  }
  if (responder === 'edge') return 'refused'; // about this one request
  if (responder === 'peer') {
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
      request.redispatch.rejectedByQueue(peer, request.triedPeers);
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
      if (responder === 'nobody') directory.markSuspect(peer);
      return 'failed';
    default:
      return 'failed';
  }
}
