/**
 * The peers of the last run, which are asked themselves, so that a restart finds them without the DHT.
 *
 * Each once, or until the DHT is back: then lookups know better. Who is being asked still counts as known, since what
 * is saved meanwhile would else know nobody.
 */
import type { KnownPeer } from './known-nodes.ts';
import type { LookupOptions } from './lookup.ts';
import { sourcesOf } from './record-fetcher.ts';

export interface LastKnownOptions extends Pick<LookupOptions, 'fetcher' | 'mayAsk' | 'own' | 'sampleSize'> {
  readonly peers: readonly KnownPeer[];
  readonly isDhtReachable: () => boolean;
}

export class LastKnown {
  readonly #options: LastKnownOptions;
  #peers: readonly KnownPeer[];
  /** Of those, who is being asked. */
  readonly #asked = new Set<KnownPeer>();

  constructor(options: LastKnownOptions) {
    this.#options = options;
    this.#peers = options.peers;
  }

  /** Those of whom nothing newer is known. */
  get peers(): readonly KnownPeer[] {
    return this.#peers;
  }

  /** Resolves when those that offered the service have answered or not. Never rejects. */
  async ask(service: string): Promise<void> {
    const mine = this.#peers.filter((peer) => peer.services.includes(service) && !this.#asked.has(peer));
    for (const peer of mine) this.#asked.add(peer);
    const stay = await Promise.all(
      mine.slice(0, this.#options.sampleSize).map((peer) => this.#isToStay(peer)),
    );
    const over = new Set(mine.filter((_, at) => stay[at] !== true));
    this.#peers = this.#peers.filter((peer) => !over.has(peer));
    for (const peer of mine) this.#asked.delete(peer);
  }

  async #isToStay({ address, key, tunnelUrl }: KnownPeer): Promise<boolean> {
    const { fetcher, isDhtReachable, mayAsk, own } = this.#options;
    if (key === own.keyHex || (address !== null && !mayAsk(address))) return false;
    const outcome = await fetcher.fetch(key, sourcesOf(address, tunnelUrl));
    return outcome === 'unreachable' && !isDhtReachable();
  }
}
