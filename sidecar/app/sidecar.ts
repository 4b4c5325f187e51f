/**
 * One whole sidecar: everything built and wired, listening, findable; and the way to end it.
 *
 * Composition only, in the order in which things begin; the lifecycle ends them in reverse. The ports are bound first,
 * and nothing waits for others to be found.
 */

import { closeSync, openSync } from 'node:fs';
import { devNull } from 'node:os';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Config } from '../config/config.ts';
import { readTextFile } from '../config/config-file.ts';
import { Balancer } from '../core/balancing/balancer.ts';
import { SidecarError } from '../core/errors.ts';
import { formatHostPort, type HostPort } from '../core/host-port.ts';
import type { Log } from '../core/log.ts';
import { systemClock } from '../mesh/clock.ts';
import { openIdentity } from '../mesh/membership/identity.ts';
import { persistKey } from '../mesh/membership/persist-key.ts';
import { RequestAuth } from '../mesh/membership/request-auth.ts';
import { Metrics } from '../observe/metrics.ts';
import type { ReloadResult } from '../observe/reload-put.ts';
import { RequestHistory } from '../observe/request-history.ts';
import { createPeerClient } from '../proxy/peer/client.ts';
import { Sessions } from '../proxy/peer/sessions.ts';
import type { LocalService } from '../proxy/worker/local-service.ts';
import { Pauses } from '../proxy/worker/pauses.ts';
import { buildAdmin, readiness, watchGauges } from './build-admin.ts';
import { startSampler } from './build-load.ts';
import { buildMesh } from './build-mesh.ts';
import { bindPorts, buildConnections, DataPlane } from './build-proxy.ts';
import { LocalServices } from './build-services.ts';
import { Lifecycle } from './lifecycle.ts';
import { PeerAddresses } from './peer-addresses.ts';
import { type ConfigSource, type LiveConfig, Reloader, saidSessions } from './reload.ts';
import { SelfReport } from './self-report.ts';
import { packageVersion } from './version.ts';
import { CertificateWatch } from './watches/certificate-watch.ts';
import { QuickTunnel } from './watches/quick-tunnel.ts';
import { VpnWatch } from './watches/vpn-watch.ts';

/** Addresses as they are bound; of several the first. */
export interface RunningSidecar {
  readonly outbound: HostPort;
  readonly inbound: HostPort;
  readonly admin: HostPort;
  readonly dht: HostPort;
  /** Takes the worker out of the mesh and finishes what runs; `cut` stops the waiting. */
  drain(cut: AbortSignal): Promise<void>;
  /** Reads the configuration anew; null where it was not started from one that could be. */
  reload(): Promise<ReloadResult | null>;
  /** Ends everything at once. Idempotent; never rejects. */
  stop(): Promise<void>;
}

/** Service names that become label values of metrics. */
const MAX_SERVICE_LABELS = 100;

/** Requests that /explain remembers. */
const REMEMBERED_REQUESTS = 1_000;

/** How often it is looked at whether discovery stands otherwise than was said last. */
const SAY_INTERVAL_MS = 3_000;

/** Bounds each step of a control request. */
const CONTROL_LIMIT_MS = 5_000;

/** How often it is tried to keep the worker key, while that is not possible. */
const KEEP_KEY_MS = 60_000;

/**
 * Rejects, with nothing left behind, when a port cannot be bound or the identity not be opened; with the reason of
 * `unless` when that is aborted before it listens.
 */
export async function startSidecar(
  config: Config,
  log: Log,
  unless?: AbortSignal,
  source: ConfigSource | null = null,
): Promise<RunningSidecar> {
  const lifecycle = new Lifecycle(log);
  try {
    return await start({ ...config }, log, lifecycle, unless, source);
  } catch (error) {
    await lifecycle.stop();
    throw error;
  }
}

