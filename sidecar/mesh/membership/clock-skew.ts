/**
 * The clock skew: how far the clocks of two sidecars may differ, when one is told so, and in which words.
 *
 * Clocks are compared, never set: each sidecar keeps its own and learns those of its peers. It must not know how a
 * time travels.
 */

/** A request is taken when it was signed no further from now. */
export const MAX_CLOCK_SKEW_MS = 30_000;

/** A caller whose clock is off by more is told nothing: its certificate would not hold either. */
export const MAX_TOLD_SKEW_MS = 86_400_000;

/** Below this a difference may be that of the way. */
const LEAST_OFFSET_MS = 2_000;

/** What is to be added to our time for a peer whose clock is ahead by `offsetMs`; NaN = not known. */
export function correctionMs(offsetMs: number): number {
  return Math.abs(offsetMs) >= LEAST_OFFSET_MS ? offsetMs : 0;
}

/** Worth a line in the log: off by more than is taken, and not known before. */
export function isNews(wasMs: number, offsetMs: number): boolean {
  const changeMs = Math.abs(offsetMs - (Number.isNaN(wasMs) ? 0 : wasMs));
  return changeMs > MAX_CLOCK_SKEW_MS && Math.abs(offsetMs) > MAX_CLOCK_SKEW_MS;
}

export function describeSkew(skewMs: number): string {
  const seconds = (Math.abs(skewMs) / 1000).toFixed(1);
  const when = skewMs < 0 ? `${seconds} s ago` : `${seconds} s in the future`;
  return `The request was signed ${when}; at most ${MAX_CLOCK_SKEW_MS / 1000} s are allowed: check the clocks of both machines.`;
}
