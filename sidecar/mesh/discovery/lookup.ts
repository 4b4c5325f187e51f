/**
 * One lookup of one service: ask the DHT who announces it, and fetch their records as they come in.
 *
 * A bounded random sample, not a roster: each storing node answers with 20 announcements at random, a router needs a
 * fair few and not all, and thousands of sidecars must not each ask thousands.
 */

import type { HostPort } from '../../core/host-port.ts';
import type { PeerTable } from '../../core/peers/peer-table.ts';
import { isServiceName } from '../../core/service-name.ts';
import type { Clock } from '../clock.ts';
import type { Announcement, DhtNode } from '../dht/node.ts';
import { shuffledShards, topicOf } from '../dht/topic.ts';
import type { FetchOutcome, RecordFetcher, RecordSource } from './record-fetcher.ts';

export interface LookupOptions {
  readonly node: Pick<DhtNode, 'lookup'>;
  readonly table: PeerTable;
  readonly fetcher: RecordFetcher;
  readonly topicKey: Buffer;
  /** This worker's own key, as it is now: its announcements come back too. */
  readonly own: { readonly keyHex: string };
  readonly clock: Clock;
  /** [0, 1). */
  readonly random: () => number;
  readonly shards: number;
  /** Peers wanted per service. */
  readonly sampleSize: number;
  /** The record of a known peer is not fetched again while it is younger. */
  readonly recordMaxAgeMs: number;
  /** Whether announced VPN addresses can be reached from here; else the DHT is asked first. */
  readonly hasVpn: () => boolean;
  /** Which announced addresses may be asked: an announcement is a request to connect somewhere. */
  readonly mayAsk: (address: HostPort) => boolean;
  /** Our own key was announced from this address. */
  readonly onOwnKey?: (address: HostPort) => void;
}

type Failure = FetchOutcome | 'banned' | 'address_refused';

/** What a lookup saw, for the one who asks why there is nobody. */
export interface LookupReport {
  /** Different workers that were announced, this one not counted. */
  readonly announced: number;
  /** Of these, how many are in the table now with a record that is young enough. */
  readonly usable: number;
  readonly failures: Readonly<Partial<Record<Failure, number>>>;
}

/** Shards asked at once; more only while nobody was found. */
const SHARDS_PER_LOOKUP = 2;

/** Of a record that does not name the service, or another address. */
const UNNAMED_MAX_AGE_MS = 1_000;

/** Announced beyond the room, and taken up when others have failed. */
const MAX_SPARE = 256;

/** When the sample is full, so many new peers are still let in, that a newcomer is not unknown for ever. */
const ROTATION = 4;

/**
 * Rejects when the DHT node is stopped. Resolves when the DHT has answered and all records are in or given up.
 * `isEnough`: whether further shards need not be asked; absent: once anybody is announced.
 */
export async function lookUp(
  service: string,
  options: LookupOptions,
  isEnough: (() => boolean) | null = null,
): Promise<LookupReport> {
  const order = shuffledShards(options.shards, options.random);
  const walk = new Walk(service, options);
  for (let at = 0; at < order.length; at += SHARDS_PER_LOOKUP) {
    await Promise.all(order.slice(at, at + SHARDS_PER_LOOKUP).map((shard) => walk.ask(shard)));
    if (isEnough === null ? walk.foundAny : isEnough()) break;
  }
  return await walk.end();
}

/** For the one who asks why there is nobody. */
export function describeLookup(report: LookupReport | undefined): string {
  if (report === undefined || report.announced === 0) return 'No worker announces this service.';
  const why = Object.entries(report.failures).map(
    ([name, count]) => `${count} ${FAILURE_WORDS[name as keyof typeof FAILURE_WORDS]}`,
  );
  const who = report.announced === 1 ? '1 worker announces' : `${report.announced} workers announce`;
  return `${who} this service and none can be used: ${why.join(', ') || 'not offered in any record'}.`;
}

const FAILURE_WORDS: Readonly<Record<Failure, string>> = {
  ok: 'well',
  unreachable: 'could not be reached for its record',
  held_back: 'was asked in vain just now, or stands where too many are announced',
  not_in_dht: 'has no record in the DHT',
  wrong_worker: 'has another worker at its address now',
  gone: 'has left',
  bad_record: 'has a record that does not verify (clock, certificate)',
  banned: 'did not answer a moment ago',
  address_refused: 'announces an address outside vpn.cidr',
};

