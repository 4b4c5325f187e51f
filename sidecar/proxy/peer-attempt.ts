/**
 * An attempt on one route of one peer: proves who calls, checks who answers, and tells peer and route how it went.
 *
 * The health of the route and the health of the peer are told apart here: a connection that cannot be made is the
 * route's fault, an answer that breaks is the peer's, and a client that leaves is nobody's. It must not know which
 * attempt comes next.
 */
import { begin, type Outcome as EndpointOutcome, finish } from '../core/endpoint.ts';
import { CODES } from '../core/errors.ts';
import { isGrpc } from '../core/grpc.ts';
import { endToEndTrailers, first } from '../core/headers.ts';
import type { Route } from '../core/peer.ts';
import { ROUTE_FIELD } from '../core/sidecar-fields.ts';
import { runAttempt } from './attempt.ts';
import type { Judgement, Outcome } from './attempt-outcome.ts';
import { faultText, withSigns } from './attempt-trace.ts';
import type { IncomingHead, Origin, OutgoingHead } from './exchange.ts';
import {
  interimFields,
  outgoingBody,
  outgoingUpgrade,
  requestFields,
  responseFields,
  withoutEdgeFields,
} from './hop-fields.ts';
import type { OutboundOptions } from './outbound-options.ts';
import type { OutboundRequest } from './outbound-request.ts';
import type { Target } from './outbound-target.ts';
import { hasLearntClock } from './peer-auth.ts';
import { hostField } from './peer-client.ts';
import { EXPECTED_QUEUE_FIELD, parseRefusal, REFUSAL_FIELD } from './refusal.ts';
import { Unanswered } from './unanswered.ts';
import { judgeUnsigned } from './unsigned-answer.ts';

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
  const origin = originOf(route, request);
  const interimVersion = origin.scheme === 'h2c' ? '2.0' : '1.1';
  route.health.tried(nowMs);
  const clockMs = options.auth.clockOffsetMs(peer.key);
  const proved = head(request, target, options);
  const unanswered = new Unanswered(request, target, proved.nonce, options);
  let answerer: Answerer = 'nobody';
  let judged: EndpointOutcome = 'cancelled'; // of a fault in this program the peer knows nothing
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
          route.health.succeeded(performance.now());
          return judge(answer, request, target, options);
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
    const text = faultText(outcome);
    if (text !== null) peer.lastFault = { atMs: performance.now(), text };
    return outcome;
  } finally {
    if (endpoint !== undefined) finish(endpoint, judged, performance.now());
  }
}

/** The peer has told its time, and takes what is signed by that. */
function isRefusedByClock(outcome: Outcome, beforeMs: number | null, afterMs: number | null): boolean {
  return outcome.kind === 'failed' && outcome.code === 'not_a_member' && hasLearntClock(beforeMs, afterMs);
}

/**
 * An app that speaks HTTP/2 is carried in HTTP/2, so that gRPC stays what it is. Not `OPTIONS *`: between sidecars it
 * travels as an absolute form, which HTTP/2 has no place for.
 */
function originOf(route: Route, { downstream, target }: OutboundRequest): Origin {
  const isHttp2 = downstream.version === '2.0' && route.kind === 'vpn' && target !== '*';
  return isHttp2 ? { scheme: 'h2c', host: route.host, port: route.port } : route;
}

function head(
  request: OutboundRequest,
  { peer, route, expectedQueue }: PeerTarget,
  { auth, pseudonym, trustForwarded }: OutboundOptions,
): { readonly head: OutgoingHead; readonly nonce: string } {
  const { downstream, service } = request;
  const { version, remoteAddress: clientIp } = downstream;
  const facts = { version, clientIp, pseudonym, trusted: trustForwarded };
  const target = peerTarget(service, request.target, route.kind);
  const { method } = downstream.head;
  const { header, nonce } = auth.sign({ peerKey: peer.key, method, target, service, nowMs: Date.now() });
  const all = requestFields(downstream.head, facts);
  const fields = route.kind === 'tunnel' ? [...withoutEdgeFields(all), ROUTE_FIELD, 'tunnel'] : all;
  fields.push('sidecar-auth', header);
  if (expectedQueue !== null && !request.isPatient) fields.push(EXPECTED_QUEUE_FIELD, String(expectedQueue));
  return {
    nonce,
    head: {
      method,
      target: target.startsWith('/') ? `${route.basePath}${target}` : target,
      host: hostField(route),
      fields,
      body: outgoingBody(downstream.head),
      upgrade: outgoingUpgrade(downstream.head),
    },
  };
}

/**
 * The target as the peer sees it. `OPTIONS *` travels as the absolute form without a path, of which the last proxy
 * makes `*` again (RFC 9112 §3.2.4); a tunnel's edge takes no absolute form, so there it asks for the root.
 */
function peerTarget(service: string, target: string, kind: Route['kind']): string {
  if (target !== '*') return `/service/${service}${target}`;
  return kind === 'tunnel' ? `/service/${service}/` : `http://${service}.mesh`;
}

function judge(
  answer: IncomingHead,
  request: OutboundRequest,
  target: PeerTarget,
  { directory, pseudonym }: OutboundOptions,
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
      request.turnedAway(peer);
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
