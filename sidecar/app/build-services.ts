/**
 * Puts the local services together: slots, health checks and the connections to the worker.
 *
 * Composition only.
 */
import type { Config, ServiceConfig } from '../config/config.ts';
import type { Log } from '../core/log.ts';
import { Admission } from '../core/worker/admission.ts';
import { Slots } from '../core/worker/slots.ts';
import type { Upstreams } from '../http/exchange.ts';
import { loadOfTerms, namedTerms, vllmTerms } from '../load/metric-terms.ts';
import { MetricsPage } from '../load/metrics-page.ts';
import { SourceWatch } from '../load/source-watch.ts';
import { LocalService, type SlotUse } from '../proxy/worker/local-service.ts';
import { WorkerHealth } from '../proxy/worker/worker-health.ts';
import type { Lifecycle } from './lifecycle.ts';

export interface ServicesOptions {
  readonly config: Config;
  readonly upstreams: Upstreams;
  readonly lifecycle: Lifecycle;
  readonly log: Log;
}

/** Health checks begin; nothing waits for them. */
export function buildServices({
  config,
  upstreams,
  lifecycle,
  log,
}: ServicesOptions): Map<string, LocalService> {
  const services = new Map<string, LocalService>();
  const groups = new Map<string, Slots>();
  for (const service of config.services) {
    const { scheme, host, port, sentHost } = service;
    const origin = { scheme, host, port };
    const { path, intervalMs, timeoutMs, healthyAfter, unhealthyAfter } = service.health;
    const health = new WorkerHealth({
      origin,
      path: path === null ? null : `${service.basePath}${path}`,
      host: sentHost.kind === 'name' ? sentHost.name : undefined,
      intervalMs,
      timeoutMs,
      healthyAfter,
      unhealthyAfter,
      upstreams,
      onChange: (isReady, reason) => {
        const fields = {
          service: service.name,
          state: isReady ? 'ready' : 'warming',
          reason,
          url: service.url,
        };
        if (isReady) log.info(fields, 'the worker is ready');
        else {
          log.warn(fields, 'the worker is not ready: withdrawn until it is');
          local.admission.workerFailed();
        }
        local.stateChanged();
      },
      onReport: (value) => local.reported(value),
    });
    const { workerConnectMs, headMs, idleMs } = service.timeouts;
    const local: LocalService = new LocalService({
      name: service.name,
      origin,
      basePath: service.basePath,
      sentHost,
      timeouts: { connectMs: workerConnectMs, headMs, idleMs },
      admission: new Admission({ ...service, slots: slotsOf(service, groups) }),
      slotUse: slotUseOf(service),
      health,
      upstreams,
    });
    services.set(service.name, local);
    const late = setTimeout(() => {
      if (health.isReady) return;
      const fields = { service: service.name, url: service.url, reason: health.reason };
      log.error(fields, `the worker is still not ready after ${Math.round(service.warmingLimitMs / 1000)} s`);
    }, service.warmingLimitMs);
    late.unref();
    void health.start();
    const page = followMetrics(service, local, log);
    lifecycle.onStop(`health of ${service.name}`, () => {
      clearTimeout(late);
      health.stop();
      page?.stop();
    });
  }
  return services;
}

/** Its own, or those of its group. */
function slotsOf({ concurrency, slots }: ServiceConfig, groups: Map<string, Slots>): Slots {
  if (slots.group === null) return new Slots(concurrency);
  const shared = groups.get(slots.group) ?? new Slots(concurrency);
  groups.set(slots.group, shared);
  return shared;
}

function slotUseOf({ slots: { byChannels, free, light } }: ServiceConfig): SlotUse {
  return {
    byChannels,
    free: free.length === 0 ? null : free,
    light: light.length === 0 ? null : light,
  };
}

/** Asks the worker's own metrics page for its load, where there is one. */
function followMetrics(
  { name, load, ...service }: ServiceConfig,
  local: LocalService,
  log: Log,
): MetricsPage | null {
  if (load.metricsUrl === null) return null;
  const terms =
    load.metrics === null
      ? vllmTerms(service.concurrency ?? service.assumedConcurrency)
      : namedTerms(load.metrics);
  const watch = new SourceWatch(log, { source: 'metrics', service: name, url: load.metricsUrl });
  const page = new MetricsPage({
    url: load.metricsUrl,
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
  page.start();
  return page;
}
