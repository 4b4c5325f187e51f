/**
 * Fetching records: from where a peer stands, or from the DHT, checked and put into the peer table.
 *
 * One place for all who need a record (a lookup, a probe that saw a restart, the last-known-good view), so that a peer
 * is asked once however many services brought it up, and so that nothing enters the table that was not signed by the
 * key it was announced under.
 */

import { formatHostPort, type HostPort } from '../../core/host-port.ts';
import { baseUrlOf } from '../../core/http/base-url.ts';
import type { Log } from '../../core/log.ts';
import type { Certificate } from '../../core/peers/certificate.ts';
import type { Peer } from '../../core/peers/peer.ts';
import type { PeerTable } from '../../core/peers/peer-table.ts';
import type { WorkerRecord } from '../../core/peers/record.ts';
import { type Route, routeAddress } from '../../core/peers/route.ts';
import type { Clock } from '../clock.ts';
import type { DhtNode } from '../dht/node.ts';
import { FetchBudget } from './fetch-budget.ts';

/** `GET /record` of an inbound listener or below a tunnel URL. Rejects when there is no 200 in time. */
export type FetchRecord = (
  from: HostPort | string,
  expectedKeyHex: string | null,
  signal: AbortSignal,
) => Promise<Buffer>;

/**
 * Decrypts and checks the bytes of a record: signature, certificate, and that its time is at most `maxSkewMs`
 * from now, as far as known by the clock of the worker with `keyHex`. Never throws.
 */
export type OpenRecord = (
  bytes: Buffer,
  maxSkewMs: number,
  keyHex: string,
) =>
  | {
      readonly kind: 'ok';
      readonly record: WorkerRecord;
      readonly certificate: Pick<Certificate, 'notAfter'>;
    }
  | { readonly kind: 'bad'; readonly reason: string; readonly detail: string };

export type RecordSource =
  | { readonly kind: 'address'; readonly address: HostPort }
  | { readonly kind: 'tunnel'; readonly url: string }
  /** The mutable value that a worker with a tunnel or without VPN keeps in the DHT. */
  | { readonly kind: 'dht' };

/** All ways to the record of a peer whose addresses are known, the surest first. */
export function sourcesOf(address: HostPort | null, tunnelUrl: string | null): RecordSource[] {
  const sources: RecordSource[] = [];
  if (address !== null) sources.push({ kind: 'address', address });
  if (tunnelUrl !== null) sources.push({ kind: 'tunnel', url: tunnelUrl });
  sources.push({ kind: 'dht' });
  return sources;
}

/** The route that a record has come by; undefined for one from the DHT, which proves none. */
function routeBy({ routes }: Peer, source: RecordSource): Route | undefined {
  switch (source.kind) {
    case 'address':
      return routes.find(
        ({ kind, host, port }) =>
          kind === 'vpn' && host === source.address.host && port === source.address.port,
      );
    case 'tunnel':
      return routes.find((route) => route.kind === 'tunnel' && routeAddress(route) === addressOf(source.url));
    case 'dht':
      return undefined;
  }
}

/** As that of a route. */
function addressOf(url: string): string | null {
  const parsed = URL.parse(url);
  return parsed === null ? null : routeAddress(baseUrlOf(parsed));
}

/** Why there is no record; `ok` means that it is in the table, now or since before. */
export type FetchOutcome =
  | 'ok'
  | 'unreachable'
  | 'held_back'
  | 'not_in_dht'
  | 'wrong_worker'
  | 'gone'
  | 'bad_record';

export interface RecordFetcherOptions {
  readonly node: Pick<DhtNode, 'mutableGet'>;
  readonly table: PeerTable;
  readonly fetchRecord: FetchRecord;
  readonly openRecord: OpenRecord;
  /** Whether a peer may be there: whoever names an address asks us to connect to it. */
  readonly mayAsk: (address: HostPort) => boolean;
  /** That of a record which the table took holds so long, Unix ms. */
  readonly onCertificate: (keyHex: string, endsMs: number) => void;
  readonly clock: Clock;
  readonly log: Log;
  readonly timeoutMs: number;
  /** For a record that the peer itself made just now, with its clock known from its response. */
  readonly maxSkewMs: number;
  /**
   * A record in the DHT may be so old; its `seq` is the Unix ms of its making. Nobody can be asked what time it is
   * where it was made, so this allows for clocks that differ, and what is too old shows when its address is tried.
   */
  readonly mutableMaxAgeMs: number;
}

export class RecordFetcher {
  readonly #options: RecordFetcherOptions;
  readonly #running = new Map<string, Promise<FetchOutcome>>();
  readonly #fetchedAtMs = new Map<string, number>();
  readonly #listeners = new Set<(record: WorkerRecord) => void>();
  readonly #stop = new AbortController();
  readonly #budget = new FetchBudget();
  #rejected = 0;

  constructor(options: RecordFetcherOptions) {
    this.#options = options;
  }

  /** Records that did not verify, since the start. */
  get rejectedRecords(): number {
    return this.#rejected;
  }

  /** Called for each verified record that the table took. */
  onRecord(listener: (record: WorkerRecord) => void): void {
    this.#listeners.add(listener);
  }

