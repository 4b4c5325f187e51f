/**
 * The announcer: keeps this worker findable while it lives, and makes it unfindable when it stops.
 *
 * Own rounds instead of hyperdht's announcer, which repeats each 5 minutes and puts the addresses of DHT relays where
 * ours puts the inbound listener.
 */
import type { DhtKeyPair } from 'hyperdht';
import { messageOf } from '../../core/errors.ts';
import type { HostPort } from '../../core/host-port.ts';
import type { Log } from '../../core/log.ts';
import { type Clock, within } from '../clock.ts';
import type { DhtNode } from '../dht/node.ts';
import { shardOf, topicOf } from '../dht/topic.ts';
import { MAX_PUT_BYTES } from './sealed-record.ts';

/** How the worker is to be found at the moment of asking. */
export interface AnnouncedAddress {
  /** Inbound listener at the VPN address; null without VPN. */
  readonly address: HostPort | null;
  /** Whether it can be reached some other way, so that its record must be found without reaching it. */
  readonly hasTunnel: boolean;
}

export interface AnnouncerOptions {
  readonly node: Pick<
    DhtNode,
    'announce' | 'unannounce' | 'mutablePut' | 'mutableGet' | 'onPartitionHealed' | 'onStatus' | 'status'
  >;
  readonly keyPair: DhtKeyPair;
  readonly topicKey: Buffer;
  /** The present certificate: nodes store nothing for who has none. */
  readonly certificate: () => Buffer;
  readonly services: readonly string[];
  readonly shards: number;
  readonly place: () => AnnouncedAddress;
  /** The present record in at most so many bytes. May throw when it does not fit. */
  readonly sealRecord: (maxBytes: number) => Buffer;
  /** A record under our key that this life has not put there: of a former life, or of another one. */
  readonly onOtherRecord?: (bytes: Buffer) => void;
  readonly intervalMs: number;
  /** The longest that `stop` takes. */
  readonly stopLimitMs: number;
  readonly clock: Clock;
  /** [0, 1). */
  readonly random: () => number;
  readonly log: Log;
}

export interface AnnouncerStatus {
  /** Monotonic ms of the last round in which everything was stored; null = never yet. */
  readonly storedAtMs: number | null;
  /** Nodes that the services were stored with in that round, the fewest of them. */
  readonly storers: number;
  /** Rounds in a row that failed, and why the last one did. */
  readonly failures: number;
  readonly reason: string | null;
}

/** Rounds are spread by this share of the interval either way, so that a fleet started at once drifts apart. */
const JITTER = 0.15;
const MAX_RETRY_MS = 30_000;

export class Announcer {
  readonly #options: AnnouncerOptions;
  #services: readonly string[];
  #status: AnnouncerStatus = { storedAtMs: null, storers: 0, failures: 0, reason: null };
  /** Address of the last round; `undefined` before the first, when a former life may still be announced. */
  #announced: HostPort | null | undefined;
  #lastSeq = 0;
  #isToldOf = false;
  #round: Promise<void> | null = null;
  #again = false;
  #cancel = (): void => {};
  #off = (): void => {};
  #stopped = false;

  constructor(options: AnnouncerOptions) {
    this.#options = options;
    this.#services = options.services;
  }

  get status(): AnnouncerStatus {
    return this.#status;
  }

