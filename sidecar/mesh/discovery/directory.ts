/**
 * The directory: who offers a service, at once from the cache, else after one shared lookup.
 *
 * What `find` answers without waiting is a plain value and not a promise, because nearly every request goes that way
 * and must not pay for the few that wait. Nobody waits longer than for the first peer that was reached; a lookup that brings
 * nothing leaves the older view in place.
 */
import { BoundedCache } from '../../core/bounded-cache.ts';
import type { Log } from '../../core/log.ts';
import { type FingerCache, type FingerCounters, UnknownBudget } from '../../core/peers/finger-cache.ts';
import type { Peer } from '../../core/peers/peer.ts';
import { isProved } from '../../core/peers/route-order.ts';
import { within } from '../clock.ts';
import type { DhtNode } from '../dht/node.ts';
import { type Fits, FittingSearch } from './fitting-search.ts';
import type { KnownPeer } from './known-nodes.ts';
import { LastKnown } from './last-known.ts';
import { describeLookup, type LookupOptions, type LookupReport, lookUp } from './lookup.ts';
import { sourcesOf } from './record-fetcher.ts';

/** The peers are those of the table: their array must not be changed or kept. */
export type Found = { readonly kind: 'hit'; readonly peers: readonly Peer[]; readonly ageMs: number };

export type DirectoryLookup =
  | Found
  /** `detail` says what was seen, for the one who reads the 503. */
  | { readonly kind: 'none'; readonly code: 'no_peers' | 'discovery_unavailable'; readonly detail: string };

export type Finding = Found | { readonly kind: 'wait'; readonly ready: Promise<DirectoryLookup> };

export interface DirectoryOptions extends LookupOptions {
  readonly node: Pick<DhtNode, 'lookup' | 'status' | 'onStatus'>;
  readonly cache: FingerCache;
  readonly ttlMs: number;
  /** The longest that a request waits for its first peer. */
  readonly firstLookupWaitMs: number;
  /** Whether a peer can be reached, whose record has come by no route of its own. Must not reject. */
  readonly prove: (peer: Peer) => Promise<boolean>;
  /** From the last run; asked for their records beside the first lookup of their services. */
  readonly lastKnown: readonly KnownPeer[];
  readonly log: Log;
}

interface Flight {
  isLanded: boolean;
  readonly over: Promise<void>;
  /** Settles at the first peer that was reached, or at the end. */
  readonly ready: Promise<void>;
  readonly landed: () => void;
}

/** Names of services are chosen by apps. */
const MAX_REPORTS = 1_000;

const TOO_MANY_UNKNOWN: DirectoryLookup = {
  kind: 'none',
  code: 'no_peers',
  detail:
    'It was not looked up: this app has asked for too many services that nobody offers. In a second it may ask again.',
};

/** Between two lookups for requests that found nobody alive: at first, and at most, as often as in the background. */
const FIRST_PAUSE_MS = 500;

interface Pause {
  untilMs: number;
  nextMs: number;
}

export class Directory {
  readonly #options: DirectoryOptions;
  readonly #flights = new Map<string, Flight>();
  readonly #unknown = new UnknownBudget();
  /** Why there is nobody, by service. */
  readonly #lastReports = new BoundedCache<string, LookupReport>(MAX_REPORTS, () => {});
  /** After lookups that changed nothing for requests without anybody to go to. */
  readonly #pauses = new BoundedCache<string, Pause>(MAX_REPORTS, () => {});
  readonly #lastKnown: LastKnown;
  readonly #fitting: FittingSearch;
  /** Peers of which it is being found out whether they can be reached. */
  readonly #proving = new Map<Peer, Promise<void>>();
  #cancelTick = (): void => {};
  #stopped = false;

