/**
 * Peers that are kept out for a while: who has left, or did not answer, and whose news is no longer believed.
 *
 * Holds the peer itself as it was, so that whoever asks why nobody is there can be told who was. It must not know why
 * a barrier was put up.
 */
import type { Peer } from './peer.ts';

export interface Barrier {
  readonly epoch: number;
  /** Monotonic ms. */
  readonly sinceMs: number;
  readonly untilMs: number;
  /** As it was last known; null = it never was. */
  readonly peer: Peer | null;
}

export class Barriers {
  readonly #byKey = new Map<string, Barrier>();

  put(key: string, barrier: Barrier): void {
    this.#byKey.set(key, barrier);
  }

  lift(key: string): void {
    this.#byKey.delete(key);
  }

  stands(key: string, nowMs: number): boolean {
    const barrier = this.#byKey.get(key);
    return barrier !== undefined && nowMs < barrier.untilMs;
  }

  /** Its own word is of the life that it leads now: an earlier epoch is that of a clock that was set back. */
  bars(key: string, epoch: number, nowMs: number, isOwnWord: boolean): boolean {
    const barrier = this.#byKey.get(key);
    if (barrier === undefined || nowMs >= barrier.untilMs) return false;
    return isOwnWord ? epoch === barrier.epoch : epoch <= barrier.epoch;
  }

  /** Forgets what has run out. */
  sweep(nowMs: number): void {
    for (const [key, { untilMs }] of this.#byKey) if (nowMs >= untilMs) this.#byKey.delete(key);
  }

  /** Who offered the service. */
  offered(service: string, nowMs: number): Barrier[] {
    return [...this.#byKey.values()].filter(
      ({ peer, untilMs }) => nowMs < untilMs && peer?.record.services.includes(service) === true,
    );
  }
}
