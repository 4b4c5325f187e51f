/**
 * Puts the local services together: slots, health checks and the connections to the worker.
 *
 * Composition only. It must not know who calls.
 */
import type { Config } from './config.ts';
import { Admission } from './core/admission.ts';
import type { Lifecycle } from './lifecycle.ts';
import type { Log } from './observe/log.ts';
import type { Upstreams } from './proxy/exchange.ts';
import { LocalService } from './proxy/local-service.ts';
import { WorkerHealth } from './proxy/worker-health.ts';

export interface ServicesOptions {
  readonly config: Config;
  readonly upstreams: Upstreams;
  readonly lifecycle: Lifecycle;
  readonly log: Log;
  /** A service became ready, or is not any more. */
  onChange(): void;
}

/** Health checks begin; nothing waits for them. */
export function buildServices({
  config,
  upstreams,
  lifecycle,
  log,
  onChange,
}: ServicesOptions): Map<string, LocalService> {
  const services = new Map<string, LocalService>();
  for (const service of config.services) {
    const { scheme, host, port } = service;
    const origin = { scheme, host, port };
    const { path, intervalMs, timeoutMs, healthyAfter, unhealthyAfter } = service.health;
    const health = new WorkerHealth({
      origin,
      path: path === null ? null : `${service.basePath}${path}`,
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
        else log.warn(fields, 'the worker is not ready: withdrawn until it is');
        onChange();
      },
      onReport: (value) => local.reported(value),
    });
    const { workerConnectMs, headMs, idleMs } = service.timeouts;
    const local: LocalService = new LocalService({
      name: service.name,
      origin,
      basePath: service.basePath,
      timeouts: { connectMs: workerConnectMs, headMs, idleMs },
      admission: new Admission(service),
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
    lifecycle.began(`health of ${service.name}`, () => {
      clearTimeout(late);
      health.stop();
    });
  }
  return services;
}
