/**
 * Puts the local services together: slots, health checks and the connections to the worker.
 *
 * Composition only.
 */
import type { ServiceConfig } from '../config/config.ts';
import type { WorkerUrl } from '../config/worker-url.ts';
import { baseUrlOf } from '../core/http/base-url.ts';
import type { Log } from '../core/log.ts';
import { Admission } from '../core/worker/admission.ts';
import { below } from '../core/worker/health-ask.ts';
import { Slots } from '../core/worker/slots.ts';
import { type Origin, originOf, placeOf, type Upstreams } from '../http/exchange.ts';
import { TlsClient } from '../http/sockets/tls-client.ts';
import { loadOfTerms, namedTerms, vllmTerms } from '../load/metric-terms.ts';
import { MetricsPage } from '../load/metrics-page.ts';
import { SourceWatch } from '../load/source-watch.ts';
import type { Sessions } from '../proxy/peer/sessions.ts';
import { LocalService } from '../proxy/worker/local-service.ts';
import { SlotUse } from '../proxy/worker/slot-use.ts';
import { type AtWork, WorkerHealth } from '../proxy/worker/worker-health.ts';
import type { InstanceOptions, WorkerInstance } from '../proxy/worker/worker-instance.ts';

export interface ServicesOptions {
  readonly upstreams: Upstreams;
  readonly sessions: Sessions;
  readonly log: Log;
}

/** One that has begun, and is not offered yet. */
export interface BegunService {
  readonly local: LocalService;
  end(): void;
}

/** Those that are offered; others may take their place while requests run. */
export class LocalServices {
  readonly byName = new Map<string, LocalService>();
  readonly #options: ServicesOptions;
  readonly #ends = new Map<string, () => void>();

  constructor(options: ServicesOptions) {
    this.#options = options;
  }