async function start(
  config: LiveConfig,
  log: Log,
  lifecycle: Lifecycle,
  unless: AbortSignal | undefined,
  source: ConfigSource | null,
): Promise<RunningSidecar> {
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
  lifecycle.onStop(
    'worker key',
    persistKey({ keepKey: () => identity.keepKey(), clock: systemClock, log, intervalMs: KEEP_KEY_MS }),
  );
  lifecycle.onStop('open files', watchOpenFiles(log));
  const metrics = new Metrics({
    version,
    workerId: config.worker.id,
    serviceLimit: MAX_SERVICE_LABELS,
    processMetrics: true,
  });
  for (const { name } of config.services) metrics.knowService(name);
  for (const app of config.outbound.tokens.keys()) metrics.knowApp(app);
  const requests = new RequestHistory({ capacity: REMEMBERED_REQUESTS });
  const { sampler, gpu } = startSampler(config, log, lifecycle);
  const auth = new RequestAuth(identity, {
    onClock: (peer, offsetMs) =>
      log.warn(
        { peer, hint: 'set both clocks by NTP' },
        `the clock of a peer is ${Math.round(offsetMs / 1000)} s ahead of ours: requests to it are signed by its clock`,
      ),
  });
  const onInternalError = (err: unknown): void =>
    log.error({ err }, 'a fault in this program: please report it');
  const ports = await listening(bindPorts(config, lifecycle));
  const bound = [ports.inbound, ...ports.outbound.addresses].map(({ port }) => port);
  const peerAddresses = new PeerAddresses(config, bound);
  const connections = buildConnections(config, peerAddresses, onInternalError, lifecycle);
  const said = saidSessions(config);
  const sessions = new Sessions({ key: identity.keyHex, workerId: config.worker.id }, said);
  const localServices = new LocalServices({ upstreams: connections.toWorkers, sessions, log });
  lifecycle.onStop('services', () => localServices.stop());
  localServices.offer(localServices.begin(config.services).begun);
  const services = localServices.byName;
  const pauses = new Pauses({ services, stateDir: config.state.dir, log });
  // Also what serves ends in reverse: the app's requests first, those of peers once this worker is withdrawn.
  lifecycle.onStop('inbound', () => ports.inbound.destroy());
  const self = new SelfReport({
    config,
    identity,
    services,
    sampler,
    gpu,
    inboundPort: ports.inbound.port,
  });
  const balancer = new Balancer(config.balance.policy, { ttlMs: config.cache.ttlMs });
  const client = createPeerClient(connections.toPeers, auth, CONTROL_LIMIT_MS);
  await mayGoOn(unless);
  const mesh = await buildMesh({
    config,
    identity,
    auth,
    self,
    client,
    peerAddresses,
    lifecycle,
    log,
    cut: ({ routes }) => {
      for (const { host, port } of routes) connections.cutPeer(host, port);
    },
  });
  const onStarted = (service: LocalService): void => service.onStateChange(() => mesh.selfChanged());
  for (const service of services.values()) onStarted(service);
  const reloader =
    source === null
      ? null
      : new Reloader({
          source,
          live: config,
          services: localServices,
          identity,
          self,
          pauses,
          mesh,
          saidSessions: said,
          balancer,
          metrics,
          onStarted,
          log,
        });
  const certificate = new CertificateWatch({
    file: config.mesh.certFile,
    readText: readTextFile,
    certificate: () => {
      identity.renew(Date.now());
      return identity.certificate;
    },
    isForeign: config.mesh.cert !== null,
    adopt: (bundle) => mesh.renewed(identity.adopt(bundle, Date.now())),
    log,
    nowMs: Date.now,
  });
  lifecycle.onStop('certificate', () => certificate.stop());
  const { revocations } = identity;
  const parts = {
    config,
    services,
    self,
    pauses,
    reloader,
    revocations,
    auth,
    balancer,
    mesh,
    metrics,
    requests,
    certificate,
    version,
    log,
  };
  const dataPlane = new DataPlane({
    ...parts,
    lifecycle,
    ports,
    connections,
    identity,
    client,
    sessions,
    onInternalError,
  });
  dataPlane.serve();
  lifecycle.onStop('outbound', () => ports.outbound.destroy());
  watchGauges(parts);
  const admin = buildAdmin(parts);
  const adminAddress = await listening(admin.listen());
  lifecycle.onStop('admin', () => admin.close());
  // From here on a stop is a drain.
  await mayGoOn(unless);
  const { inbound, outbound } = ports;
  log.info(
    {
      version,
      peer: identity.keyHex,
      services: config.services.map(({ name }) => name),
      address: {
        outbound: outbound.addresses.map(formatHostPort).join(', '),
        inbound: inbound.addresses.map(formatHostPort).join(', '),
        admin: formatHostPort(adminAddress),
      },
    },
    'sidecar listens',
  );
  lifecycle.onStop(
    'first word',
    sayDiscovery(log, () => readiness(parts)),
  );
  const vpn = new VpnWatch({
    config,
    inbound,
    toPeers: connections.toPeers,
    self,
    moved: () => {
      peerAddresses.movedTo(self.vpnIp);
      return mesh.vpnMoved();
    },
    clock: systemClock,
    log,
  });
  vpn.start();
  lifecycle.onStop('VPN watch', () => vpn.stop());
  followTunnel(config, () => mesh.selfChanged(), self, lifecycle, log);
  mesh.node.onPartitionHealed(({ isWide }) => {
    const fields = { part: 'dht', nodes: mesh.node.status().nodes };
    if (isWide) log.info(fields, 'parted from others for a while, and not any more');
    else log.debug(fields, 'a node that was silent answers again');
  });
  mesh.node.onStatus((status) => {
    const fields = { part: 'dht', state: status.kind, nodes: status.nodes, hint: status.hint };
    if (status.kind === 'unreachable') log.warn(fields, 'no DHT node answers');
    else log.info(fields, status.kind === 'connected' ? 'joined the DHT' : 'alone in the DHT');
  });
  const { host, port } = mesh.node.address;
  return {
    outbound: { host: outbound.host, port: outbound.port },
    inbound: { host: inbound.host, port: inbound.port },
    admin: adminAddress,
    dht: { host, port },
    drain: (cut) => dataPlane.drain(cut, () => mesh.announcer.stop()),
    reload: () => reloader?.reload() ?? Promise.resolve(null),
    stop: () => lifecycle.stop(),
  };
}

