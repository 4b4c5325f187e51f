/**
 * Gauges: the values that are read at a scrape rather than pushed, and where they are read.
 *
 * Pull instead of push, so that nothing on the request path pays for a gauge and none can go stale.
 */
import type { WorkerState } from '../core/peers/record.ts';
import { type BoundedLabels, DHT_STATES, type DhtState, PEER_STATES, type PeerStateLabel } from './labels.ts';
import type { Series } from './series.ts';

export interface CachedService {
  readonly service: string;
  /** Since the view was last refreshed; Infinity when it never was. */
  readonly ageMs: number;
  readonly peers: number;
}

/** The finger cache's own counts: it is the one who knows what is a hit. */
export interface CacheFigures {
  readonly hits: number;
  readonly misses: number;
  readonly lookups: number;
  /** Services found at least once. */
  readonly size: number;
  /** Those asked for within the TTL: the others age by design, which is no news. */
  readonly services: Iterable<CachedService>;
}

export interface ServiceSlots {
  readonly service: string;
  readonly inFlight: number;
  readonly queued: number;
  /** 0 = not limited. */
  readonly concurrency: number;
}

/** Where gauges are read at each scrape. A source that throws leaves its gauges without a value. */
export interface GaugeSources {
  readonly cache: () => CacheFigures;
  readonly peers: () => Readonly<Record<PeerStateLabel, number>>;
  readonly load: () => {
    readonly loadRatio: number;
    readonly bySource: Readonly<Record<string, number | null>>;
  };
  readonly services: () => Iterable<ServiceSlots>;
  readonly dht: () => { readonly kind: DhtState; readonly nodes: number; readonly rejectedDatagrams: number };
  readonly state: () => WorkerState;
  readonly ready: () => boolean;
  /** End of the own certificate, Unix ms. */
  readonly certificateEndsMs: () => number;
}

const WORKER_STATES: readonly WorkerState[] = ['warming', 'ready', 'draining'];

/** What `source` says now, or null where it is not there or throws: a scrape must always answer. */
export function readSource<T>(source: (() => T) | undefined): T | null {
  if (source === undefined) return null;
  try {
    return source();
  } catch {
    return null;
  }
}

/** Copies every source into its gauges; what is not there now has no value rather than the last one. */
export function refreshGauges(series: Series, sources: Partial<GaugeSources>, services: BoundedLabels): void {
  refreshCache(series, readSource(() => [...(sources.cache?.().services ?? [])]) ?? [], services);
  refreshSlots(series, readSource(() => [...(sources.services?.() ?? [])]) ?? [], services);

  series.peers.reset();
  const peers = readSource(sources.peers);
  if (peers !== null) for (const state of PEER_STATES) set(series.peers.labels({ state }), peers[state]);

  series.load.reset();
  series.loadBySource.reset();
  const load = readSource(sources.load);
  if (load !== null) {
    set(series.load, load.loadRatio);
    for (const [source, ratio] of Object.entries(load.bySource)) {
      if (ratio !== null) set(series.loadBySource.labels({ source }), ratio);
    }
  }

  series.dhtState.reset();
  const dht = readSource(sources.dht);
  if (dht !== null) {
    set(series.dhtNodes, dht.nodes);
    for (const state of DHT_STATES) set(series.dhtState.labels({ state }), dht.kind === state ? 1 : 0);
    series.dhtRejected.reset();
    series.dhtRejected.inc(dht.rejectedDatagrams);
  }

  series.workerState.reset();
  const worker = readSource(sources.state);
  if (worker !== null) {
    for (const state of WORKER_STATES) set(series.workerState.labels({ state }), worker === state ? 1 : 0);
  }

  const endsMs = readSource(sources.certificateEndsMs);
  series.certificateEnds.reset();
  if (endsMs !== null) set(series.certificateEnds, endsMs / 1000);
  set(series.ready, readSource(sources.ready) === true ? 1 : 0);
}

function refreshCache(series: Series, cached: readonly CachedService[], services: BoundedLabels): void {
  series.cacheAge.reset();
  series.cachePeers.reset();
  for (const { service, ageMs, peers } of cached) {
    // A view without peers may be of a name that nobody offers: no series for it.
    const label = peers > 0 ? services.admit(service) : services.labelOf(service);
    if (label === 'unknown' || label === 'other') continue;
    set(series.cacheAge.labels({ service: label }), ageMs / 1000);
    set(series.cachePeers.labels({ service: label }), peers);
  }
}

function refreshSlots(series: Series, slots: readonly ServiceSlots[], services: BoundedLabels): void {
  series.workerInFlight.reset();
  series.workerQueued.reset();
  series.workerConcurrency.reset();
  for (const { service, inFlight, queued, concurrency } of slots) {
    const label = services.admit(service);
    set(series.workerInFlight.labels({ service: label }), inFlight);
    set(series.workerQueued.labels({ service: label }), queued);
    set(series.workerConcurrency.labels({ service: label }), concurrency);
  }
}

/** prom-client throws on what is not finite; a gauge without a value is the honest answer then. */
function set(gauge: { set(value: number): void }, value: number): void {
  if (Number.isFinite(value)) gauge.set(value);
}
