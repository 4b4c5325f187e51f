/**
 * Option values → `Config`: what is found out from the host, and what must hold between two options.
 *
 * Separate from reading, as each rule here is a decision about the product (a key and
 * a certificate exclude each other, an announcement outlives two rounds). It must not know where a value came from:
 * it asks the tree for the words.
 */
import type { CallConfig, Config, ServiceConfig } from '../config.ts';
import { formatHostPort } from '../core/host-port.ts';
import { detectedCapabilities, type HostFacts, vpnAddress } from './host-facts.ts';
import { type Context, checkListeners, inboundOf, outboundOf, tunnelOf } from './listeners.ts';
import { subnetOf } from './parsers.ts';
import type { Problems } from './problems.ts';
import type { SCHEMA } from './schema.ts';
import { workerName } from './service-parsers.ts';
import { readAliases, readCalls, readServices } from './services.ts';
import type { ReadText } from './sources.ts';
import type { TreeResult } from './tree.ts';

/** What the caller will do with it: a sidecar, or a node of the DHT alone. */
export type Purpose = 'sidecar' | 'bootstrap';

const BOOTSTRAP_PORT = 49737;

function workerId({ tree, problems }: Context, host: HostFacts): string {
  const given = tree.values.worker.id;
  if (given !== null) return given;
  if (tree.failed.has('worker.id')) return 'unnamed';
  const found = problems.attempt('SIDECAR_WORKER_ID', () => workerName(host.hostName));
  return found ?? 'unnamed';
}

function vpnIp({ tree, warnings }: Context, host: HostFacts): string | null {
  const { ip, cidr } = tree.values.vpn;
  if (ip === 'none') return null;
  if (ip === null) return tree.failed.has('vpn.ip') ? null : vpnAddress(cidr, host.addresses);
  if (subnetOf(cidr)?.(ip) === false) {
    warnings.push(`${tree.where('vpn.ip')}: ${ip} is outside of the VPN network ${cidr}`);
  }
  return ip;
}

function meshOf({ tree, problems }: Context): Config['mesh'] {
  const { key, cert } = tree.values.mesh;
  const failed = tree.failed.has('mesh.key') || tree.failed.has('mesh.cert');
  if (key === null && cert === null && !failed) {
    problems.add(
      'SIDECAR_MESH_KEY',
      'is missing; `dht-sidecar mesh new` makes a key (or give a certificate as SIDECAR_CERT)',
    );
  }
  if (key !== null && cert !== null) {
    problems.add(
      tree.where('mesh.cert'),
      `a mesh key is given as well (${tree.where('mesh.key')}); keep one of the two`,
    );
  }
  if (key !== null && !/^[0-9a-f]{64}$/i.test(key)) {
    problems.add(
      tree.where('mesh.key'),
      `must be 64 hex digits (32 bytes); this has ${key.length} characters`,
    );
    return { key: null, cert };
  }
  return { key: key === null ? null : Buffer.from(key, 'hex'), cert };
}

function dhtOf({ tree, problems }: Context, vpn: string | null, purpose: Purpose): Config['dht'] {
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
  const host = listen !== null && listen.host !== '' ? listen.host : (vpn ?? '0.0.0.0');
  return {
    bootstrap: bootstrap ?? [],
    listen: { host, port },
    announceIntervalMs: announceInterval,
    maxAgeMs: maxAge,
  };
}

function servicesOf({ tree, problems }: Context): Pick<Config, 'services' | 'calls' | 'aliases'> {
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
    healthPath: values.defaults.health,
    assumedConcurrency: values.assumedConcurrency,
    timeouts,
    retryPost: new Set(values.retries.post ?? []),
  };
  const services = readServices(values.services ?? new Map(), tree.where('services'), defaults, problems);
  const others = readCalls(values.calls ?? new Map(), tree.where('calls'), defaults, problems);
  const byService = new Map<string, CallConfig>(others);
  for (const service of services) {
    if (values.calls?.has(service.name) === true) {
      problems.add(
        tree.where('calls'),
        `${service.name} is offered here; say it in services.${service.name}`,
      );
    }
    byService.set(service.name, { timeouts: service.timeouts, retryPost: service.retryPost });
  }
  checkNames(tree, values.services ?? new Map(), services, problems);
  return {
    services,
    calls: { default: { timeouts, retryPost: false }, byService },
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

/** Fills in and checks; the result is of use only if no problem was added. */
export function resolveConfig(
  tree: TreeResult<typeof SCHEMA>,
  host: HostFacts,
  readText: ReadText,
  purpose: Purpose,
  problems: Problems,
): Config {
  const { values } = tree;
  const warnings: string[] = [];
  const context: Context = { tree, problems, warnings };
  const vpn = vpnIp(context, host);
  const served = servicesOf(context);
  const inbound = { listen: inboundOf(values.inbound.listen, vpn) };
  const config: Config = {
    worker: {
      id: workerId(context, host),
      capabilities: values.worker.capabilities ?? detectedCapabilities(host),
    },
    ...served,
    outbound: outboundOf(context),
    inbound,
    admin: { listen: values.admin.listen },
    vpn: { ip: vpn, cidr: values.vpn.cidr },
    tunnel: tunnelOf(context, readText),
    mesh: meshOf(context),
    dht: dhtOf(context, vpn, purpose),
    cache: { ttlMs: values.cache.ttl, firstLookupWaitMs: values.cache.firstLookupWait },
    probe: {
      fewIntervalMs: values.probe.fewInterval,
      manyIntervalMs: values.probe.manyInterval,
      timeoutMs: values.probe.timeout,
    },
    balance: { policy: values.balance.policy },
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
    drain: { acceptMs: values.drain.accept, waitMs: values.drain.wait },
    trustForwarded: values.trustForwarded,
    state: values.state,
    log: values.log,
    warnings,
  };
  if (purpose === 'sidecar') checkListeners(context, config);
  return config;
}