/** A signal is only heard between two turns of the event loop, and a start on loopback may be a single one. */
async function mayGoOn(unless: AbortSignal | undefined): Promise<void> {
  await nextTurn();
  unless?.throwIfAborted();
}

/** Says how discovery stands, each time that it stands otherwise: zero peers is never passed over in silence. */
function sayDiscovery(log: Log, ready: () => ReturnType<typeof readiness>): () => void {
  let said = '';
  const say = (): void => {
    const { peers_known: peers, dht, reasons } = ready();
    const reason = reasons.find(({ code }) => code !== 'vpn_waiting');
    const saying = reason === undefined ? 'ready' : `${reason.code} ${reason.hint}`;
    if (saying === said || reason?.code === 'draining') return;
    said = saying;
    const fields = { peers, nodes: dht.nodes, state: dht.status };
    if (reason === undefined) log.info(fields, 'peers are known');
    else log.warn({ ...fields, reason: reason.code, hint: reason.hint }, reason.detail);
  };
  const timer = setInterval(say, SAY_INTERVAL_MS);
  return () => clearInterval(timer);
}

function followTunnel(
  config: Config,
  changed: () => void,
  self: SelfReport,
  lifecycle: Lifecycle,
  log: Log,
): void {
  const metricsUrl = config.tunnel.cloudflaredMetrics;
  if (metricsUrl === null || config.tunnel.url !== null) return;
  const tunnel = new QuickTunnel({
    metricsUrl,
    log,
    onUrl: (url) => {
      if (self.foundTunnel(url)) changed();
    },
  });
  tunnel.start();
  lifecycle.onStop('quick tunnel', () => tunnel.stop());
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

const OPEN_FILES_INTERVAL_MS = 1_000;

const OPEN_FILES_HINT =
  'raise the limit of open files of this process (ulimit -n, LimitNOFILE=), or of this host';

/**
 * Says when this process has no file descriptor left, and when it has some again; returns its end. Nothing else would:
 * the system's library then closes each new connection as it comes, and tells nobody. So a file is opened now and then.
 */
function watchOpenFiles(log: Pick<Log, 'info' | 'warn'>): () => void {
  let isOut = false;
  const look = (): void => {
    const reason = whyNone();
    if ((reason !== null) === isOut) return;
    isOut = reason !== null;
    if (isOut)
      log.warn({ reason, hint: OPEN_FILES_HINT }, 'no file descriptor is left: new connections are cut off');
    else log.info({}, 'there are file descriptors again');
  };
  const timer = setInterval(look, OPEN_FILES_INTERVAL_MS);
  timer.unref();
  return () => clearInterval(timer);
}

/** The system's code; null when there is one left, or nothing is known of it. */
function whyNone(): string | null {
  try {
    closeSync(openSync(devNull, 'r'));
    return null;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === 'EMFILE' || code === 'ENFILE' ? code : null;
  }
}
