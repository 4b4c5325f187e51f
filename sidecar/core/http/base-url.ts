/**
 * Where a URL leads, in the parts that a connection and a request need: the one way here from a URL to an origin.
 *
 * `URL` keeps brackets around IPv6, leaves a default port out and ends every path with a slash; a socket, a record and
 * a request target want each of these the other way round.
 */
import type { HostPort } from '../host-port.ts';

export interface BaseUrl extends HostPort {
  readonly scheme: 'http' | 'https';
  /** Path without a trailing slash; '' for none. */
  readonly basePath: string;
}

const DEFAULT_PORTS = { http: 80, https: 443 } as const;

/** Of an http or https URL; its user, query and fragment are left behind. */
export function baseUrlOf(url: URL): BaseUrl {
  const scheme = url.protocol === 'https:' ? 'https' : 'http';
  return {
    scheme,
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? DEFAULT_PORTS[scheme] : Number(url.port),
    basePath: url.pathname.replace(/\/+$/, ''),
  };
}

/** The Host field for an origin: without a default port, IPv6 in brackets (RFC 9110 §7.2). */
export function hostHeader(origin: HostPort & { readonly scheme: 'http' | 'https' | 'h2c' }): string {
  const host = origin.host.includes(':') ? `[${origin.host}]` : origin.host;
  const defaultPort = DEFAULT_PORTS[origin.scheme === 'https' ? 'https' : 'http'];
  return origin.port === defaultPort ? host : `${host}:${origin.port}`;
}
