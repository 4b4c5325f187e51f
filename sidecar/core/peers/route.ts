/**
 * The ways to reach a peer, as its record names them: an address each, and the health of each as seen from here.
 */
import { formatHostPort } from '../host-port.ts';
import { type BaseUrl, baseUrlOf } from '../http/base-url.ts';
import type { WorkerRecord } from './record.ts';
import { RouteHealth } from './route-health.ts';

export type RouteKind = 'local' | 'vpn' | 'p2p' | 'tunnel';

/** Kinds of routes that lead from here to a peer: a sidecar without VPN has no use for a VPN address. */
export type UsableKinds = ReadonlySet<Route['kind']>;

export const ALL_KINDS: UsableKinds = new Set(['vpn', 'p2p', 'tunnel']);

export interface Route extends BaseUrl {
  readonly kind: 'vpn' | 'p2p' | 'tunnel';
  readonly health: RouteHealth;
}

export function routesOf(record: WorkerRecord): Route[] {
  const routes: Route[] = [];
  if (record.vpn_ip !== null && record.inbound_port !== null) {
    const { vpn_ip: host, inbound_port: port } = record;
    routes.push({ kind: 'vpn', scheme: 'http', host, port, basePath: '', health: new RouteHealth() });
  }
  const url = record.tunnel_url === null ? null : URL.parse(record.tunnel_url);
  if (url !== null && url.protocol === 'https:') {
    routes.push({ kind: 'tunnel', ...baseUrlOf(url), health: new RouteHealth() });
  }
  return routes;
}

/** Where it leads, for people: `http://10.42.0.10:8000`. */
export function routeAddress({ scheme, host, port, basePath }: BaseUrl): string {
  return `${scheme}://${formatHostPort({ host, port })}${basePath}`;
}

export function isSameAddress(a: Route, b: Route): boolean {
  return (
    a.kind === b.kind &&
    a.scheme === b.scheme &&
    a.host === b.host &&
    a.port === b.port &&
    a.basePath === b.basePath
  );
}
