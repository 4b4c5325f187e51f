/**
 * The sidecar put together: config → build → listen → signals → drain.
 *
 * Composition only, in the order in which things begin; the lifecycle ends them in reverse. Nothing waits for
 * discovery: the listeners are up first. It must not read the configuration itself.
 */
import { buildAdmin, readiness, watchGauges } from './build-admin.ts';
import { buildMesh } from './build-mesh.ts';
import { buildProxy } from './build-proxy.ts';
import type { Config } from './config.ts';
import { SidecarError } from './core/errors.ts';
import { Lifecycle } from './lifecycle.ts';
import { createCpuMeter, systemCpu } from './load/cpu.ts';
import { NvidiaGpuMeter } from './load/gpu.ts';
import { LoadSampler } from './load/sampler.ts';
import { openIdentity } from './mesh/identity.ts';
import { createRequestAuth } from './mesh/request-auth.ts';
import { createLog, type Log, stdoutSink } from './observe/log.ts';
import { Metrics } from './observe/metrics.ts';
import { RequestLog } from './observe/request-log.ts';
import { packageVersion } from './version.ts';

export interface RunOptions {
  /** The first abort drains and stops; a second signal of the process forces. */
  readonly signal?: AbortSignal;
}

const LOAD_INTERVAL_MS = 1_000;
const GPU_STALE_MS = 5_000;
const GPU_RESTART_MS = 30_000;
/** Service names that become label values of metrics. */
const MAX_SERVICE_LABELS = 100;
/** Requests that /explain remembers. */
const REMEMBERED_REQUESTS = 1_000;

/** Resolves with the exit code once the sidecar has stopped. */
export async function runSidecar(config: Config, options: RunOptions = {}): Promise<number> {
  const log = createLog({ ...config.log, workerId: config.worker.id, sink: stdoutSink() });
  const lifecycle = new Lifecycle(log);
  try {
    const drain = await start(config, log, lifecycle);
    await stopRequested(log, options.signal);
    const { signal, forget } = forced(log);
    await drain(signal);
    forget();
  } finally {
    await lifecycle.stop();
  }
  log.info({}, 'stopped');
  return 0;
}

/** Brings everything up; resolves with the function that drains it. */
async function start(
  config: Config,
  log: Log,
  lifecycle: Lifecycle,
): Promise<(cut: AbortSignal) => Promise<void>> {
  const version = packageVersion();
  for (const warning of config.warnings) log.warn({ part: 'config' }, warning);
  const identity = openIdentity({
    meshKey: config.mesh.key,
    certBundle: config.mesh.cert,
    workerId: config.worker.id,
    services: config.services.map(({ name }) => name),
    stateDir: config.state.dir,
    nowMs: Date.now(),
  });
  const metrics = new Metrics({
    version,
    workerId: config.worker.id,
    serviceLimit: MAX_SERVICE_LABELS,
    processMetrics: true,
  });
  for (const { name } of config.services) metrics.knowService(name);
  const requests = new RequestLog({ capacity: REMEMBERED_REQUESTS });
  const sampler = startSampler(log, lifecycle);
  const auth = createRequestAuth(identity);
  const proxy = await listening(
    buildProxy({ config, identity, auth, metrics, requests, sampler, lifecycle, log }),
  );
  const mesh = await buildMesh({ config, identity, self: proxy.self, client: proxy.client, lifecycle, log });
  proxy.onSelfChanged(() => mesh.announcer.changed());
  proxy.connect(mesh.peerDirectory);
  const outbound = await listening(proxy.listenOutbound());
  const parts = { ...proxy, config, mesh, metrics, requests, version, log };
  watchGauges(parts);
  const admin = buildAdmin(parts);
  const adminAddress = await listening(admin.listen());
  lifecycle.began('admin', () => admin.close());
  log.info(
    {
      version,
      peer: identity.keyHex,
      services: config.services.map(({ name }) => name),
      address: { outbound: text(outbound), inbound: text(proxy.inbound), admin: text(adminAddress) },
    },
    'sidecar listens',
  );
  sayDiscovery(log, () => readiness(parts));
  mesh.node.onStatus((status) => {
    const fields = { part: 'dht', state: status.kind, nodes: status.nodes, hint: status.hint };
    if (status.kind === 'unreachable') log.warn(fields, 'no DHT node answers');
    else log.info(fields, status.kind === 'connected' ? 'joined the DHT' : 'alone in the DHT');
  });
  return (cut) => proxy.drain(cut, () => mesh.announcer.stop());
}

function startSampler(log: Log, lifecycle: Lifecycle): LoadSampler {
  const cpu = createCpuMeter(systemCpu());
  const gpu = new NvidiaGpuMeter({
    command: 'nvidia-smi',
    staleMs: GPU_STALE_MS,
    restartMs: GPU_RESTART_MS,
    nowMs: () => performance.now(),
  });
  gpu.start();
  lifecycle.began('gpu meter', () => gpu.stop());
  const sampler = new LoadSampler({
    intervalMs: LOAD_INTERVAL_MS,
    cpu: cpu.source === null ? null : () => cpu.sample(),
    gpu: () => gpu.sample(),
    log,
  });
  sampler.start();
  lifecycle.began('load sampler', () => sampler.stop());
  return sampler;
}

/** Says once, a few seconds after the start, how discovery stands: zero peers is never passed over in silence. */
function sayDiscovery(log: Log, ready: () => ReturnType<typeof readiness>): void {
  const timer = setTimeout(() => {
    const { peers_known: peers, dht, reasons } = ready();
    const [reason] = reasons;
    if (reason === undefined) log.info({ peers, nodes: dht.nodes, state: dht.status }, 'peers are known');
    else
      log.warn(
        { peers, nodes: dht.nodes, state: dht.status, reason: reason.code, hint: reason.hint },
        reason.detail,
      );
  }, 3_000);
  timer.unref();
}

async function stopRequested(log: Log, signal: AbortSignal | undefined): Promise<void> {
  await new Promise<void>((resolve) => {
    const stop = (name: string): void => {
      process.off('SIGTERM', stop);
      process.off('SIGINT', stop);
      signal?.removeEventListener('abort', onAbort);
      log.info({ signal: name }, 'draining: new requests are refused soon, running ones are finished');
      resolve();
    };
    const onAbort = (): void => stop('abort');
    if (signal?.aborted === true) return stop('abort');
    signal?.addEventListener('abort', onAbort);
    process.on('SIGTERM', stop);
    process.on('SIGINT', stop);
  });
}

/** A second signal: stop waiting. */
function forced(log: Log): { readonly signal: AbortSignal; readonly forget: () => void } {
  const controller = new AbortController();
  const force = (name: string): void => {
    log.warn({ signal: name }, 'forced: running requests are cut off');
    controller.abort();
  };
  process.on('SIGTERM', force);
  process.on('SIGINT', force);
  const forget = (): void => {
    process.off('SIGTERM', force);
    process.off('SIGINT', force);
  };
  return { signal: controller.signal, forget };
}

/** A port that cannot be bound, in words. */
async function listening<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise;
  } catch (error) {
    const { code, address, port } = error as NodeJS.ErrnoException & { address?: string; port?: number };
    if (code === undefined || port === undefined) throw error;
    const why = code === 'EADDRINUSE' ? 'another program listens there' : code;
    throw new SidecarError('internal', `cannot listen on ${address}:${port}: ${why}`, { cause: error });
  }
}

function text({ host, port }: { readonly host: string; readonly port: number }): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
