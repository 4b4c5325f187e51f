/**
 * Who asked and for what, told to the worker: Forwarded (RFC 7239) and the X-Forwarded-* fields that most software reads.
 *
 * All are written, always from the same facts, because software that believes one and ignores the other must not be led
 * astray by a forged one. Who is trusted is the caller's decision; it must not know sockets.
 */
import { isToken } from '../http/http1-syntax.ts';
import type { RawFields } from '../http/message.ts';
import { isHost } from '../http/request-target.ts';

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
  /** What this hop takes off the path, without a slash at its end; absent or '' for nothing. */
  readonly prefix?: string;
  /** Host that the app called, where this hop was called by another; absent: `host`. */
  readonly calledHost?: string;
}

const MAX_PREFIX_CHARS = 256;

/**
 * Whether software that takes every sign but letters and digits for the same one (CGI, WSGI, PHP) reads a field of the
 * X-Forwarded kind in a name that is spelt otherwise: `X_Forwarded_For`. No honest proxy writes such a name.
 */
export function isForwardingInDisguise(name: string): boolean {
  if (name.length < 13 || (name.charCodeAt(0) | 0x20) !== 0x78 || (name.charCodeAt(2) | 0x20) !== 0x66)
    return false;
  return /^x[^a-z0-9]forwarded[^a-z0-9]/i.test(name) && /[^a-z0-9-]/i.test(name);
}

/** The last that was usable: nearly all requests of a service come with the same. */
let lastPrefix = '';

/** A path that may stand before others: no second slash that would name a host, nothing that ends an attribute. */
function usablePrefix(value: string): string {
  if (value === lastPrefix) return lastPrefix;
  const path = value.endsWith('/') ? value.slice(0, -1) : value;
  const isUsable =
    path.length <= MAX_PREFIX_CHARS &&
    /^(?:\/[\w.~!$&()*+=:@%-]+)+$/.test(path) &&
    !/\/\.\.?(?:\/|$)/.test(path);
  if (!isUsable) return '';
  lastPrefix = path;
  return path;
}

/** The fields of one request: what earlier hops said is taken out of it, and told anew with this hop. */
export class ForwardedChain {
  #forwarded = '';
  #chain = '';
  #proto = '';
  #host = '';
  #prefix = '';

  /** Notes what an earlier hop said; false for any other field. The lengths keep the usual field out at once. */
  take(name: string, value: string): boolean {
    const { length } = name;
    if (length !== 9 && length < 13) return false;
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
      case 'x-forwarded-prefix':
        if (this.#prefix === '') this.#prefix = usablePrefix(value);
        return true;
      default:
        return isForwardingInDisguise(name);
    }
  }

  /**
   * Adds the fields. Trusted: Forwarded, X-Forwarded-For and -Prefix grow by this hop, -Proto and -Host stay as the
   * first hop said. Not trusted: all say what this hop knows, and nothing else.
   */
  pushTo(fields: RawFields, facts: ForwardedFacts): void {
    const { trusted, prefix: own = '', calledHost = facts.host } = facts;
    const { element, chainLink } = hopOf(facts);
    const proto = trusted && this.#proto !== '' ? this.#proto : facts.proto;
    const host = trusted && this.#host !== '' ? this.#host : calledHost;
    const prefix = trusted ? this.#prefix + own : own;
    fields.push(
      'Forwarded',
      trusted && this.#forwarded !== '' ? `${this.#forwarded}, ${element}` : element,
      'X-Forwarded-For',
      trusted && this.#chain !== '' ? `${this.#chain}, ${chainLink}` : chainLink,
      'X-Forwarded-Proto',
      proto,
    );
    if (host !== '') fields.push('X-Forwarded-Host', host);
    if (prefix !== '') fields.push('X-Forwarded-Prefix', prefix);
  }

  get hasHost(): boolean {
    return this.#host !== '';
  }
}

/** The Host that the last hop was called by, as it wrote it into Forwarded; '' when it says none. */
export function hostInForwarded(forwarded: string): string {
  const at = forwarded.lastIndexOf(';host=');
  if (at === -1) return '';
  const match = /^;host=("?)([^";,\s]*)\1;proto=https?$/.exec(forwarded.slice(at));
  const host = match?.[2] ?? '';
  return isHost(host) ? host : '';
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
