/**
 * How long the responses of each service take until their first byte, at worst, as seen from here.
 *
 * A peak that fades instead of an average: one response in fifty that takes two minutes is what a tunnel cuts, and an
 * average would not show it.
 */
import { BoundedCache } from '../bounded-cache.ts';

/** Time constant at which a peak fades: after ten minutes it is forgotten in all but name. */
const FADE_MS = 300_000;
const MAX_SERVICES = 1_024;

interface Peak {
  ms: number;
  atMs: number;
}

export class Ttfb {
  readonly #peaks = new BoundedCache<string, Peak>(MAX_SERVICES, () => {});

  /** A response of the service began after this time. */
  took(service: string, firstByteMs: number, nowMs: number): void {
    if (!Number.isFinite(firstByteMs)) return;
    const peak = this.#peaks.get(service);
    if (peak === undefined) {
      this.#peaks.set(service, { ms: firstByteMs, atMs: nowMs });
    } else if (firstByteMs >= faded(peak, nowMs)) {
      peak.ms = firstByteMs;
      peak.atMs = nowMs;
    }
  }

  /** No response had begun by then. How late it would have been nobody knows: twice that, which is remembered for 3 min. */
  cutAt(service: string, limitMs: number, nowMs: number): void {
    this.took(service, 2 * limitMs, nowMs);
  }

  /** NaN while nothing is known. */
  expectedMs(service: string, nowMs: number): number {
    const peak = this.#peaks.get(service);
    return peak === undefined ? Number.NaN : faded(peak, nowMs);
  }
}

function faded({ ms, atMs }: Peak, nowMs: number): number {
  return ms * Math.exp(-Math.max(0, nowMs - atMs) / FADE_MS);
}
