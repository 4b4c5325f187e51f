/**
 * Which peer had an affinity key lately: a worker that joins takes over no key that is in use.
 *
 * Rendezvous hashing alone gives a newcomer its share of all keys at once, and with them the sessions and caches that
 * live elsewhere. Bounded: of the keys those that were used last are remembered; the others go by their hash again.
 */
import { BoundedCache } from '../bounded-cache.ts';
import { hashOf } from './affinity.ts';

interface Holder {
  readonly peerKey: string;
  /** Monotonic ms. */
  readonly usedMs: number;
}

/** A key is in use for so long after each request. */
const LATELY_MS = 600_000;

const MAX_KEYS = 32_768;

/** Another hash of the same text, so that both together tell keys apart. */
const SECOND_SEED = 0x9e3779b1;

export class AffinityHolders {
  readonly #holders = new BoundedCache<number, Holder>(MAX_KEYS, () => {});

  /** Key of the peer; null = nobody had it lately. */
  holderOf(service: string, affinityKey: string, nowMs: number): string | null {
    const holder = this.#holders.get(idOf(service, affinityKey));
    return holder === undefined || nowMs - holder.usedMs > LATELY_MS ? null : holder.peerKey;
  }

  used(service: string, affinityKey: string, peerKey: string, nowMs: number): void {
    this.#holders.set(idOf(service, affinityKey), { peerKey, usedMs: nowMs });
  }
}

/** 53 bits: keys may be long, and are chosen by apps. */
function idOf(service: string, affinityKey: string): number {
  const text = `${service}\n${affinityKey}`;
  return (hashOf(text) >>> 0) * 2 ** 21 + (hashOf(text, SECOND_SEED) >>> 11);
}
