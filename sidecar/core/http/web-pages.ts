/**
 * Which requests of web pages are carried: any page that a browser on this host shows can call a port on loopback.
 *
 * Two ways in are closed. A page whose own name was made to resolve to this host (DNS rebinding) is told by its Host, a
 * page of elsewhere by what the browser says of it (Origin; Sec-Fetch-Site, W3C Fetch Metadata §2.4), which no page can
 * forge. Programs that are no browsers send neither of the two, and pass.
 */
import { isHostName, isIp4, isIp6 } from '../host-port.ts';
import { all, first, has, isNamed } from './headers.ts';
import type { RawFields, RequestHead } from './message.ts';
import { isHost } from './request-target.ts';

/** Whose pages may call. */
export interface PageOrigins {
  readonly any: boolean;
  /** Those of any server on this host: `http://localhost:3000`. */
  readonly loopback: boolean;
  /** As a browser writes them: `https://app.example.org`, `null`. */
  readonly listed: ReadonlySet<string>;
}

export interface WebPageRules {
  /** More names that a listener may be called by, in lower case; null = any, where a token is wanted anyway. */
  readonly hosts: ReadonlySet<string> | null;
  readonly origins: PageOrigins;
  /** Names of the two options, for whoever is refused. */
  readonly options: { readonly hosts: string; readonly origins: string };
}

export type PageVerdict =
  /** No page, or one that came from here. */
  | { readonly kind: 'own' }
  /** A page of elsewhere that may call; its browser wants to be told so. `*`: as any page may. */
  | { readonly kind: 'allowed'; readonly origin: string }
  | {
      readonly kind: 'refused';
      readonly code: 'host_not_allowed' | 'origin_not_allowed';
      readonly detail: string;
    };

type AskedHead = Pick<RequestHead, 'target' | 'host' | 'fields'>;

const OWN: PageVerdict = { kind: 'own' };
const ANY: PageVerdict = { kind: 'allowed', origin: '*' };

/** An attacker's words are cut where they are repeated. */
const MAX_SHOWN = 80;

/** What a page is shown of a response beside what every page is (Fetch §4.10). */
const EXPOSED =
  'sidecar-worker, sidecar-route, sidecar-attempts, sidecar-request-id, sidecar-decision, Proxy-Status, Retry-After, x-should-retry';

/** How long a browser may go on without asking anew; they take two hours at most. */
const PREFLIGHT_SECONDS = 600;

export class WebPages {
  readonly #rules: WebPageRules;
  /** The last Host that was right: nearly all requests of an app have the same. */
  #lastHost = '';

  constructor(rules: WebPageRules) {
    this.#rules = rules;
  }

  judge({ target, host, fields }: AskedHead): PageVerdict {
    if (host !== this.#lastHost) {
      // An absolute form with another host is a proxy's request, as no page that was read from here can make it.
      const isToProxy = target.charCodeAt(0) !== 0x2f && target !== '*';
      if (!isToProxy && !this.#mayBeCalled(host)) return this.#wrongHost(host);
      if (!isToProxy) this.#lastHost = host;
    }
    for (let i = 0; i < fields.length; i += 2) {
      const name = fields[i]!;
      if (isNamed(name, 'origin') || isNamed(name, 'sec-fetch-site')) return this.#ofPage(host, fields);
    }
    return OWN;
  }

  #mayBeCalled(host: string): boolean {
    const { hosts } = this.#rules;
    if (hosts === null || host === '') return true;
    const name = hostNameOf(host);
    return isOwnName(name) || hosts.has(name);
  }

  #wrongHost(host: string): PageVerdict {
    const { options } = this.#rules;
    const detail = `called by the name ${shown(host)}, which is neither of this host, nor an address, nor <service>.mesh; if it is meant, set ${options.hosts}`;
    return { kind: 'refused', code: 'host_not_allowed', detail };
  }

  #ofPage(host: string, fields: RawFields): PageVerdict {
    const site = all(fields, 'sec-fetch-site').join(',');
    if (site === 'same-origin' || site === 'none') return OWN;
    const origin = all(fields, 'origin').join(',');
    if (site === '' && isSameHost(origin, host)) return OWN;
    const { any, loopback, listed } = this.#rules.origins;
    if (origin === '') {
      // Pictures, scripts and links: a browser does not say of whose page.
      if (any || (loopback && site === 'same-site')) return OWN;
      return this.#wrongOrigin(`a page of elsewhere (Sec-Fetch-Site: ${shown(site)})`);
    }
    if (listed.has(origin) || (loopback && isLoopbackOrigin(origin))) return { kind: 'allowed', origin };
    return any ? ANY : this.#wrongOrigin(`the page ${shown(origin)}`);
  }

  #wrongOrigin(whose: string): PageVerdict {
    const detail = `asked for by ${whose}; if it is meant, set ${this.#rules.options.origins}`;
    return { kind: 'refused', code: 'origin_not_allowed', detail };
  }
}

