/**
 * The field lists of the three hops: app → peer, peer → worker, answer → whoever asked.
 *
 * One place, so that what is added, replaced or taken out can be read in a minute and compared with docs/http.md.
 */
import { acceptsTrailers, endToEnd } from '../core/forwarding/end-to-end.ts';
import { ForwardedChain, hostInForwarded } from '../core/forwarding/forwarded.ts';
import { countHop } from '../core/forwarding/max-forwards.ts';
import { namesUrls } from '../core/forwarding/mounted-fields.ts';
import { viaValue } from '../core/forwarding/via.ts';
import { first, isNamed, without } from '../core/http/headers.ts';
import { FieldLines } from '../core/http/http1-encode.ts';
import type { HttpVersion, RawFields, RequestHead } from '../core/http/message.ts';
import type { IncomingHead, OutgoingHead } from '../http/exchange.ts';

export interface HopFacts {
  /** In which the message came in. */
  readonly version: HttpVersion;
  readonly clientIp: string;
  /** This sidecar's name on this hop. */
  readonly pseudonym: string;
  /** Whether the sender's word about earlier hops is believed. */
  readonly trusted: boolean;
  /** What the app's sidecar took off the path; '' for nothing. */
  readonly prefix: string;
  /** An app, by the Host of this request; or its sidecar, which says in Forwarded by which Host it was called. */
  readonly sender: 'app' | 'sidecar';
}

/** Host that the app called, as it sent it; '' when it sent none. */
export function calledHost({ fields, host }: RequestHead, sender: HopFacts['sender']): string {
  return sender === 'app' ? host : hostInForwarded(first(fields, 'forwarded') ?? '');
}

/** Framing and routing fields: the transport writes them anew. */
function isRewritten(name: string): boolean {
  return isNamed(name, 'host') || isNamed(name, 'content-length');
}

/** Request fields for the next hop, whoever it is. */
export function requestHeaders(head: RequestHead, facts: HopFacts): RawFields {
  const { method, fields: received, host } = head;
  const { clientIp, pseudonym: by, prefix, sender, trusted } = facts;
  // A client of HTTP/1.0 does not wait for 100, whatever it says (RFC 9110 §10.1.1).
  const isOld = head.minor === 0;
  const chain = new ForwardedChain();
  const fields = endToEnd(
    received,
    (name, value) => isRewritten(name) || chain.take(name, value) || (isOld && isNamed(name, 'expect')),
  );
  countHop(method, fields);
  // A tunnel's edge takes no X-Forwarded-Host.
  const called = sender === 'sidecar' && !chain.hasHost ? calledHost(head, sender) || host : host;
  chain.pushTo(fields, { clientIp, proto: 'http', host, by, trusted, prefix, calledHost: called });
  fields.push('Via', viaValue(facts.version, by));
  if (acceptsTrailers(received)) fields.push('TE', 'trailers', 'Connection', 'TE');
  return fields;
}

/**
 * What Cloudflare's edge must not be sent: it answers 403 (error 1000) to a forged `CF-Connecting-IP` and to
 * more than one X-Forwarded-For. `Forwarded` still carries the chain and the host; the prefix is no affair of an edge.
 */
export function withoutEdgeHeaders(fields: RawFields): RawFields {
  return without(
    fields,
    (name) =>
      name.startsWith('cf-') ||
      (name.startsWith('x-forwarded-') && name !== 'x-forwarded-prefix') ||
      name === 'cdn-loop',
  );
}

/** The body as the next hop gets it: same length if it is known, chunked otherwise. */
export function outgoingBody(head: RequestHead): OutgoingHead['body'] {
  switch (head.framing.kind) {
    case 'length':
      return { kind: 'length', bytes: head.framing.bytes };
    case 'chunked':
      return { kind: 'chunked' };
    default:
      return { kind: 'none' };
  }
}

/**
 * The protocols to offer for a switch; null for none, as any server may ignore an Upgrade (RFC 9110 §7.8). Not with a
 * body, whose end and the switch could be taken for each other; not h2c, by which requests would pass unseen.
 */
export function outgoingUpgrade(head: RequestHead): string | null {
  const { upgrade, framing } = head;
  if (upgrade === null || framing.kind === 'chunked' || (framing.kind === 'length' && framing.bytes > 0)) {
    return null;
  }
  return /(?:^|,)[ \t]*h2c?(?:[ \t]*(?:,|\/)|[ \t]*$)/i.test(upgrade) ? null : upgrade;
}

/** Fields of a 1xx answer; a length has no place in one (RFC 9110 §8.6). */
export function interimHeaders(fields: RawFields, version: HttpVersion, pseudonym: string): RawFields {
  return responseHeaders(
    without(fields, (name) => name === 'content-length'),
    version,
    pseudonym,
  );
}

/** A response's own fields, ready for more to be added. */
export function responseHeaders(fields: RawFields, version: HttpVersion, pseudonym: string): RawFields {
  const kept = endToEnd(fields);
  kept.push('Via', viaValue(version, pseudonym));
  return kept;
}

/** What responses of one connection that repeat their head come to, on one listener. */
class ResponseFields {
  readonly lines: FieldLines;
  readonly pseudonym: string;

  constructor(lines: FieldLines, pseudonym: string) {
    this.lines = lines;
    this.pseudonym = pseudonym;
  }
}

/**
 * The fields of `responseHeaders` for a response that repeats the head of the one before; null where it does not, and
 * where it names URLs, which are mapped for each request.
 */
export function repeatedFields(response: IncomingHead, pseudonym: string): FieldLines | null {
  const { repeated, fields, version } = response;
  if (repeated === undefined || namesUrls(fields)) return null;
  const { made } = repeated;
  if (made instanceof ResponseFields && made.pseudonym === pseudonym) return made.lines;
  const lines = new FieldLines(responseHeaders(fields, version, pseudonym));
  repeated.made = new ResponseFields(lines, pseudonym);
  return lines;
}
