/**
 * Services and calls: the mappings by service name → `ServiceConfig` and `CallConfig`.
 *
 * Each entry is a small configuration of its own (SERVICE_SCHEMA), read by the same machinery as the whole, so that
 * nothing is checked twice or differently.
 */
import { NO_REQUIREMENTS } from '../core/peers/requirements.ts';
import { type HealthAsk, unsaidHealthAsk } from '../core/worker/health-ask.ts';
import type { CallConfig, ServiceConfig, TimeoutsConfig } from './config.ts';
import type { OptionTree, ValuesOf } from './option.ts';
import type { Problems } from './problems.ts';
import { SCHEMA } from './schema.ts';
import { type PerService, serviceName } from './service-parsers.ts';
import { CALL_SCHEMA, SERVICE_SCHEMA } from './service-schema.ts';
import { withGroupLimits } from './slot-groups.ts';
import { flattenFile, readTree, type TreeResult } from './tree.ts';
import { type FileContext, workerTls } from './worker-tls.ts';
import type { WorkerUrl } from './worker-url.ts';

export interface ServiceDefaults {
  readonly concurrency: PerService<number | 'none'>;
  readonly queue: PerService<number>;
  readonly healthAsk: PerService<HealthAsk> | null;
  readonly assumedConcurrency: number;
  readonly timeouts: TimeoutsConfig;
  readonly retryPost: ReadonlySet<string>;
  readonly retryRefused: boolean;
}

function fileLabel(where: string, name: string): (key: string) => string {
  // `services in sidecar.yaml` → `services.<name>.<key> in sidecar.yaml`; a variable stays as it is.
  const match = /^(\S+)( in .*)$/s.exec(where);
  const [base, rest] = match === null ? [where, ''] : [match[1] ?? '', match[2] ?? ''];
  return (key) => `${base}.${name}${key === '' ? '' : `.${key}`}${rest}`;
}

function readEntry<S extends OptionTree>(
  tree: S,
  raw: unknown,
  where: string,
  name: string,
  problems: Problems,
): TreeResult<S> {
  const label = fileLabel(where, name);
  // Text stands for the URL alone.
  const content = typeof raw === 'string' || Array.isArray(raw) ? { url: raw } : raw;
  const file = flattenFile(tree, content, label, problems);
  const result = readTree(tree, { file, env: new Map(), args: new Map() }, problems);
  return { ...result, where: label };
}

const QUEUE_DEFAULT = Number(SCHEMA.defaults.queue.default);

function valueFor<T>(from: PerService<T>, name: string): T | undefined {
  return from.kind === 'all' ? from.value : from.values.get(name);
}

function unlessNone<T>(value: T | 'none'): T | null {
  return value === 'none' ? null : value;
}

function callOf(own: ValuesOf<typeof CALL_SCHEMA>, name: string, defaults: ServiceDefaults): CallConfig {
  const base = defaults.timeouts;
  return {
    timeouts: {
      vpnConnectMs: own.timeouts.vpnConnect ?? base.vpnConnectMs,
      tunnelConnectMs: own.timeouts.tunnelConnect ?? base.tunnelConnectMs,
      workerConnectMs: own.timeouts.workerConnect ?? base.workerConnectMs,
      headMs: own.timeouts.head ?? base.headMs,
      idleMs: own.timeouts.idle ?? base.idleMs,
    },
    retryPost: own.retryPost ?? defaults.retryPost.has(name),
    requirements: own.require ?? NO_REQUIREMENTS,
    preferences: own.prefer ?? NO_REQUIREMENTS,
    retryRefused: own.retryRefused ?? defaults.retryRefused,
    sessions: own.session,
  };
}

