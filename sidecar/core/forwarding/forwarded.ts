/**
 * Who asked, told to the worker: Forwarded (RFC 7239) and the X-Forwarded-* fields that most software still reads.
 *
 * Both are written, always from the same facts, because software that believes one and ignores the other must not be
 * led astray by a forged one. Who is trusted is the caller's decision; it must not know sockets.
 */
import { isToken } from '../http/http1-syntax.ts';
import type { RawFields } from '../http/message.ts';

/** What this hop knows of who asked. */
export interface ForwardedFacts {
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

/** The four fields of one request: what earlier hops said is taken out of it, and told anew with this hop. */
export class ForwardedChain {
  #forwarded = '';
  #chain = '';
  #proto = '';
  #host = '';

  /** Notes what an earlier hop said; false for any other field. The lengths keep the usual field out at once. */
  take(name: string, value: string): boolean {
    const { length } = name;
    if (length !== 9 && (length < 15 || length > 17)) return false;
    const initial = name.charCodeAt(0) | 0x20;
    if (initial !== 0x66 && initial !== 0x78) return false; // 'f' and 'x'
    switch (name.toLowerCase()) {
      case 'forwarded':
        this.#forwarded = join(this.#forwarded, value);
        return true;
      case 'x-forwarded-for':
        this.#chain = join(this.#chain, value);
        return true;
      case 'x-forwarded-proto':
        if (this.#proto === '') this.#proto = value;
        return true;
      case 'x-forwarded-host':
        if (this.#host === '') this.#host = value;
        return true;
      default:
        return false;
    }
  }

  /**
   * Adds the fields. Trusted: Forwarded and X-Forwarded-For grow by this hop, -Proto and -Host stay as the first hop
   * said. Not trusted: all four say what this hop knows, and nothing else.
   */
  pushTo(fields: RawFields, facts: ForwardedFacts): void {
    const { trusted } = facts;
    const { element, chainLink } = hopOf(facts);
    const proto = trusted && this.#proto !== '' ? this.#proto : facts.proto;
    const host = trusted && this.#host !== '' ? this.#host : facts.host;
    fields.push(
      'Forwarded',
      trusted && this.#forwarded !== '' ? `${this.#forwarded}, ${element}` : element,
      'X-Forwarded-For',
      trusted && this.#chain !== '' ? `${this.#chain}, ${chainLink}` : chainLink,
      'X-Forwarded-Proto',
      proto,
    );
    if (host !== '') fields.push('X-Forwarded-Host', host);
  }
}

interface Hop {
  readonly clientIp: string;
  readonly host: string;
  readonly by: string;
  readonly proto: string;
  /** Of Forwarded. */
  readonly element: string;
  /** Of X-Forwarded-For. */
  readonly chainLink: string;
}

/** That of the last request: nearly all come from the same client for the same host. */
let lastHop: Hop = { clientIp: '', host: '', by: '', proto: '', element: '', chainLink: '' };

function hopOf({ clientIp, host, by, proto }: ForwardedFacts): Hop {
  const last = lastHop;
  if (last.clientIp === clientIp && last.host === host && last.by === by && last.proto === proto) return last;
  const ip = plainIp(clientIp);
  const element = forwardedElement(ip, host, by, proto);
  lastHop = { clientIp, host, by, proto, element, chainLink: ip === '' ? 'unknown' : ip };
  return lastHop;
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

function forwardedElement(clientIp: string, host: string, by: string, proto: string): string {
  let node = 'unknown';
  if (clientIp.includes(':')) node = `"[${clientIp}]"`;
  else if (clientIp !== '') node = clientIp;
  const quoted = isToken(host) ? host : `"${host.replace(/["\\]/g, '\\$&')}"`;
  return `for=${node};by=_${obfuscated(by)}${host === '' ? '' : `;host=${quoted}`};proto=${proto}`;
}

/** RFC 7239 §6.3 allows letters, digits, `.`, `_` and `-`. */
function obfuscated(name: string): string {
  return name.replace(/[^A-Za-z0-9._-]/g, '-');
}
