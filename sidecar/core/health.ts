/**
 * Health of a peer (ejection) and of a route (up or down), each a small state machine.
 *
 * Two machines instead of one breaker: a black-holed VPN is not the worker's fault, and a failing worker is
 * not cured by another route. Time is passed in. It must not know how many other peers there are: that at
 * most half are ejected and never the last is decided where they are all seen (core/candidates).
 */

export type PeerHealthState =
  | { readonly kind: 'closed' }
  | { readonly kind: 'ejected'; readonly untilMs: number }
  /** The ejection is over; one real request at a time decides. */
  | { readonly kind: 'half_open'; readonly trialSinceMs: number | null };

export interface HealthOptions {
  /** Failures in a row that eject. */
  readonly failures: number;
  /** First ejection; the n-th lasts n times as long. */
  readonly ejectionMs: number;
  readonly maxEjectionMs: number;
}

export class PeerHealth {
  constructor(_options?: Partial<HealthOptions>) {}
  get state(): PeerHealthState {
    return { kind: 'closed' };
  }
  get consecutiveFailures(): number {
    return 0;
  }
  /** A request is being sent: in half-open it takes the one trial. */
  tried(_nowMs: number): void {}
  succeeded(_nowMs: number): void {}
  failed(_nowMs: number): void {}
  /** Ended without a judgement (refused, client gone): gives a trial back. */
  abandoned(_nowMs: number): void {}
  isEjected(_nowMs: number): boolean {
    return false;
  }
  reset(): void {}
}

export type RouteHealthState =
  | { readonly kind: 'up' }
  | { readonly kind: 'down'; readonly sinceMs: number; readonly trialAtMs: number }
  | { readonly kind: 'probing'; readonly sinceMs: number; readonly trialSinceMs: number };

export class RouteHealth {
  /** Moving average of the time that this route adds, in ms; NaN = not measured. */
  extraMs: number = Number.NaN;
  get state(): RouteHealthState {
    return { kind: 'up' };
  }
  /** A probe or a request got through. */
  succeeded(_nowMs: number): void {}
  /** Nothing got through: refused, timed out, reset before an answer. */
  failed(_nowMs: number): void {}
  /** A request or probe is being sent over a route that is down. */
  tried(_nowMs: number): void {}
  /** One measurement of the time the route adds (a probe's round trip), in ms. */
  measured(_extraMs: number): void {}
  /** May a request use it now? */
  usable(_nowMs: number): boolean {
    return true;
  }
  /** Down, and a probe of it is due. */
  probeDue(_nowMs: number): boolean {
    return false;
  }
}
