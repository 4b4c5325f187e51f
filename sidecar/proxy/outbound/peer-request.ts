/**
 * A request as a peer gets it: over which protocol, with which target and fields, and the proof of who sends it.
 *
 * Apart from the attempt, which sends it and judges the response.
 */
import { ROUTE_HEADER } from '../../core/forwarding/sidecar-headers.ts';
import { hostHeader } from '../../core/http/base-url.ts';
import { FieldLines } from '../../core/http/http1-encode.ts';
import type { RequestHead } from '../../core/http/message.ts';
import type { Route } from '../../core/peers/route.ts';
import type { Origin, OutgoingHead } from '../../http/exchange.ts';
import {
  type HopFacts,
  outgoingBody,
  outgoingUpgrade,
  requestHeaders,
  withoutEdgeHeaders,
} from '../hop-headers.ts';
import type { PeerAuth } from '../peer/auth.ts';
import { EXPECTED_QUEUE_HEADER, MAX_UNDER_WAY_MS, UNDER_WAY_HEADER } from '../peer/refusal.ts';
import type { OutboundRequest } from './request.ts';
import type { PeerTarget } from './target.ts';

export interface PeerRequestOptions {
  readonly auth: PeerAuth;
  readonly pseudonym: string;
  readonly trustForwarded: boolean;
}

/**
 * An app that speaks HTTP/2 is carried in HTTP/2, so that gRPC stays what it is. Not `OPTIONS *`: between sidecars it
 * travels as an absolute form, which HTTP/2 has no place for.
 */
export function peerOrigin(route: Route, { downstream, target }: OutboundRequest): Origin {
  const isHttp2 = downstream.version === '2.0' && route.kind === 'vpn' && target !== '*';
  return isHttp2 ? { scheme: 'h2c', host: route.host, port: route.port } : route;
}

/** Signed; the nonce proves whose response comes, and names the request to the peer. */
export function peerRequestHead(
  request: OutboundRequest,
  { peer, route, expectedQueue }: PeerTarget,
  { auth, pseudonym, trustForwarded }: PeerRequestOptions,
): { readonly head: OutgoingHead; readonly nonce: string } {
  const { downstream, service } = request;
  const { version, remoteAddress: clientIp } = downstream;
  const sender = 'app' as const;
  const facts = { version, clientIp, pseudonym, trusted: trustForwarded, prefix: request.prefix, sender };
  const target = peerTarget(service, request.target, route.kind);
  const { method } = downstream.head;
  const { header, nonce } = auth.sign({ peerKey: peer.key, method, target, service, nowMs: Date.now() });
  const kept = keptFields(downstream.head, facts);
  const all = kept?.fields ?? requestHeaders(downstream.head, facts);
  const isTunnel = route.kind === 'tunnel';
  const fields = isTunnel ? [...withoutEdgeHeaders(all), ROUTE_HEADER, 'tunnel'] : [...all];
  fields.push('sidecar-auth', header);
  if (expectedQueue !== null) fields.push(EXPECTED_QUEUE_HEADER, String(expectedQueue));
  const underWayMs = Math.round(request.elapsedMs);
  if (underWayMs > 0) fields.push(UNDER_WAY_HEADER, String(Math.min(underWayMs, MAX_UNDER_WAY_MS)));
  return {
    nonce,
    head: {
      method,
      target: target.startsWith('/') ? `${route.basePath}${target}` : target,
      host: hostHeader(route),
      fields,
      ...(kept === null || isTunnel ? null : { first: kept }),
      body: outgoingBody(downstream.head),
      upgrade: outgoingUpgrade(downstream.head),
    },
  };
}

/** The fields for peers of requests that repeat theirs; all else that decides about them is the connection's. */
class PeerFields {
  readonly lines: FieldLines;
  readonly method: string;
  readonly prefix: string;

  constructor(lines: FieldLines, method: string, prefix: string) {
    this.lines = lines;
    this.method = method;
    this.prefix = prefix;
  }
}

/** null where the request does not repeat its fields. */
function keptFields(head: RequestHead, facts: HopFacts): FieldLines | null {
  const { method, repeated } = head;
  if (repeated === undefined) return null;
  const { made } = repeated;
  if (made instanceof PeerFields && made.method === method && made.prefix === facts.prefix) return made.lines;
  const lines = new FieldLines(requestHeaders(head, facts));
  repeated.made = new PeerFields(lines, method, facts.prefix);
  return lines;
}

/**
 * The target as the peer sees it. `OPTIONS *` travels as the absolute form without a path, of which the last proxy
 * makes `*` again (RFC 9112 §3.2.4); a tunnel's edge takes no absolute form, so there it asks for the root.
 */
function peerTarget(service: string, target: string, kind: Route['kind']): string {
  if (target !== '*') return `/service/${service}${target}`;
  return kind === 'tunnel' ? `/service/${service}/` : `http://${service}.mesh`;
}