  start(): void {
    // Whoever joins late, or joins again, holds nothing of ours.
    const offStatus = this.#options.node.onStatus((status) => {
      if (status.kind === 'connected') this.changed();
    });
    const offHealed = this.#options.node.onPartitionHealed(() => this.changed());
    this.#off = () => {
      offStatus();
      offHealed();
    };
    this.changed();
  }

  /** The address, the tunnel or the state is another one now: tell at once. Calls during a round make one more. */
  changed(): void {
    if (this.#stopped || this.#services.length === 0) return;
    if (this.#round !== null) {
      this.#again = true;
      return;
    }
    this.#cancel();
    this.#round = this.#runRound().then((nextMs) => {
      this.#round = null;
      if (this.#stopped) return;
      if (this.#again) {
        this.#again = false;
        this.changed();
      } else this.#cancel = this.#options.clock.after(nextMs, () => this.changed());
    });
  }

  /** Other services from now on: those that are new are announced, those that are gone withdrawn. Never rejects. */
  async offer(services: readonly string[]): Promise<void> {
    const gone = this.#services.filter((service) => !services.includes(service));
    this.#services = services;
    this.changed();
    // An announcement that is under way must not arrive after its withdrawal.
    await this.#round;
    const { keyPair, node } = this.#options;
    await Promise.allSettled(gone.map((service) => node.unannounce(this.#topic(service), keyPair)));
  }

  /** Under another key, or against one who announced itself under ours: as if nothing had been announced yet. */
  startAnew(): void {
    this.#announced = undefined;
    this.#lastSeq = 0;
    this.changed();
  }

  /** Withdraws everything, within `stopLimitMs`; the record in the DHT is replaced by the present one. Never rejects. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#cancel();
    this.#off();
    await within(this.#options.clock, this.#options.stopLimitMs, this.#withdraw(), undefined);
  }

  async #withdraw(): Promise<void> {
    // An announcement that is under way must not arrive after its withdrawal.
    await this.#round;
    const { keyPair, node } = this.#options;
    const leaving = this.#services.map((service) => node.unannounce(this.#topic(service), keyPair));
    if (this.#keepsRecord(this.#options.place())) leaving.push(this.#putRecord().catch(() => {}));
    await Promise.all(leaving);
  }

  /** Never rejects; resolves to the pause before the next round. */
  async #runRound(): Promise<number> {
    const { clock, intervalMs, log, random } = this.#options;
    const services = this.#services;
    try {
      const place = this.#options.place();
      const clear = this.#announced === undefined || !isSame(this.#announced, place.address);
      const jobs = services.map((service) => this.#announce(service, place.address, clear));
      const put = this.#keepsRecord(place) ? this.#putRecord() : Promise.resolve();
      // Waited for below; when an announcement fails first, nobody else would hear of its failure.
      put.catch(() => {});
      const storers = Math.min(...(await Promise.all(jobs)));
      this.#announced = place.address;
      await put;
      // Stored with itself alone, nobody finds it: that is no success to speak of.
      if (this.#options.node.status().kind !== 'connected')
        log.debug({ services }, 'announced to itself alone');
      else if (this.#status.failures > 0 || !this.#isToldOf) {
        this.#isToldOf = true;
        log.info({ services, storers, address: place.address }, 'announced in the DHT');
      }
      this.#status = { storedAtMs: clock.monotonicMs(), storers, failures: 0, reason: null };
      return intervalMs * (1 - JITTER + 2 * JITTER * random());
    } catch (cause) {
      const reason = messageOf(cause);
      const failures = this.#status.failures + 1;
      this.#status = { ...this.#status, failures, reason };
      // The first ones are normal at a start, when nobody is joined yet.
      if (failures === 4) log.warn({ services, reason }, 'cannot announce: others do not find this worker');
      else log.debug({ services, reason, failures }, 'announcing failed');
      return Math.min(MAX_RETRY_MS, intervalMs, 250 * 2 ** Math.min(failures, 10)) * (0.5 + random() / 2);
    }
  }

  #announce(service: string, address: HostPort | null, clear: boolean): Promise<number> {
    const addresses = address === null ? [] : [address];
    return this.#options.node.announce(this.#topic(service), this.#options.keyPair, addresses, {
      clear,
      proof: this.#options.certificate(),
    });
  }

  /** Who is announced without an address, or may not be reached by it, must have its record where all can read. */
  #keepsRecord(place: AnnouncedAddress): boolean {
    return place.address === null || place.hasTunnel;
  }

  /** Rejects when the record is not in the DHT afterwards: a put resolves also when every node refused it. */
  async #putRecord(): Promise<void> {
    const { clock, keyPair, node } = this.#options;
    const value = this.#options.sealRecord(MAX_PUT_BYTES);
    const { onOtherRecord } = this.#options;
    if (onOtherRecord !== undefined) {
      const standing = await node.mutableGet(keyPair.publicKey, 0);
      if (standing !== null && standing.seq !== this.#lastSeq) onOtherRecord(standing.value);
    }
    for (let tries = 1; tries <= 2; tries += 1) {
      const seq = Math.max(Math.floor(clock.unixMs()), this.#lastSeq + 1);
      await node.mutablePut(keyPair, value, seq);
      this.#lastSeq = seq;
      const stored = await node.mutableGet(keyPair.publicKey, seq);
      if (stored !== null && stored.seq === seq) return;
      // A former life with a clock ahead of ours left a higher number: go above it.
      if (stored !== null) this.#lastSeq = Math.max(this.#lastSeq, stored.seq);
    }
    throw new Error('the DHT did not take the record');
  }

  #topic(service: string): Buffer {
    return topicOf(
      this.#options.topicKey,
      service,
      shardOf(this.#options.keyPair.publicKey, this.#options.shards),
    );
  }
}

function isSame(a: HostPort | null, b: HostPort | null): boolean {
  return a === b || (a !== null && b !== null && a.host === b.host && a.port === b.port);
}
