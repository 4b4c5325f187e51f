/**
 * Metrics: what happened here, counted once, read as /stats and as /metrics.
 *
 * The counts behind /stats are plain numbers that are copied to prom-client at a scrape, so the two can never disagree
 * and the hot path pays for an addition. Gauges are not pushed either: `watch` names where to read them.
 */
import { collectDefaultMetrics, Registry } from 'prom-client';
import type { Code } from '../core/errors.ts';
import { type CacheFigures, type GaugeSources, readSource, refreshGauges } from './gauges.ts';
import type { HistogramSeries } from './histogram.ts';
import {
  ALL_CODES,
  BoundedLabels,
  INPUT_KINDS,
  type InputKind,
  OUTCOMES,
  type OutcomeLabel,
  ROUTES,
  type RouteLabel,
} from './labels.ts';
import { declareSeries, type Series } from './series.ts';

/** `/stats`: exactly these keys. */
export interface StatsJson {
  readonly local_requests: number;
  readonly forwarded_requests: number;
  readonly cache_hits: number;
  readonly cache_misses: number;
  readonly dht_lookups: number;
  readonly failed_requests: number;
  readonly cache_size: number;
  /** hits / (hits + misses); 0 before the first request. */
  readonly cache_hit_rate: number;
}

export interface RequestSample {
  readonly service: string;
  /** Name of the app that asked; null or absent where it has none. */
  readonly app?: string | null;
  readonly route: RouteLabel;
  readonly outcome: OutcomeLabel;
  /** Why the sidecar answered in place of the worker; null when the worker's response went out. */
  readonly code: Code | null;
  /** null when no byte of a response was sent. */
  readonly firstByteMs: number | null;
  readonly durationMs: number;
}

export interface InboundSample {
  readonly service: string;
  readonly outcome: OutcomeLabel;
  readonly code: Code | null;
  readonly durationMs: number;
}

export interface MetricsOptions {
  readonly version: string;
  readonly workerId: string;
  /** Most service names that become label values. */
  readonly serviceLimit: number;
  /** Node's own metrics (heap, event loop, GC) too. */
  readonly processMetrics: boolean;
}

/** prom-client's gauges whose names end in `_total`, to which promtool objects. */
const MISNAMED = [
  'nodejs_active_handles_total',
  'nodejs_active_requests_total',
  'nodejs_active_resources_total',
];
/** Distinct reasons per kind of input: above what any parser here has. */
const REASON_LIMIT = 48;
/** Of the configuration come at most so many. */
const APP_LIMIT = 100;

export class Metrics {
  readonly registry = new Registry();
  readonly contentType = Registry.PROMETHEUS_CONTENT_TYPE;
  readonly #series: Series;
  readonly #services: BoundedLabels;
  readonly #apps = new BoundedLabels({ limit: APP_LIMIT });
  readonly #reasons = new BoundedLabels({ limit: REASON_LIMIT });
  readonly #latencies = new Map<string, (RequestSeries | undefined)[]>();
  readonly #inbound = new Map<string, (HistogramSeries | undefined)[]>();
  readonly #decisions: HistogramSeries;
  /** By route. */
  readonly #attempts = new Float64Array(ROUTES.length);
  #sources: Partial<GaugeSources> = {};
  #localRequests = 0;
  #forwardedRequests = 0;
  #failedRequests = 0;
  #cache: Omit<CacheFigures, 'services'> = { hits: 0, misses: 0, lookups: 0, size: 0 };
  #outboundOpen = 0;
  #inboundOpen = 0;

  constructor(options: MetricsOptions) {
    this.#services = new BoundedLabels({ limit: options.serviceLimit });
    this.#series = declareSeries(this.registry);
    this.#decisions = this.#series.decisionSeconds.series({});
    this.#series.buildInfo.set({ version: options.version, worker_id: options.workerId }, 1);
    this.#startAtZero();
    if (options.processMetrics) {
      collectDefaultMetrics({ register: this.registry });
      for (const name of MISNAMED) this.registry.removeSingleMetric(name);
    }
  }

  /** Makes `service` a label value: for services offered here or found in the mesh, never for wishes. */
  knowService(service: string): void {
    this.#services.admit(service);
  }

  /** Makes the name of an app a label value, at 0. */
  knowApp(app: string): void {
    const label = this.#apps.admit(app);
    for (const outcome of OUTCOMES) this.#series.appRequests.inc({ app: label, outcome }, 0);
  }

  /** An app's request has arrived; each ends in one `requestFinished`. */
  requestStarted(): void {
    this.#outboundOpen++;
  }

  /** Where the request goes first; once per request, however many attempts follow. */
  requestRouted(to: 'local' | 'forwarded'): void {
    if (to === 'local') this.#localRequests++;
    else this.#forwardedRequests++;
  }

  requestFinished(request: RequestSample): void {
    const { app, route, outcome, code } = request;
    this.#outboundOpen--;
    if (typeof app === 'string') this.#series.appRequests.inc({ app: this.#apps.labelOf(app), outcome });
    if (outcome === 'failed' || outcome === 'broken') this.#failedRequests++;
    if (code !== null) this.#series.answers.inc({ listener: 'outbound', code });
    // Where a worker was reached by that name, the name is real.
    const names = this.#services;
    const service = route === 'none' ? names.labelOf(request.service) : names.admit(request.service);
    const series = this.#requestSeries(service, route, outcome);
    series.duration.observe(request.durationMs / 1000);
    if (request.firstByteMs === null) return;
    series.firstByte ??= this.#series.firstByteSeconds.series({ service, route, outcome });
    series.firstByte.observe(request.firstByteMs / 1000);
  }