  /** Health checks begin; `checked` resolves when each worker has been asked once. */
  begin(services: readonly ServiceConfig[]): {
    readonly begun: readonly BegunService[];
    readonly checked: Promise<unknown>;
  } {
    const groups = new Map<string, Slots>();
    const workers = new Map<string, Worker>();
    const tlsClients = new Map<string, TlsClient>();
    const begun = services.map((service) => {
      const tls = tlsClient(service, tlsClients, this.#options.log);
      const watched = service.urls.map((url) => {
        const origin = originOf(url, tls);
        const key = JSON.stringify([url.url, service.tls, service.health, service.sentHost]);
        const worker = workers.get(key) ?? watchWorker(service, url, origin, this.byName, this.#options);
        workers.set(key, worker);
        return { ...url, origin, worker, health: worker.health };
      });
      return this.#begin(service, watched, tls, groups);
    });
    return { begun, checked: Promise.all([...workers.values()].map(({ health }) => health.start())) };
  }

  /** Offered from now on, in place of those of the same name; what runs there goes on to its end. */
  offer(begun: readonly BegunService[]): void {
    for (const { local, end } of begun) {
      this.#ends.get(local.name)?.();
      this.byName.set(local.name, local);
      this.#ends.set(local.name, end);
    }
  }

  withdraw(name: string): void {
    this.byName.delete(name);
    this.#ends.get(name)?.();
    this.#ends.delete(name);
  }

  stop(): void {
    for (const end of this.#ends.values()) end();
  }

  #begin(
    service: ServiceConfig,
    watched: readonly WatchedInstance[],
    tls: TlsClient | null,
    groups: Map<string, Slots>,
  ): BegunService {
    const { log, sessions, upstreams } = this.#options;
    const { workerConnectMs, headMs, idleMs } = service.timeouts;
    const local = new LocalService({
      name: service.name,
      instances: watched,
      concurrencyEach: service.concurrency,
      retries: { post: service.retryPost, refused: service.retryRefused },
      sentHost: service.sentHost,
      timeouts: { connectMs: workerConnectMs, headMs, idleMs },
      admission: new Admission({
        ...service,
        assumedConcurrency: watched.length * service.assumedConcurrency,
        slots: slotsOf(service, groups),
      }),
      slotUse: slotUseOf(service),
      upstreams,
      sessions,
    });
    for (const [at, { worker }] of watched.entries())
      worker.served.push({ local, instance: local.instances.all[at] as WorkerInstance });
    const late = setTimeout(() => {
      if (local.state === 'ready') return;
      const fields = { service: service.name, url: local.address, reason: local.healthReason };
      log.error(fields, `the worker is still not ready after ${Math.round(service.warmingLimitMs / 1000)} s`);
    }, service.warmingLimitMs);
    late.unref();
    const page = followMetrics(service, local, tls, log);
    const end = (): void => {
      clearTimeout(late);
      page?.stop();
      for (const { worker } of watched) {
        const at = worker.served.findIndex((each) => each.local === local);
        if (at !== -1) worker.served.splice(at, 1);
        if (worker.served.length === 0) worker.health.stop();
      }
    };
    return { local, end };
  }
}

/** What is asked for its health, once for all services that would ask the same. */
interface Worker {
  readonly health: WorkerHealth;
  readonly served: { readonly local: LocalService; readonly instance: WorkerInstance }[];
}

interface WatchedInstance extends InstanceOptions {
  readonly worker: Worker;
}

function watchWorker(
  service: ServiceConfig,
  url: WorkerUrl,
  origin: Origin,
  all: ReadonlyMap<string, LocalService>,
  { upstreams, log }: Pick<ServicesOptions, 'upstreams' | 'log'>,
): Worker {
  const { ask, intervalMs, timeoutMs, healthyAfter, unhealthyAfter } = service.health;
  const served: Worker['served'] = [];
  const health = new WorkerHealth({
    origin,
    ask: below(url.basePath, ask),
    host: service.sentHost.kind === 'name' ? service.sentHost.name : undefined,
    intervalMs,
    timeoutMs,
    healthyAfter,
    unhealthyAfter,
    upstreams,
    // One program, whichever of its services it is at work for.
    atWork: () => mostOf([...all.values()], placeOf(origin)),
    onChange: (isReady, reason) => {
      for (const { local, instance } of served) {
        const state = isReady ? 'ready' : 'warming';
        const fields = { service: local.name, state, reason, url: instance.url };
        if (isReady) log.info(fields, 'the worker is ready');
        else {
          log.warn(fields, 'the worker is not ready: withdrawn until it is');
          if (local.state !== 'ready') local.admission.workerFailed();
        }
        local.stateChanged(instance);
      }
    },
    onUntrusted: (reason) => {
      const names = served.map(({ local }) => local.name);
      log.error({ services: names, reason, url: url.url }, 'the certificate of the worker is not good here');
    },
    onReport: (value) => {
      for (const { local, instance } of served) local.reported(value, instance);
    },
  });
  return { health, served };
}

function mostOf(services: readonly LocalService[], place: string): AtWork {
  const found = new Set(services.map((service) => service.atWork(place)));
  return found.has('moves') ? 'moves' : found.has('waits') ? 'waits' : 'no';
}

/** One for all that reach their workers in the same way: they share connections then. */
function tlsClient({ name, tls }: ServiceConfig, made: Map<string, TlsClient>, log: Log): TlsClient | null {
  if (tls === null) return null;
  const key = JSON.stringify(tls);
  const known = made.get(key);
  if (known !== undefined) return known;
  const client = new TlsClient({
    ...tls,
    onReload: (fault) => {
      const fields = { service: name, part: 'tls' };
      if (fault === null) log.info(fields, 'the changed certificate files are used for new connections');
      else
        log.warn(
          { ...fields, reason: fault },
          'the changed certificate files cannot be used: the last ones stay',
        );
    },
  });
  made.set(key, client);
  return client;
}

/** Its own, or those of its group. */
function slotsOf({ concurrency, slots, urls }: ServiceConfig, groups: Map<string, Slots>): Slots {
  if (slots.group === null) return new Slots(concurrency === null ? null : concurrency * urls.length);
  const shared = groups.get(slots.group) ?? new Slots(concurrency);
  groups.set(slots.group, shared);
  return shared;
}

function slotUseOf({ slots: { byChannels, free, light } }: ServiceConfig): SlotUse {
  return new SlotUse({
    byChannels,
    free: free.length === 0 ? null : free,
    light: light.length === 0 ? null : light,
  });
}

/** Asks the worker's own metrics page for its load, where there is one. */
function followMetrics(
  { name, load, ...service }: ServiceConfig,
  local: LocalService,
  tls: TlsClient | null,
  log: Log,
): MetricsPage | null {
  if (load.metricsUrl === null) return null;
  const page = baseUrlOf(new URL(load.metricsUrl));
  const isBeside = service.urls.some(({ scheme, host }) => scheme === 'https' && host === page.host);
  const terms =
    load.metrics === null
      ? vllmTerms(service.concurrency ?? service.assumedConcurrency)
      : namedTerms(load.metrics);
  const watch = new SourceWatch(log, { source: 'metrics', service: name, url: load.metricsUrl });
  const asked = new MetricsPage({
    url: load.metricsUrl,
    tls: isBeside ? tls : null,
    names: new Set(terms.flatMap(({ names }) => names)),
    intervalMs: load.intervalMs,
    onNews: (news) => {
      const ratio = news.kind === 'samples' ? loadOfTerms(news.samples, terms) : null;
      if (ratio === null) {
        local.selfReportedLoad.clear('metrics');
        watch.silent(news.kind === 'failed' ? news.fault : undefined);
      } else {
        local.selfReportedLoad.report('metrics', ratio, performance.now());
        watch.spoke();
      }
    },
  });
  asked.start();
  return asked;
}