/** The services offered here; wrong ones are left out and are problems. */
export function readServices(
  entries: ReadonlyMap<string, unknown>,
  where: string,
  defaults: ServiceDefaults,
  context: FileContext,
): readonly ServiceConfig[] {
  const { problems } = context;
  const services: ServiceConfig[] = [];
  const said = new Map<string, number | null | undefined>();
  for (const [name, raw] of entries) {
    if (problems.attempt(where, () => serviceName(name)) === undefined) continue;
    const { values, failed, where: label } = readEntry(SERVICE_SCHEMA, raw, where, name, problems);
    if (values.url === null) {
      if (!failed.has('url')) problems.add(label('url'), 'is missing: where does the worker listen?');
      continue;
    }
    if (values.load.metrics !== null && values.load.metricsUrl === null && !failed.has('load.metricsUrl')) {
      problems.add(label('load.metrics'), 'needs load.metricsUrl: on which page are they?');
    }
    const urls = values.url;
    const [{ scheme }] = urls as readonly [WorkerUrl];
    if (urls.some((url) => (url.scheme === 'h2c') !== (scheme === 'h2c')))
      problems.add(label('url'), 'mixes h2c:// with others: those of one service speak one version of HTTP');
    if (urls.length > 1 && values.slots.group !== null)
      problems.add(
        label('slots.group'),
        'and several URLs: each URL has slots of its own; name a service for each group',
      );
    if (scheme !== 'h2c' && values.health.path?.kind === 'grpc')
      problems.add(label('health.path'), 'is for workers of h2c://: gRPC needs HTTP/2');
    said.set(name, saidConcurrency(values.concurrency, name, defaults));
    services.push({
      name,
      urls,
      tls: workerTls(values.tls, urls, label, context),
      sentHost: values.host,
      concurrency: unlessNone(values.concurrency ?? valueFor(defaults.concurrency, name) ?? 'none'),
      assumedConcurrency: defaults.assumedConcurrency,
      queue: values.queue ?? valueFor(defaults.queue, name) ?? QUEUE_DEFAULT,
      slots: {
        group: values.slots.group,
        free: values.slots.free ?? [],
        light: values.slots.light ?? [],
        byChannels: values.slots.channels,
      },
      aliases: values.aliases ?? [],
      health: {
        ask:
          values.health.path ??
          (defaults.healthAsk && valueFor(defaults.healthAsk, name)) ??
          unsaidHealthAsk(scheme),
        intervalMs: values.health.interval,
        timeoutMs: values.health.timeout,
        healthyAfter: values.health.healthyAfter,
        unhealthyAfter: values.health.unhealthyAfter,
      },
      load: {
        source: values.load.source,
        metricsUrl: values.load.metricsUrl?.href ?? null,
        metrics: values.load.metrics,
        intervalMs: values.load.interval,
      },
      warmingLimitMs: values.warmingLimit,
      ...callOf(values, name, defaults),
    });
  }
  return withGroupLimits(services, said, (name) => fileLabel(where, name)('concurrency'), problems);
}

/** By its own entry, or where it is named among the defaults. */
function saidConcurrency(
  own: number | 'none' | null,
  name: string,
  { concurrency }: ServiceDefaults,
): number | null | undefined {
  const word = own ?? (concurrency.kind === 'each' ? concurrency.values.get(name) : undefined);
  return word === undefined ? undefined : unlessNone(word);
}

/** For a service of which nothing else is said. */
export function callDefault(
  { timeouts, retryRefused }: Pick<ServiceDefaults, 'timeouts' | 'retryRefused'>,
  retryPost: boolean,
): CallConfig {
  const anyWorker = { requirements: NO_REQUIREMENTS, preferences: NO_REQUIREMENTS };
  return { timeouts, retryPost, retryRefused, ...anyWorker, sessions: null };
}

/** How services of others are called, by name. */
export function readCalls(
  entries: ReadonlyMap<string, unknown>,
  where: string,
  defaults: ServiceDefaults,
  problems: Problems,
): ReadonlyMap<string, CallConfig> {
  const calls = new Map<string, CallConfig>();
  for (const name of defaults.retryPost) calls.set(name, callDefault(defaults, true));
  for (const [name, raw] of entries) {
    if (problems.attempt(where, () => serviceName(name)) === undefined) continue;
    calls.set(name, callOf(readEntry(CALL_SCHEMA, raw, where, name, problems).values, name, defaults));
  }
  return calls;
}

/** Alias → service of all sources; an alias that means two things is a problem. */
export function readAliases(
  own: ReadonlyMap<string, string>,
  where: string,
  services: readonly ServiceConfig[],
  problems: Problems,
): ReadonlyMap<string, string> {
  const names = new Set(services.map((service) => service.name));
  const aliases = new Map(own);
  for (const service of services) {
    for (const alias of service.aliases) {
      const other = aliases.get(alias);
      if (other !== undefined && other !== service.name) {
        problems.add(`alias ${alias}`, `stands for both ${other} and ${service.name}`);
      }
      aliases.set(alias, service.name);
    }
  }
  for (const [alias, target] of aliases) {
    if (names.has(alias)) problems.add(`alias ${alias}`, 'is also the name of a service offered here');
    if (aliases.has(target))
      problems.add(where, `alias ${alias} stands for ${target}, which is an alias itself`);
  }
  return aliases;
}
