/**
 * What `doctor` finds out by itself: whether the workers and the bootstrap nodes of the DHT can be reached.
 *
 * Asked directly and not through the sidecar, which may not run at all. The DHT is asked with a node of its own that
 * only asks, one per address, so that one dead node shows.
 */
import type { Config, ServiceConfig } from '../config/config.ts';
import type { WorkerUrl } from '../config/worker-url.ts';
import { messageOf } from '../core/errors.ts';
import type { HostPort } from '../core/host-port.ts';
import { formatHostPort } from '../core/host-port.ts';
import { silentLog } from '../core/log.ts';
import { below } from '../core/worker/health-ask.ts';
import { originOf, type Upstreams } from '../http/exchange.ts';
import { CoarseTimers } from '../http/sockets/timers.ts';
import { TlsClient } from '../http/sockets/tls-client.ts';
import { workerPools } from '../http/upstream-pools.ts';
import { checkWorker } from '../http/worker-check.ts';
import { systemClock } from '../mesh/clock.ts';
import { startCommandNode } from './dht-node.ts';
import type { Check } from './doctor-checks.ts';

const DHT_WAIT_MS = 4_000;
const TICK_MS = 100;
const UDP_ADVICE =
  'Is it running, has it the same mesh key, and does UDP to it pass (firewall, VPN, container network)?';

/** Each service offered here, as the sidecar itself checks it. */
export async function checkWorkers(config: Config): Promise<readonly Check[]> {
  const timers = new CoarseTimers(TICK_MS);
  const upstreams = workerPools({ limits: config.limits, timers, tlsCa: null });
  try {
    return await Promise.all(
      config.services.flatMap((service) => service.urls.map((url) => checkUrl(service, url, upstreams))),
    );
  } finally {
    upstreams.destroy();
  }
}

async function checkUrl(
  service: ServiceConfig,
  { basePath, url, ...place }: WorkerUrl,
  upstreams: Upstreams,
): Promise<Check> {
  const { health, sentHost, tls } = service;
  const { fault } = await checkWorker({
    origin: originOf(place, tls === null ? null : new TlsClient({ ...tls, onReload: () => {} })),
    host: sentHost.kind === 'name' ? sentHost.name : undefined,
    ask: below(basePath, health.ask),
    timeoutMs: health.timeoutMs,
    limitMs: health.timeoutMs,
    upstreams,
    isFresh: true,
  });
  const name = 'worker';
  if (fault === null)
    return { name, result: 'ok', detail: `${service.name} answers at ${url}`, advice: null };
  return {
    name,
    result: 'fail',
    detail: `${service.name} at ${url}: ${fault.reason}`,
    advice: 'Is the worker running and done with loading, and is the URL right as seen from here?',
  };
}

/** Each configured bootstrap node, over UDP. */
export async function checkBootstrap(config: Config, nowMs: number): Promise<readonly Check[]> {
  const name = 'bootstrap nodes';
  const { bootstrap } = config.dht;
  if (bootstrap.length === 0) {
    return [{ name, result: 'ok', detail: 'none configured: this sidecar is the first node', advice: null }];
  }
  return Promise.all(bootstrap.map((node) => checkNode(name, node, config, nowMs)));
}

async function checkNode(name: string, target: HostPort, config: Config, nowMs: number): Promise<Check> {
  try {
    return await askNode(name, target, config, nowMs);
  } catch (error) {
    const detail = messageOf(error);
    return { name, result: 'fail', detail, advice: 'Can this process open UDP sockets?' };
  }
}

async function askNode(name: string, target: HostPort, config: Config, nowMs: number): Promise<Check> {
  const address = formatHostPort(target);
  const node = await startCommandNode(config, nowMs, {
    role: 'client',
    listen: { host: '0.0.0.0', port: 0 },
    bootstrap: [target],
    log: silentLog,
  });
  try {
    await new Promise<void>((resolve) => {
      const cancel = systemClock.after(DHT_WAIT_MS, resolve);
      const settle = () => {
        if (node.status().kind !== 'connected') return;
        cancel();
        resolve();
      };
      node.onStatus(settle);
      settle();
    });
    const status = node.status();
    if (status.kind === 'connected')
      return { name, result: 'ok', detail: `${address} answers over UDP`, advice: null };
    return { name, result: 'fail', detail: `${address} does not answer over UDP`, advice: UDP_ADVICE };
  } finally {
    await node.destroy();
  }
}
