/**
 * Searches beyond the sample of a service for a peer that fits a request, say by its GPU.
 *
 * A view of thousands holds a random few, which may all lack what one request requires. So all who announce the service
 * are gone through, until one fits; and of those that fit some are kept when the sample is trimmed.
 */
import type { Log } from '../../core/log.ts';
import type { Peer } from '../../core/peers/peer.ts';
import { type LookupOptions, lookUp } from './lookup.ts';

export type Fits = (peer: Peer) => boolean;

export interface FittingSearchOptions extends LookupOptions {
  readonly log: Pick<Log, 'debug'>;
  /** A search is over, and may have left more than a sample. */
  onEnded(service: string): void;
}

interface Search {
  readonly service: string;
  readonly fits: Fits;
  /** Settles with the first peer that fits, or when all who can be found were asked. */
  readonly ready: Promise<void>;
  readonly found: () => void;
  /** Monotonic ms; NaN while it is under way. */
  endedMs: number;
}

/** So many records at most. */
const SEARCHED_PEERS = 2_048;

/** Storing nodes answer with announcements at random: each round finds others. */
const ROUNDS = 3;

/** One in vain is not repeated before. */
const AGAIN_MS = 5_000;

/** So many that fit are kept beyond the sample, for so many wishes: those that were asked for last. */
const KEPT_PER_WISH = 4;
const MAX_WISHES = 64;

export class FittingSearch {
  readonly #options: FittingSearchOptions;
  /** By service and wish, those that were asked for first in front. */
  readonly #searches = new Map<string, Search>();
  #isStopped = false;

  constructor(options: FittingSearchOptions) {
    this.#options = options;
  }

  /** `wish` names what fits: all who want the same share one search. Never rejects. */
  begin(service: string, wish: string, fits: Fits): Promise<void> {
    const key = `${service} ${wish}`;
    const known = this.#searches.get(key);
    const nowMs = this.#options.clock.monotonicMs();
    this.#searches.delete(key);
    const search =
      known !== undefined && !(nowMs - known.endedMs >= AGAIN_MS) ? known : this.#run(service, fits);
    this.#searches.set(key, search);
    if (this.#searches.size > MAX_WISHES) {
      const [oldest] = this.#searches.keys();
      if (oldest !== undefined) this.#searches.delete(oldest);
    }
    return search.ready;
  }

  /** A record of the service came in. */
  arrived(service: string): void {
    for (const search of this.#searches.values()) {
      if (search.service === service && Number.isNaN(search.endedMs) && this.#isFound(search)) search.found();
    }
  }

  /** Peers that the sample must not lose: a few for each wish. */
  kept(service: string): ReadonlySet<Peer> {
    const kept = new Set<Peer>();
    for (const search of this.#searches.values()) {
      if (search.service !== service) continue;
      const fitting = this.#options.table.offering(service).filter(search.fits);
      for (const peer of fitting.slice(0, KEPT_PER_WISH)) kept.add(peer);
    }
    return kept;
  }

  /** Those who wait get what there is. */
  stop(): void {
    this.#isStopped = true;
    for (const search of this.#searches.values()) search.found();
  }

  #run(service: string, fits: Fits): Search {
    let found = (): void => {};
    const ready = new Promise<void>((resolve) => {
      found = resolve;
    });
    const search: Search = { service, fits, ready, found, endedMs: Number.NaN };
    void this.#walk(search).then(() => {
      search.endedMs = this.#options.clock.monotonicMs();
      found();
      this.#options.onEnded(service);
    });
    return search;
  }

  /** Never rejects. */
  async #walk(search: Search): Promise<void> {
    const { service } = search;
    const wide = { ...this.#options, sampleSize: SEARCHED_PEERS };
    const isEnough = (): boolean => this.#isStopped || this.#isFound(search);
    try {
      for (let round = 0; round < ROUNDS && !isEnough(); round += 1) await lookUp(service, wide, isEnough);
    } catch (cause) {
      this.#options.log.debug({ service, reason: String(cause) }, 'search failed');
    }
  }

  #isFound({ service, fits }: Search): boolean {
    return this.#options.table.offering(service).some(fits);
  }
}
