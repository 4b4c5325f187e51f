/**
 * The roster: a topic on which every sidecar announces itself, whatever it offers, looked up from time to time.
 *
 * So that a sidecar knows whether it is alone before the first request comes, an operator can scrape everybody, and the
 * peers of a service are often known before they are asked for. A random sample is enough.
 */
import type { Log } from '../../core/log.ts';
import type { Clock } from '../clock.ts';
import type { DhtNode } from '../dht/node.ts';
import { type LookupOptions, lookUp } from './lookup.ts';

/** In place of a service name; no service can have it (core/service-name). */
export const ROSTER = '*';

export interface RosterOptions extends LookupOptions {
  readonly dht: Pick<DhtNode, 'onPartitionHealed' | 'onStatus' | 'status'>;
  /** Pause between two looks while peers are known. */
  readonly intervalMs: number;
  readonly log: Log;
}

/** While nobody is known: often enough that two sidecars that start together meet at once. */
const ALONE_INTERVAL_MS = 500;
const MAX_ALONE_INTERVAL_MS = 5_000;

/** When halves of the DHT meet, all announce anew, and the first look is too early for some of them. */
const SECOND_LOOK_MS = 3_000;

export class Roster {
  readonly #options: RosterOptions;
  readonly #clock: Clock;
  #cancel = (): void => {};
  #off = (): void => {};
  #aloneMs = ALONE_INTERVAL_MS;
  #isStopped = false;
  #isLooking = false;
  #isToLookAgain = false;
  #areOthersComing = false;
  /** As of the last look. */
  #areAnyKnown = false;

  constructor(options: RosterOptions) {
    this.#options = options;
    this.#clock = options.clock;
  }

  start(): void {
    const offStatus = this.#options.dht.onStatus((status) => {
      this.#aloneMs = ALONE_INTERVAL_MS;
      if (status.kind === 'connected') void this.#look();
    });
    const offHealed = this.#options.dht.onPartitionHealed(() => {
      this.#areOthersComing = true;
      void this.#look();
    });
    this.#off = () => {
      offStatus();
      offHealed();
    };
    void this.#look();
  }

  stop(): void {
    this.#isStopped = true;
    this.#off();
    this.#cancel();
  }

  async #look(): Promise<void> {
    if (this.#isStopped) return;
    if (this.#isLooking) {
      // What runs began before there was anybody to ask.
      this.#isToLookAgain = true;
      return;
    }
    this.#isLooking = true;
    this.#cancel();
    try {
      await lookUp(ROSTER, this.#options);
    } catch (cause) {
      this.#options.log.debug({ reason: String(cause) }, 'the roster could not be read');
    }
    this.#isLooking = false;
    if (this.#isStopped) return;
    if (this.#isToLookAgain) {
      this.#isToLookAgain = false;
      return void this.#look();
    }
    const peers = this.#options.table.size;
    if (!this.#areAnyKnown && peers > 0) this.#options.log.info({ peers }, 'the first peers are known');
    this.#areAnyKnown = peers > 0;
    const pauseMs = peers > 0 ? this.#usualPauseMs() : this.#aloneMs;
    this.#aloneMs = peers > 0 ? ALONE_INTERVAL_MS : Math.min(MAX_ALONE_INTERVAL_MS, this.#aloneMs * 1.5);
    this.#cancel = this.#clock.after(
      pauseMs * (0.85 + 0.3 * this.#options.random()),
      () => void this.#look(),
    );
  }

  #usualPauseMs(): number {
    if (!this.#areOthersComing) return this.#options.intervalMs;
    this.#areOthersComing = false;
    return Math.min(SECOND_LOOK_MS, this.#options.intervalMs);
  }
}
