/**
 * What a tunnel cannot carry, so that such a request goes another way where there is one.
 *
 * A VPN carries all that HTTP knows; an edge in between has limits of its own, and passes no HTTP/2 to the worker.
 * Judged once for each request, before a peer is chosen.
 */
import type { Route } from './route.ts';

/** Of the tunnels that others use; as their edge documents them. */
export interface TunnelLimits {
  /** Longest request body. */
  readonly maxBodyBytes: number;
  /** How long the edge waits for the first byte of a response. */
  readonly firstByteMs: number;
}

export interface Carried {
  readonly isGrpc: boolean;
  /** null = not known before its end. */
  readonly bodyBytes: number | null;
  /** What answers of this service take until their first byte; NaN = unknown. */
  readonly firstByteMs: number;
}

/** Why a request should not go by a tunnel. `grpc` cannot go at all; the others are judged by figures that may be wrong. */
export type TunnelUnfit = 'grpc' | 'body_too_large' | 'too_slow';

export function tunnelUnfit(carried: Carried, limits: TunnelLimits): TunnelUnfit | null {
  if (carried.isGrpc) return 'grpc';
  if (carried.bodyBytes !== null && carried.bodyBytes > limits.maxBodyBytes) return 'body_too_large';
  return carried.firstByteMs >= limits.firstByteMs ? 'too_slow' : null;
}

export function isFit(route: Route, unfit: TunnelUnfit | null): boolean {
  return unfit === null || route.kind !== 'tunnel';
}

export interface SortedRoutes {
  /** To be tried for this request. */
  readonly routes: readonly Route[];
  /** Only when nobody else is left. */
  readonly spare: readonly Route[];
}

const NO_ROUTES: readonly Route[] = [];

/** The usable routes of one peer, sorted by fitness: without a fit one the others are tried. */
export function sortedByFitness(usable: readonly Route[], unfit: TunnelUnfit | null): SortedRoutes {
  if (unfit === null) return { routes: usable, spare: NO_ROUTES };
  const fit = usable.filter((route) => isFit(route, unfit));
  if (fit.length === 0) return { routes: usable, spare: NO_ROUTES };
  const spare = unfit === 'grpc' ? NO_ROUTES : usable.filter((route) => !isFit(route, unfit));
  return { routes: fit, spare };
}