class Walk {
  readonly #service: string;
  readonly #options: LookupOptions;
  readonly #seen = new Set<string>();
  readonly #jobs = new Set<Promise<void>>();
  readonly #spare: Announcement[] = [];
  readonly #failures: Partial<Record<Failure, number>> = {};
  #usable = 0;
  #room: number;

  constructor(service: string, options: LookupOptions) {
    this.#service = service;
    this.#options = options;
    const known = options.table.offering(service).length;
    this.#room = Math.max(ROTATION, options.sampleSize - known);
  }

  get foundAny(): boolean {
    return this.#seen.size > 0;
  }

  async ask(shard: number): Promise<void> {
    for await (const announcement of this.#options.node.lookup(
      topicOf(this.#options.topicKey, this.#service, shard),
    )) {
      this.#take(announcement);
    }
  }

  async end(): Promise<LookupReport> {
    while (this.#jobs.size > 0) await Promise.all(this.#jobs);
    return { announced: this.#seen.size, usable: this.#usable, failures: this.#failures };
  }

  #take({ publicKey, addresses }: Announcement): void {
    const key = publicKey.toString('hex');
    if (key === this.#options.own.keyHex) {
      const [place] = addresses;
      if (place !== undefined) this.#options.onOwnKey?.(place);
      return;
    }
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    this.#fetch(key, addresses, publicKey);
  }

  #fetch(key: string, addresses: Announcement['addresses'], publicKey: Buffer): void {
    const nowMs = this.#options.clock.monotonicMs();
    if (this.#options.table.isBanned(key, nowMs)) {
      this.#failed('banned');
      return;
    }
    if (nowMs - this.#options.fetcher.fetchedAtMs(key) < this.#maxAgeMs(key, addresses[0])) {
      this.#usable += 1;
      return;
    }
    const address = addresses[0];
    if (address !== undefined && !this.#options.mayAsk(address)) {
      this.#failed('address_refused');
      return;
    }
    const takesRoom = this.#options.table.get(key)?.endpoint(this.#service) === undefined;
    if (takesRoom && this.#room <= 0) {
      if (this.#spare.length < MAX_SPARE) this.#spare.push({ publicKey, addresses });
      return;
    }
    if (takesRoom) this.#room -= 1;
    const job = this.#options.fetcher.fetch(key, this.#sourcesOf(address)).then((outcome) => {
      this.#jobs.delete(job);
      if (outcome === 'ok') this.#usable += 1;
      else this.#failed(outcome);
      if (outcome !== 'ok' && takesRoom) this.#roomAgain();
    });
    this.#jobs.add(job);
  }

  /** Whoever cannot be had takes nobody's place. */
  #roomAgain(): void {
    this.#room += 1;
    const next = this.#spare.shift();
    if (next !== undefined) this.#fetch(next.publicKey.toString('hex'), next.addresses, next.publicKey);
  }

  /** A record that does not name what its worker announces, or where it is announced, may have changed since. */
  #maxAgeMs(key: string, address: HostPort | undefined): number {
    const { recordMaxAgeMs, table } = this.#options;
    const known = table.get(key)?.record;
    if (known === undefined) return recordMaxAgeMs;
    const isNamed = !isServiceName(this.#service) || known.services.includes(this.#service);
    const isThere = address === undefined || known.vpn_ip === address.host;
    return isNamed && isThere ? recordMaxAgeMs : Math.min(recordMaxAgeMs, UNNAMED_MAX_AGE_MS);
  }

  /** A worker with VPN and tunnel is announced by its VPN address, and has its record in the DHT as well. */
  #sourcesOf(address: HostPort | undefined): RecordSource[] {
    const inDht: RecordSource = { kind: 'dht' };
    if (address === undefined) return [inDht];
    const atPeer: RecordSource = { kind: 'address', address };
    return this.#options.hasVpn() ? [atPeer, inDht] : [inDht, atPeer];
  }

  #failed(why: Failure): void {
    this.#failures[why] = (this.#failures[why] ?? 0) + 1;
  }
}
