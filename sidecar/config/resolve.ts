/**
 * Option values → `Config`: what is found out from the host, and what must hold between two options.
 *
 * Separate from reading, as each rule here is a decision about the product (an announcement outlives two rounds, a
 * storing node has one address).
 */
import { formatHostPort, isIp4 } from '../core/host-port.ts';
import type { CallConfig, Config, ServiceConfig } from './config.ts';
import { detectedCapabilities, type HostFacts, withDetected } from './host-facts.ts';
import {
  adminOf,
  type Context,
  checkListeners,
  inboundOf,
  isWatched,
  outboundOf,
  presentVpnIp,
  tunnelOf,
  vpnSource,
} from './listeners.ts';
import { type CheckMembership, workerAndMesh } from './membership.ts';
import { listOptions } from './option.ts';
import type { Problems } from './problems.ts';
import { SCHEMA } from './schema.ts';
import { callDefault, readAliases, readCalls, readServices } from './services.ts';
import type { ReadText } from './sources.ts';
import type { TreeResult } from './tree.ts';

/** What the caller will do with it: a sidecar, or a node of the DHT alone. */
export type Purpose = 'sidecar' | 'bootstrap';

const BOOTSTRAP_PORT = 49737;
const EVERY_ADDRESS = '0.0.0.0';

function dhtOf({ tree, problems }: Context, { source, ip }: Config['vpn'], purpose: Purpose): Config['dht'] {
  // The DHT knows IPv4 alone.
  const vpn = ip !== null && isIp4(ip) ? ip : null;

  const { bootstrap, listen, announceInterval, maxAge } = tree.values.dht;
  for (const node of bootstrap ?? []) {
    if (node.host === '' || node.port === 0) {
      problems.add(tree.where('dht.bootstrap'), `${formatHostPort(node)} is not host:port of a node`);
    }
  }
  // A lost announcement must not make the worker vanish.
  if (maxAge < 2 * announceInterval) {
    problems.add(tree.where('dht.maxAge'), 'must be at least twice dht.announceInterval');
  }
  const port = listen?.port ?? (purpose === 'bootstrap' ? BOOTSTRAP_PORT : 0);
  const isAtVpn = listen === null || listen.host === '';
  const host = isAtVpn ? (vpn ?? EVERY_ADDRESS) : listen.host;
  const stores = purpose === 'bootstrap' || (!isAtVpn && (vpn !== null || source.kind === 'given'));
  if (!isIp4(host)) problems.add(tree.where('dht.listen'), `${host} is not an IPv4 address of this host`);
  else if (stores && host === EVERY_ADDRESS && !tree.failed.has('dht.listen') && !tree.failed.has('vpn.ip')) {
    // A node's place in the DHT is the hash of its address.
    problems.add(
      tree.where('dht.listen'),
      'give the one address that other nodes reach this one by, such as 10.42.0.1:49737',
    );
  }
  return {
    bootstrap: bootstrap ?? [],
    listen: { host, port },
    isAtVpn,
    announceIntervalMs: announceInterval,
    maxAgeMs: maxAge,
  };
}

function servicesOf(
  { tree, problems, warnings }: Context,
  readText: ReadText,
): Pick<Config, 'services' | 'calls' | 'aliases'> {
  const { values } = tree;
  const timeouts = {
    vpnConnectMs: values.timeouts.vpnConnect,
    tunnelConnectMs: values.timeouts.tunnelConnect,
    workerConnectMs: values.timeouts.workerConnect,
    headMs: values.timeouts.head,
    idleMs: values.timeouts.idle,
  };
  const defaults = {
    concurrency: values.defaults.concurrency,
    queue: values.defaults.queue,
    healthAsk: values.defaults.health,
    assumedConcurrency: values.assumedConcurrency,
    timeouts,
    retryPost: new Set(values.retries.post ?? []),
    retryRefused: values.retries.refused,
  };
  const services = readServices(values.services ?? new Map(), tree.where('services'), defaults, {
    readText,
    problems,
    warnings,
  });
  const others = readCalls(values.calls ?? new Map(), tree.where('calls'), defaults, problems);
  const byService = new Map<string, CallConfig>(others);
  for (const service of services) {
    if (values.calls?.has(service.name) === true) {
      problems.add(
        tree.where('calls'),
        `${service.name} is offered here; say it in services.${service.name}`,
      );
    }
    byService.set(service.name, service);
  }
  checkNames(tree, values.services ?? new Map(), services, problems);
  return {
    services,
    calls: { default: callDefault(defaults, false), byService },
    aliases: readAliases(values.aliases ?? new Map(), tree.where('aliases'), services, problems),
  };
}