  /** A peer's request has arrived; each ends in one `inboundFinished`. */
  inboundStarted(): void {
    this.#inboundOpen++;
  }

  inboundFinished(request: InboundSample): void {
    this.#inboundOpen--;
    if (request.code !== null) this.#series.answers.inc({ listener: 'inbound', code: request.code });
    const service = this.#services.labelOf(request.service);
    this.#inboundSeries(service, request.outcome).observe(request.durationMs / 1000);
  }

  /** One choice took this many microseconds. */
  decided(us: number): void {
    this.#decisions.observe(us / 1e6);
  }

  attempted(route: Exclude<RouteLabel, 'none'>): void {
    this.#attempts[ROUTES.indexOf(route)]! += 1;
  }

  attemptFailed(code: Code): void {
    this.#series.failedAttempts.inc({ code });
  }

  /** Another attempt is made because one failed with `code`. */
  retried(code: Code): void {
    this.#series.retries.inc({ code });
  }

  retryRefused(): void {
    this.#series.retriesRefused.inc();
  }

  /** A request was taken back from a queue and goes elsewhere. */
  migrated(): void {
    this.#series.migratedRequests.inc();
  }

  /** Untrusted input was refused; `reason` is a code, not a text (others read `other`). */
  inputRefused(kind: InputKind, reason: string): void {
    this.#series.refusedInputs.inc({ kind, reason: this.#reasons.admit(reason) });
  }

  /** Adds places to read gauges from; a later one of the same name replaces the earlier. */
  watch(sources: Partial<GaugeSources>): void {
    this.#sources = { ...this.#sources, ...sources };
  }

  stats(): StatsJson {
    const { hits, misses, lookups, size } = this.#cacheNow();
    return {
      local_requests: this.#localRequests,
      forwarded_requests: this.#forwardedRequests,
      cache_hits: hits,
      cache_misses: misses,
      dht_lookups: lookups,
      failed_requests: this.#failedRequests,
      cache_size: size,
      cache_hit_rate: hits + misses === 0 ? 0 : hits / (hits + misses),
    };
  }

  /** The exposition in Prometheus' text format. */
  text(): Promise<string> {
    const series = this.#series;
    const cache = this.#cacheNow();
    refreshGauges(series, this.#sources, this.#services);
    for (const [counter, count] of [
      [series.localRequests, this.#localRequests],
      [series.forwardedRequests, this.#forwardedRequests],
      [series.failedRequests, this.#failedRequests],
      [series.cacheHits, cache.hits],
      [series.cacheMisses, cache.misses],
      [series.dhtLookups, cache.lookups],
    ] as const) {
      counter.reset();
      counter.inc(count);
    }
    series.attempts.reset();
    ROUTES.forEach((route, i) => {
      if (route !== 'none') series.attempts.inc({ route }, this.#attempts[i]);
    });
    series.cacheSize.set(cache.size);
    series.requestsInProgress.set({ listener: 'outbound' }, this.#outboundOpen);
    series.requestsInProgress.set({ listener: 'inbound' }, this.#inboundOpen);
    return this.registry.metrics();
  }

  /** The last known counts where the source fails: a counter that falls to 0 would read as a restart. */
  #cacheNow(): Omit<CacheFigures, 'services'> {
    this.#cache = readSource(this.#sources.cache) ?? this.#cache;
    return this.#cache;
  }

  #requestSeries(service: string, route: RouteLabel, outcome: OutcomeLabel): RequestSeries {
    const known = seriesOf(this.#latencies, service, ROUTES.length * OUTCOMES.length);
    const slot = ROUTES.indexOf(route) * OUTCOMES.length + OUTCOMES.indexOf(outcome);
    const found = known[slot];
    if (found !== undefined) return found;
    const made = {
      duration: this.#series.durationSeconds.series({ service, route, outcome }),
      firstByte: null,
    };
    known[slot] = made;
    return made;
  }

  #inboundSeries(service: string, outcome: OutcomeLabel): HistogramSeries {
    const known = seriesOf(this.#inbound, service, OUTCOMES.length);
    const slot = OUTCOMES.indexOf(outcome);
    known[slot] ??= this.#series.inboundSeconds.series({ service, outcome });
    return known[slot];
  }

  /** A series that appears with its first event has no rate for that event: the closed sets start at 0. */
  #startAtZero(): void {
    for (const kind of INPUT_KINDS) this.#series.refusedInputs.inc({ kind, reason: 'other' }, 0);
    for (const code of ALL_CODES) {
      this.#series.failedAttempts.inc({ code }, 0);
      this.#series.retries.inc({ code }, 0);
      for (const listener of ['outbound', 'inbound']) this.#series.answers.inc({ listener, code }, 0);
    }
  }
}

interface RequestSeries {
  readonly duration: HistogramSeries;
  /** null until one had a first byte. */
  firstByte: HistogramSeries | null;
}

function seriesOf<T>(
  byService: Map<string, (T | undefined)[]>,
  service: string,
  slots: number,
): (T | undefined)[] {
  let known = byService.get(service);
  if (known === undefined) {
    known = new Array<T | undefined>(slots).fill(undefined);
    byService.set(service, known);
  }
  return known;
}