  constructor(options: DirectoryOptions) {
    this.#options = options;
    this.#lastKnown = new LastKnown({
      ...options,
      peers: options.lastKnown,
      isDhtReachable: () => options.node.status().kind !== 'unreachable',
    });
    this.#fitting = new FittingSearch({ ...options, onEnded: (service) => this.#trim(service) });
    options.fetcher.onRecord((record) => {
      const peer = options.table.get(record.public_key);
      if (peer !== undefined) this.#prove(peer);
      for (const service of record.services) this.#arrived(service);
    });
  }

  get counters(): FingerCounters {
    return this.#options.cache.counters;
  }

  /** Services found at least once: `cache_size`. */
  get size(): number {
    return this.#options.cache.size;
  }

  /** Begins the background refresh. */
  start(): void {
    const { clock, cache, table, ttlMs } = this.#options;
    const tick = (): void => {
      const nowMs = clock.monotonicMs();
      for (const service of cache.due(nowMs)) this.#launch(service);
      table.sweep(nowMs);
      this.#cancelTick = clock.after(Math.min(1_000, Math.max(20, ttlMs / 8)), tick);
    };
    tick();
  }

  /** Those who wait get what there is; nothing is looked up afterwards. */
  stop(): void {
    this.#stopped = true;
    this.#cancelTick();
    for (const flight of this.#flights.values()) flight.landed();
    this.#fitting.stop();
  }

  /** For a request of this app, and counted as one. `nowMs` is monotonic. `ready` never rejects. */
  find(service: string, nowMs: number, app: string | null = null): Finding {
    const peers = this.#options.table.offering(service);
    if (peers.length === 0 && !this.#mayLookUp(service, app, nowMs)) {
      return { kind: 'wait', ready: Promise.resolve(TOO_MANY_UNKNOWN) };
    }
    const { state, lookup } = this.#options.cache.ask(service, peers.length, nowMs);
    if (state.kind === 'fresh') return { kind: 'hit', peers, ageMs: state.ageMs };
    if (lookup) this.#launch(service);
    // Peers known by an older view, or through another service, are good while one of them was heard lately
    // or nothing better can come. Else they may be long gone: a lookup is cheaper than a dead connect.
    const isHeard = this.#anyHeard(service, peers, nowMs);
    // A first view: the end of its lookup, which dead nodes delay, must not cost the next request a miss.
    if (isHeard && state.kind === 'missing') this.#options.cache.found(service, nowMs);
    if (peers.length > 0 && (!this.#canHope(service) || isHeard)) {
      return { kind: 'hit', peers, ageMs: state.kind === 'stale' ? state.ageMs : 0 };
    }
    const flight = this.#flights.get(service);
    if (flight === undefined) return { kind: 'wait', ready: Promise.resolve(this.#outcome(service)) };
    const ready = within(this.#options.clock, this.#options.firstLookupWaitMs, flight.ready, undefined);
    return { kind: 'wait', ready: ready.then(() => this.#outcome(service)) };
  }

  /**
   * The view once a peer is known that fits, or once all who can be found were asked in vain; `wish` names what fits.
   * Waits no longer than a first lookup. Never rejects.
   */
  async search(service: string, wish: string, fits: Fits): Promise<DirectoryLookup> {
    const { clock, firstLookupWaitMs } = this.#options;
    await within(clock, firstLookupWaitMs, this.#fitting.begin(service, wish, fits), undefined);
    return this.#outcome(service);
  }

  /**
   * None of those that are known can be reached: the view once one can, or once a lookup has ended. A worker that was
   * replaced, or has another address, is in the DHT long before the view is due. Never rejects.
   */
  async lookUpAnew(service: string): Promise<DirectoryLookup> {
    const { clock, firstLookupWaitMs, ttlMs } = this.#options;
    const nowMs = clock.monotonicMs();
    const pause = this.#pauses.get(service);
    if (!this.#flights.has(service) && (pause === undefined || pause.untilMs <= nowMs)) {
      const pauseMs = pause?.nextMs ?? FIRST_PAUSE_MS;
      const next = { untilMs: nowMs + pauseMs, nextMs: Math.min(2 * pauseMs, ttlMs / 2) };
      this.#pauses.set(service, next);
      this.#launch(service);
    }
    const flight = this.#flights.get(service);
    if (flight !== undefined) {
      const until = flight.isLanded ? flight.over : flight.ready;
      await within(clock, firstLookupWaitMs, until, undefined);
    }
    const peers = this.#options.table.offering(service);
    if (peers.some((peer) => peer.isReachable(service, clock.monotonicMs()))) this.#pauses.delete(service);
    return this.#outcome(service);
  }

  /** How old the view of a service is, for those who only look; not counted. null = never found. */
  ageMs(service: string, nowMs: number): number | null {
    const state = this.#options.cache.state(service, this.#options.table.offering(service).length, nowMs);
    return state.kind === 'fresh' || state.kind === 'stale' ? state.ageMs : null;
  }

  /** The present view in the form that is kept for the next start. */
  view(): KnownPeer[] {
    const view: KnownPeer[] = [];
    for (const { record } of this.#options.table.all()) {
      const { vpn_ip: host, inbound_port: port } = record;
      view.push({
        key: record.public_key,
        services: record.services,
        address: host !== null && port !== null ? { host, port } : null,
        tunnelUrl: record.tunnel_url,
      });
    }
    return view.length > 0 ? view : [...this.#lastKnown.peers];
  }

  /** A peer has started anew, or was dropped wrongly: fetch its record from where it stands. */
  async refetch(peer: Peer): Promise<void> {
    const { vpn_ip: host, inbound_port: port, tunnel_url: url } = peer.record;
    await this.#options.fetcher.fetch(
      peer.key,
      sourcesOf(host !== null && port !== null ? { host, port } : null, url),
    );
  }

  /** Always, but for names that were never found: of those an app has a budget. */
  #mayLookUp(service: string, app: string | null, nowMs: number): boolean {
    const { cache } = this.#options;
    if (this.#flights.has(service) || cache.wasFound(service)) return true;
    return cache.state(service, 0, nowMs).kind === 'empty' || this.#unknown.take(app, nowMs);
  }

  #launch(service: string): void {
    if (this.#stopped || this.#flights.has(service)) return;
    const { clock, cache } = this.#options;
    let landed = (): void => {};
    const ready = new Promise<void>((resolve) => {
      landed = () => {
        flight.isLanded = true;
        resolve();
      };
    });
    cache.began(service, clock.monotonicMs());
    const over = this.#fly(service).then((outcome) => {
      cache.ended(service, outcome, clock.monotonicMs());
      this.#flights.delete(service);
      landed();
    });
    const flight: Flight = { isLanded: false, ready, landed, over };
    this.#flights.set(service, flight);
  }

  /** Never rejects. */
  async #fly(service: string): Promise<'found' | 'empty' | 'failed'> {
    const { log, node, table } = this.#options;
    const remembered = this.#lastKnown.ask(service);
    try {
      if (node.status().kind === 'unreachable') await this.#untilReachable();
      const report = await lookUp(service, this.#options);
      await remembered;
      await this.#untilProved(service);
      this.#lastReports.set(service, report);
      const unreachable = node.status().kind === 'unreachable';
      const peers = table.offering(service).length;
      const outcome = report.usable > 0 && peers > 0 ? 'found' : unreachable ? 'failed' : 'empty';
      log.debug({ service, outcome, peers, ...report }, 'lookup done');
      if (outcome === 'found') this.#trim(service);
      return outcome;
    } catch (cause) {
      log.debug({ service, reason: String(cause) }, 'lookup failed');
      await remembered;
      return 'failed';
    }
  }

  #prove(peer: Peer): void {
    if (isProved(peer.routes) || peer.routes.length === 0 || this.#proving.has(peer)) return;
    const proving = this.#options.prove(peer).then(() => {
      this.#proving.delete(peer);
      for (const { service } of peer.endpoints()) this.#arrived(service);
    });
    this.#proving.set(peer, proving);
  }

  /** Somebody was reached, or all were asked that might be. */
  async #untilProved(service: string): Promise<void> {
    const { clock, firstLookupWaitMs, table } = this.#options;
    const peers = table.offering(service);
    if (peers.some((peer) => peer.isReachable(service, clock.monotonicMs()))) return;
    const asked = Promise.all(peers.map((peer) => this.#proving.get(peer))).then(() => {});
    await within(clock, firstLookupWaitMs, asked, undefined);
  }

  /** Returns also when it took too long: then the lookup fails, and says so. */
  async #untilReachable(): Promise<void> {
    const { clock, firstLookupWaitMs, node } = this.#options;
    let off = (): void => {};
    const reached = new Promise<void>((resolve) => {
      off = node.onStatus((status) => {
        if (status.kind !== 'unreachable') resolve();
      });
    });
    await within(clock, firstLookupWaitMs, reached, undefined);
    off();
  }

  #arrived(service: string): void {
    this.#fitting.arrived(service);
    const flight = this.#flights.get(service);
    if (flight === undefined) return;
    // Who is still warming, or leaving, or out of reach, is no answer to a request that waits; the end of the lookup is.
    const nowMs = this.#options.clock.monotonicMs();
    if (!this.#options.table.offering(service).some((peer) => peer.isReachable(service, nowMs))) return;
    this.#options.cache.found(service, nowMs);
    flight.landed();
  }

  #outcome(service: string): DirectoryLookup {
    const { cache, clock, node, table } = this.#options;
    const peers = table.offering(service);
    const nowMs = clock.monotonicMs();
    const state = cache.state(service, peers.length, nowMs);
    if (peers.length > 0) {
      return { kind: 'hit', peers, ageMs: 'ageMs' in state && state.kind !== 'empty' ? state.ageMs : 0 };
    }
    const { kind, hint } = node.status();
    if (kind === 'unreachable') return { kind: 'none', code: 'discovery_unavailable', detail: hint };
    const detail = `${describeLookup(this.#lastReports.get(service))} ${hint}`;
    return { kind: 'none', code: 'no_peers', detail };
  }

  /** More than the sample: let go of those that were not heard for longest and have nothing of mine. */
  #trim(service: string): void {
    const { sampleSize, table } = this.#options;
    const surplus = table.offering(service).length - sampleSize;
    if (surplus <= 0) return;
    const kept = this.#fitting.kept(service);
    const idle = table
      .offering(service)
      .filter((peer) => peer.endpoint(service)?.outstanding === 0 && !kept.has(peer));
    idle.sort((a, b) => a.heardAtMs - b.heardAtMs);
    for (const peer of idle.slice(0, surplus)) table.dropService(peer.key, service);
  }

  /** A lookup is under way, and somebody may answer it. */
  #canHope(service: string): boolean {
    return this.#flights.has(service) && this.#options.node.status().kind !== 'unreachable';
  }

  /** One that can take a request was heard within the TTL. */
  #anyHeard(service: string, peers: readonly Peer[], nowMs: number): boolean {
    return peers.some(
      (peer) => peer.isReachable(service, nowMs) && nowMs - peer.heardAtMs < this.#options.ttlMs,
    );
  }
}
