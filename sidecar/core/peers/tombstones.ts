/**
 * Peers that are kept out for a while: who has left, or did not answer, and whose news is no longer believed.
 *
 * Holds the peer itself as it was, so that whoever asks why nobody is there can be told who was.
 */
import type { Peer } from './peer.ts';

export interface Tombstone {
  readonly epoch: number;
  /** Monotonic ms. */
  readonly sinceMs: number;
  readonly untilMs: number;
  /** As it was last known; null = it never was. */
  readonly peer: Peer | null;
}

export class Tombstones {
  readonly #byKey = new Map<string, Tombstone>();

  add(key: string, barrier: Tombstone): void {
    this.#byKey.set(key, barrier);
  }

  remove(key: string): void {
    this.#byKey.delete(key);
  }

  has(key: string, nowMs: number): boolean {
    const barrier = this.#byKey.get(key);
    return barrier !== undefined && nowMs < barrier.untilMs;
  }

  /** As it was last known; null = it was not. */
  peer(key: string): Peer | null {
    return this.#byKey.get(key)?.peer ?? null;
  }

  /** Its own word is of the life that it leads now: an earlier epoch is that of a clock that was set back. */
  rejects(key: string, epoch: number, nowMs: number, isOwnWord: boolean): boolean {
    const barrier = this.#byKey.get(key);
    if (barrier === undefined || nowMs >= barrier.untilMs) return false;
    return isOwnWord ? epoch === barrier.epoch : epoch <= barrier.epoch;
  }

  /** Forgets what has run out. */
  sweep(nowMs: number): void {
    for (const [key, { untilMs }] of this.#byKey) if (nowMs >= untilMs) this.#byKey.delete(key);
  }

  /** Who offered the service: so many of them at most. */
  offered(service: string, nowMs: number, limit: number): Tombstone[] {
    const found: Tombstone[] = [];
    for (const barrier of this.#byKey.values()) {
      if (found.length >= limit) break;
      const { peer, untilMs } = barrier;
      if (nowMs < untilMs && peer?.record.services.includes(service) === true) found.push(barrier);
    }
    return found;
  }
}