/** Settings for a service that is not offered here are slips of the pen. */
function checkNames(
  tree: TreeResult<typeof SCHEMA>,
  named: ReadonlyMap<string, unknown>,
  services: readonly ServiceConfig[],
  problems: Problems,
): void {
  for (const key of ['concurrency', 'queue', 'health'] as const) {
    const value = tree.values.defaults[key];
    if (value === null || value.kind === 'all' || tree.failed.has('services')) continue;
    for (const name of value.values.keys()) {
      if (named.has(name) || services.some((service) => service.name === name)) continue;
      problems.add(tree.where(`defaults.${key}`), `${name} is not a service offered here`);
    }
  }
}

const OTHERS_MAY_READ = 0o044;

/** Files of secrets are put there for one container, and may be readable in it. */
const CONTAINER_SECRETS = '/run/secrets/';

/** The answer to a join request opens by the worker's own key alone (mesh/membership/join-request). */
function isSealed(cert: string | null): boolean {
  return cert?.startsWith('sidecar-cert-v2.') === true;
}

/** A secret that every user of the host can read is none. */
function checkSecretFiles({ tree, warnings }: Context, { fileMode }: HostFacts): void {
  const said = new Set<string>();
  for (const [key, leaf] of listOptions(SCHEMA)) {
    const path = leaf.secret ? tree.file(key) : null;
    if (path === null || said.has(path) || path.startsWith(CONTAINER_SECRETS)) continue;
    const mode = fileMode?.(path) ?? 0;
    if ((mode & OTHERS_MAY_READ) === 0 || (key === 'mesh.cert' && isSealed(tree.values.mesh.cert))) continue;
    said.add(path);
    const octal = (mode & 0o777).toString(8).padStart(4, '0');
    warnings.push(
      `${tree.where(key)}: other users of this host may read the secret in this file (mode ${octal}): chmod 600`,
    );
  }
}

/** Fills in and checks; the result is of use only if no problem was added. */
export function resolveConfig(
  tree: TreeResult<typeof SCHEMA>,
  host: HostFacts,
  readText: ReadText,
  checkMembership: CheckMembership,
  purpose: Purpose,
  problems: Problems,
): Config {
  const { values } = tree;
  const warnings: string[] = [];
  const context: Context = { tree, problems, warnings };
  checkSecretFiles(context, host);
  const source = vpnSource(context);
  const isInboundAtVpn = values.inbound.listen === null || values.inbound.listen.host === '';
  const isVpnWatched = isWatched(source, isInboundAtVpn, host.addresses);
  const ip = presentVpnIp(source, isVpnWatched, host.addresses);
  const vpn = { source, isWatched: isVpnWatched, ip, cidr: values.vpn.cidr };
  const served = servicesOf(context, readText);
  const { workerId, mesh } = workerAndMesh(context, host, served.services, checkMembership);
  const inbound = inboundOf(values.inbound.listen, ip);
  const config: Config = {
    worker: {
      id: workerId,
      capabilities: withDetected(values.worker.capabilities ?? {}, detectedCapabilities(host)),
    },
    ...served,
    outbound: outboundOf(context),
    inbound,
    admin: adminOf(context),
    vpn,
    tunnel: tunnelOf(context, readText),
    mesh,
    dht: dhtOf(context, vpn, purpose),
    cache: { ttlMs: values.cache.ttl, firstLookupWaitMs: values.cache.firstLookupWait },
    probe: {
      fewIntervalMs: values.probe.fewInterval,
      manyIntervalMs: values.probe.manyInterval,
      timeoutMs: values.probe.timeout,
    },
    balance: { policy: values.balance.policy },
    gpu: { metricsUrl: values.gpu.metricsUrl?.href ?? null, devices: values.gpu.devices },
    retries: {
      budgetRatio: values.retries.budgetRatio,
      perSecond: values.retries.perSecond,
      replayBytes: values.retries.replay,
    },
    limits: {
      maxHeadBytes: values.limits.maxHead,
      maxFields: values.limits.maxFields,
      maxTargetBytes: values.limits.maxTarget,
      headTimeoutMs: values.limits.headTimeout,
    },
    drain: { acceptMs: values.drain.accept, waitMs: values.drain.wait, quietMs: values.drain.quiet },
    trustForwarded: values.trustForwarded,
    state: values.state,
    log: values.log,
    warnings,
  };
  if (purpose === 'sidecar') checkListeners(context, config);
  return config;
}