/** Fields by which a browser lets the page read a response (CORS, Fetch §3.2); cookies only where it is named. */
export function corsFields(origin: string): RawFields {
  const fields = ['Access-Control-Allow-Origin', origin, 'Access-Control-Expose-Headers', EXPOSED];
  if (origin !== '*') fields.push('Access-Control-Allow-Credentials', 'true', 'Vary', 'Origin');
  return fields;
}

/** A browser's question whether a page may send such a request. */
export function isPreflight({ method, fields }: Pick<RequestHead, 'method' | 'fields'>): boolean {
  return method === 'OPTIONS' && has(fields, 'access-control-request-method');
}

/** Fields of the answer to one: whatever it asks for. What a page may do is decided by whose it is. */
export function preflightFields(origin: string, fields: RawFields): RawFields {
  const answer = [
    ...corsFields(origin),
    'Access-Control-Allow-Methods',
    first(fields, 'access-control-request-method') ?? 'GET',
    'Access-Control-Max-Age',
    String(PREFLIGHT_SECONDS),
  ];
  const asked = first(fields, 'access-control-request-headers');
  if (asked !== undefined && asked !== '') answer.push('Access-Control-Allow-Headers', asked);
  if (first(fields, 'access-control-request-private-network') === 'true')
    answer.push('Access-Control-Allow-Private-Network', 'true');
  return answer;
}

/**
 * An origin as a browser would write it (RFC 6454 §6.2), of what an operator has written: lower case, no default port,
 * no slash. Null when it is none.
 */
export function canonicalOrigin(text: string): string | null {
  if (text === 'null') return text;
  const match = /^([a-z][a-z0-9+.-]*):\/\/(\[[0-9a-f:.]+\]|[^/?#@:[\]\s]+)(?::(\d{1,5}))?\/?$/i.exec(text);
  if (match === null) return null;
  const scheme = match[1]!.toLowerCase();
  const host = match[2]!.toLowerCase();
  const isWeb = scheme === 'http' || scheme === 'https';
  if (isWeb && !(host.startsWith('[') ? isIp6(host.slice(1, -1)) : isIp4(host) || isHostName(host)))
    return null;
  const port = match[3] === undefined ? null : Number(match[3]);
  if (port !== null && port > 65_535) return null;
  const isUsual = port === null || (scheme === 'http' && port === 80) || (scheme === 'https' && port === 443);
  return `${scheme}://${host}${isUsual ? '' : `:${port}`}`;
}

/** Of `host[:port]`: the name without port, brackets and the root's dot, in lower case. */
export function hostNameOf(host: string): string {
  if (host.startsWith('[')) return host.slice(1, host.indexOf(']')).toLowerCase();
  const colon = host.indexOf(':');
  const name = (colon === -1 ? host : host.slice(0, colon)).toLowerCase();
  return name.endsWith('.') ? name.slice(0, -1) : name;
}

/** Names that nobody elsewhere can make to mean this host: those of loopback, addresses, and `<service>.mesh`. */
function isOwnName(name: string): boolean {
  return isLoopbackName(name) || isIp4(name) || isIp6(name) || name.endsWith('.mesh');
}

function isLoopbackName(name: string): boolean {
  return name === 'localhost' || name.endsWith('.localhost');
}

function isLoopbackOrigin(origin: string): boolean {
  const authority = authorityOf(origin);
  if (authority === null || !isHost(authority)) return false;
  const name = hostNameOf(authority);
  return isLoopbackName(name) || name === '::1' || (isIp4(name) && name.startsWith('127.'));
}

/** A page that was read by way of this very listener. */
function isSameHost(origin: string, host: string): boolean {
  return host !== '' && authorityOf(origin) === host.toLowerCase();
}

/** Of a page that came by HTTP; null for any other. */
function authorityOf(origin: string): string | null {
  const match = /^https?:\/\/(\[[0-9a-f:.]+\](?::\d+)?|[^/?#@[\]\s,]+)$/i.exec(origin);
  return match === null ? null : match[1]!.toLowerCase();
}

function shown(text: string): string {
  const plain = text.replace(/[^\x21-\x7e]/g, '?');
  return plain.length > MAX_SHOWN ? `${plain.slice(0, MAX_SHOWN)}…` : plain;
}
