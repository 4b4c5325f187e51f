/**
 * Who asked, told to the worker: Forwarded (RFC 7239) and the X-Forwarded-* fields that most software still reads.
 *
 * Both are written, always from the same facts, because software that believes one and ignores the other must not be
 * led astray by a forged one. Who is trusted is the caller's decision; it must not know sockets.
 */
import { isToken } from '../http/http1-syntax.ts';
import type { RawFields } from '../http/message.ts';

export interface ForwardedFacts {
  readonly fields: RawFields;
  /** Address of the connection's other end; '' when it has none. */
  readonly clientIp: string;
  readonly proto: 'http' | 'https';
  /** Effective host of the request; '' for none. */
  readonly host: string;
  /** Name of this hop, as an obfuscated identifier (RFC 7239 §6.3). */
  readonly by: string;
  /** Whether the sender's own word about earlier hops is believed. */
  readonly trusted: boolean;
}

interface Earlier {
  forwarded: string;
  chain: string;
  proto: string;
  host: string;
}

/**
 * Returns ALL fields, a new list: those given without Forwarded, X-Forwarded-For, -Proto and -Host, then the new
 * ones at the end. Trusted: Forwarded and X-Forwarded-For grow by this hop, -Proto and -Host stay as the first hop
 * said. Not trusted: all four say what this hop knows, and nothing else.
 */
export function forwardedHeaders(o: ForwardedFacts): RawFields {
  const earlier: Earlier = { forwarded: '', chain: '', proto: '', host: '' };
  const result: RawFields = [];
  for (let i = 0; i < o.fields.length; i += 2) {
    const name = o.fields[i]!;
    const value = o.fields[i + 1]!;
    if (!take(earlier, name, value)) result.push(name, value);
  }
  const clientIp = plainIp(o.clientIp);
  const element = forwardedElement(clientIp, o);
  const isTrusted = o.trusted;
  const chainLink = clientIp === '' ? 'unknown' : clientIp;
  const proto = isTrusted && earlier.proto !== '' ? earlier.proto : o.proto;
  const host = isTrusted && earlier.host !== '' ? earlier.host : o.host;
  result.push(
    'Forwarded',
    isTrusted && earlier.forwarded !== '' ? `${earlier.forwarded}, ${element}` : element,
    'X-Forwarded-For',
    isTrusted && earlier.chain !== '' ? `${earlier.chain}, ${chainLink}` : chainLink,
    'X-Forwarded-Proto',
    proto,
  );
  if (host !== '') result.push('X-Forwarded-Host', host);
  return result;
}

/** Notes what an earlier hop said; false for any other field. The lengths keep the usual field out at once. */
function take(earlier: Earlier, name: string, value: string): boolean {
  const length = name.length;
  if (length !== 9 && (length < 15 || length > 17)) return false;
  switch (name.toLowerCase()) {
    case 'forwarded':
      earlier.forwarded = join(earlier.forwarded, value);
      return true;
    case 'x-forwarded-for':
      earlier.chain = join(earlier.chain, value);
      return true;
    case 'x-forwarded-proto':
      if (earlier.proto === '') earlier.proto = value;
      return true;
    case 'x-forwarded-host':
      if (earlier.host === '') earlier.host = value;
      return true;
    default:
      return false;
  }
}

function join(before: string, value: string): string {
  if (before === '') return value;
  return value === '' ? before : `${before}, ${value}`;
}

/** Without an IPv6 zone, which means nothing elsewhere, and without the IPv4-in-IPv6 prefix of a dual-stack socket. */
function plainIp(ip: string): string {
  const bare = ip.startsWith('::ffff:') && ip.includes('.') ? ip.slice(7) : ip;
  const zone = bare.indexOf('%');
  return zone === -1 ? bare : bare.slice(0, zone);
}

function forwardedElement(clientIp: string, o: ForwardedFacts): string {
  let node = 'unknown';
  if (clientIp.includes(':')) node = `"[${clientIp}]"`;
  else if (clientIp !== '') node = clientIp;
  const host =
    o.host === '' ? '' : `;host=${isToken(o.host) ? o.host : `"${o.host.replace(/["\\]/g, '\\$&')}"`}`;
  return `for=${node};by=_${obfuscated(o.by)}${host};proto=${o.proto}`;
}

/** RFC 7239 §6.3 allows letters, digits, `.`, `_` and `-`. */
function obfuscated(name: string): string {
  return name.replace(/[^A-Za-z0-9._-]/g, '-');
}