  /** Monotonic ms of the last successful fetch of a peer that is still in the table; -Infinity for never. */
  fetchedAtMs(keyHex: string): number {
    if (this.#options.table.get(keyHex) === undefined) return Number.NEGATIVE_INFINITY;
    return this.#fetchedAtMs.get(keyHex) ?? Number.NEGATIVE_INFINITY;
  }

  /**
   * Tries the sources in their order until one gives a record that the table takes; the outcome is that of
   * the first source otherwise. Never rejects. Concurrent calls for one key share one fetch.
   */
  fetch(keyHex: string, sources: readonly RecordSource[]): Promise<FetchOutcome> {
    const running = this.#running.get(keyHex);
    if (running !== undefined) return running;
    const fetch = this.#fetchAny(keyHex, sources).finally(() => this.#running.delete(keyHex));
    this.#running.set(keyHex, fetch);
    return fetch;
  }

  stop(): void {
    this.#stop.abort();
    this.#listeners.clear();
  }

  async #fetchAny(keyHex: string, sources: readonly RecordSource[]): Promise<FetchOutcome> {
    let first: FetchOutcome | null = null;
    for (const source of sources) {
      const outcome = await this.#fetch(keyHex, source);
      if (outcome === 'ok' || outcome === 'gone') return outcome;
      first ??= outcome;
    }
    return first ?? 'unreachable';
  }

  /** Who is known may be asked at any time; what is only announced has a budget. */
  async #fetch(keyHex: string, source: RecordSource): Promise<FetchOutcome> {
    const { clock, table } = this.#options;
    if (source.kind !== 'address' || table.get(keyHex) !== undefined) return await this.#ask(keyHex, source);
    const ended = this.#budget.begin(keyHex, source.address, clock.monotonicMs());
    if (ended === null) return 'held_back';
    const outcome = await this.#ask(keyHex, source);
    ended(outcome === 'ok', clock.monotonicMs());
    return outcome;
  }

  async #ask(keyHex: string, source: RecordSource): Promise<FetchOutcome> {
    let bytes: Buffer | null;
    if (source.kind === 'address' && !this.#options.mayAsk(source.address)) return 'unreachable';
    try {
      bytes = source.kind === 'dht' ? await this.#fromDht(keyHex) : await this.#fromPeer(keyHex, source);
    } catch (cause) {
      this.#options.log.debug({ peer: keyHex, source, reason: String(cause) }, 'no record from a peer');
      return 'unreachable';
    }
    if (this.#stop.signal.aborted) return 'gone';
    if (bytes === null) return 'not_in_dht';
    const { maxSkewMs, mutableMaxAgeMs } = this.#options;
    const opened = this.#options.openRecord(
      bytes,
      source.kind === 'dht' ? mutableMaxAgeMs : maxSkewMs,
      keyHex,
    );
    if (opened.kind === 'bad') {
      this.#rejected += 1;
      const { reason, detail } = opened;
      this.#options.log.warn({ peer: keyHex, source, reason, detail }, 'a record was refused');
      return 'bad_record';
    }
    // Another worker may stand at an address by now; who was announced is not there.
    if (opened.record.public_key !== keyHex) return 'wrong_worker';
    const outcome = this.#apply(this.#reachable(opened.record), source);
    if (outcome === 'ok') this.#options.onCertificate(keyHex, opened.certificate.notAfter * 1_000);
    return outcome;
  }

  /** Without a VPN address that is none: what is left is its tunnel, or nothing. */
  #reachable(record: WorkerRecord): WorkerRecord {
    const { vpn_ip: host, inbound_port: port, public_key: peer } = record;
    if (host === null || port === null || this.#options.mayAsk({ host, port })) return record;
    this.#options.log.warn(
      { peer, worker: record.worker_id, address: formatHostPort({ host, port }) },
      'a record names an address outside of vpn.cidr, or a port of this sidecar, as its VPN address: it is not called there',
    );
    return { ...record, vpn_ip: null, inbound_port: null };
  }

  #apply(record: WorkerRecord, source: RecordSource): FetchOutcome {
    const nowMs = this.#options.clock.monotonicMs();
    const key = record.public_key;
    // What came from the peer's own listener also proves that it lives; a copy in the DHT proves nothing.
    const outcome = this.#options.table.apply(record, source.kind === 'dht' ? 'record' : 'probe', nowMs);
    const peer = this.#options.table.get(key);
    if (outcome === 'departed' || peer === undefined) return 'gone';
    routeBy(peer, source)?.health.succeeded(nowMs);
    if (this.#fetchedAtMs.size > 4 * this.#options.table.size + 64) this.#forgetGone();
    this.#fetchedAtMs.set(key, nowMs);
    for (const listener of this.#listeners) listener(record);
    return 'ok';
  }

  async #fromPeer(keyHex: string, source: Exclude<RecordSource, { kind: 'dht' }>): Promise<Buffer> {
    const timeout = new AbortController();
    const cancel = this.#options.clock.after(this.#options.timeoutMs, () =>
      timeout.abort(new Error(`no record within ${this.#options.timeoutMs} ms`)),
    );
    try {
      const from = source.kind === 'address' ? source.address : source.url;
      return await this.#options.fetchRecord(
        from,
        keyHex,
        AbortSignal.any([timeout.signal, this.#stop.signal]),
      );
    } finally {
      cancel();
    }
  }

  async #fromDht(keyHex: string): Promise<Buffer | null> {
    const minSeq = this.#options.clock.unixMs() - this.#options.mutableMaxAgeMs;
    const found = await this.#options.node.mutableGet(Buffer.from(keyHex, 'hex'), minSeq);
    return found?.value ?? null;
  }

  #forgetGone(): void {
    for (const key of this.#fetchedAtMs.keys()) {
      if (this.#options.table.get(key) === undefined) this.#fetchedAtMs.delete(key);
    }
  }
}
