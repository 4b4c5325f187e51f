/**
 * Which routes of a peer to try now, and in which order.
 *
 * Preference (vpn, p2p, tunnel) holds among routes that work: a route that is down is left out while another is up, so
 * that a black-holed VPN costs one request and not each.
 */
import type { Route } from './route.ts';
import { isFit, type TunnelUnfit } from './tunnel-limits.ts';

/** Whether `usableRoutes` has something better than routes that failed a moment ago, and that fits the request. */
export function hasUsableRoute(
  routes: readonly Route[],
  nowMs: number,
  unfit: TunnelUnfit | null = null,
): boolean {
  for (let i = 0; i < routes.length; i += 1) {
    const route = routes[i] as Route;
    const { health } = route;
    if (!isFit(route, unfit)) continue;
    if (health.isUp || health.usable(nowMs) || health.probeDue(nowMs)) return true;
  }
  return false;
}

/**
 * The routes that may be used now; else those whose trial is due; else all. Empty only for a peer without
 * routes. The same array for a peer with nothing down: not to be changed.
 */
export function usableRoutes(routes: readonly Route[], nowMs: number): readonly Route[] {
  if (routes.every((route) => route.health.isUp)) return routes;
  const usable = routes.filter((route) => route.health.usable(nowMs));
  if (usable.length > 0) return usable;
  const due = routes.filter((route) => route.health.probeDue(nowMs));
  return due.length > 0 ? due : routes;
}

/** The peer was heard over one of its routes, and nothing has failed there since. */
export function isProved(routes: readonly Route[]): boolean {
  return routes.some(({ health }) => health.isUp && health.heardAtMs > Number.NEGATIVE_INFINITY);
}

/** The route that a request would take first, for what it costs; undefined for a peer without routes. */
export function firstRoute(routes: readonly Route[], nowMs: number): Route | undefined {
  for (let i = 0; i < routes.length; i += 1) {
    const route = routes[i] as Route;
    if (route.health.isUp || route.health.usable(nowMs)) return route;
  }
  return routes[0];
}

/** When all are down: the time of the oldest last failure, the least recent being the least bad. */
export function badUntilMs(routes: readonly Route[]): number {
  let oldestMs = Number.POSITIVE_INFINITY;
  for (const { health } of routes) {
    if (health.state.kind === 'up') return Number.NEGATIVE_INFINITY;
    oldestMs = Math.min(oldestMs, health.state.failedAtMs);
  }
  return oldestMs;
}
