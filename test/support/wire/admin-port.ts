/**
 * The admin port of a sidecar that is ready, alone, and offers nothing: a test gives it the answers that it is about.
 */
import { Admin, type AdminHandlers, type AdminOptions } from '../../../sidecar/observe/admin.ts';
import { assessReadiness } from '../../../sidecar/observe/readiness.ts';
import { onTestEnd } from '../runner/on-test-end.ts';
import { ANY_HOST } from './any-host.ts';

const DHT = { kind: 'alone', nodes: 0, hint: '' } as const;

const STATS: ReturnType<AdminHandlers['stats']> = {
  local_requests: 0,
  forwarded_requests: 0,
  cache_hits: 0,
  cache_misses: 0,
  dht_lookups: 0,
  failed_requests: 0,
  cache_size: 0,
  cache_hit_rate: 0,
};

const HANDLERS: AdminHandlers = {
  stats: () => STATS,
  metricsText: async () => 'sidecar_ready 1\n',
  metricsType: 'text/plain; version=0.0.4; charset=utf-8',
  peers: () => [],
  ready: () =>
    assessReadiness({ peersKnown: 1, peersUsable: 1, dht: DHT, draining: false, vpnAwaited: null }),
  explainService: () => null,
  explainRequest: () => null,
  targets: () => [],
  load: () => ({ services: [] }),
  putLoad: () => 30_000,
  pauseState: () => ({ services: [] }),
  setPaused: () => ({ services: [] }),
  reload: async () => null,
  revoked: () => ({ made_ms: 0, revoked: [] }),
  putRevoked: () => null,
  identity: () => ({ worker_id: 'me', version: '1.0.0', uptime_s: 3 }),
};

/** Listens on loopback unless it is told otherwise, until the test ends; rejects as `Admin.listen` does. */
export async function startAdmin(
  handlers: Partial<AdminHandlers>,
  options: Partial<Omit<AdminOptions, 'handlers'>> = {},
): Promise<{ readonly host: string; readonly port: number }> {
  const admin = new Admin({
    host: '127.0.0.1',
    port: 0,
    token: null,
    openMetrics: false,
    webPages: ANY_HOST,
    log: { warn: () => {} },
    ...options,
    handlers: { ...HANDLERS, ...handlers },
  });
  const bound = await admin.listen();
  onTestEnd(() => admin.close());
  return bound;
}
