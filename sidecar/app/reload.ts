/**
 * Takes over a changed configuration while requests run: what is new is begun first, then everything changes places in
 * one turn of the event loop, then what is gone ends. A configuration with mistakes changes nothing.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Config, ServiceConfig } from '../config/config.ts';
import type { LoadedConfig } from '../config/load.ts';
import { isConfigError } from '../config/problems.ts';
import type { Balancer } from '../core/balancing/balancer.ts';
import type { SessionCarriers } from '../core/http/session-carrier.ts';
import type { Log, LogLevel } from '../core/log.ts';
import { ROSTER } from '../mesh/discovery/roster.ts';
import type { Identity } from '../mesh/membership/identity.ts';
import type { Metrics } from '../observe/metrics.ts';
import type { ReloadChanges, ReloadResult } from '../observe/reload-put.ts';
import type { LocalService } from '../proxy/worker/local-service.ts';
import type { Pauses } from '../proxy/worker/pauses.ts';
import type { Mesh } from './build-mesh.ts';
import type { LocalServices } from './build-services.ts';
import type { SelfReport } from './self-report.ts';

/** The difference of two configurations as what is to be done. Carrying it out is apart, so that any two can be tried. */
interface ReloadPlan extends ReloadChanges {
  /** Of those that stay the ones that are built anew, since what they are built from has changed. */
  readonly rebuilt: readonly string[];
  /** Options that differ and stay as they were until a restart. */
  readonly needsRestart: readonly string[];
}

/** What is taken over while the sidecar runs. */
const LIVE: ReadonlySet<string> = new Set([
  'services',
  'calls',
  'aliases',
  'defaults.concurrency',
  'defaults.queue',
  'defaults.health',
  'assumedConcurrency',
  'timeouts.vpnConnect',
  'timeouts.tunnelConnect',
  'timeouts.workerConnect',
  'timeouts.head',
  'timeouts.idle',
  'retries.post',
  'retries.refused',
  'balance.policy',
  'log.level',
]);

export function planReload(before: LoadedConfig, after: LoadedConfig): ReloadPlan {
  const old = byName(before.config.services);
  const next = byName(after.config.services);
  const added = [...next.keys()].filter((name) => !old.has(name));
  const removed = [...old.keys()].filter((name) => !next.has(name));
  const changed: string[] = [];
  const rebuilt = new Set<string>();
  for (const [name, service] of next) {
    const former = old.get(name);
    if (former === undefined || isDeepStrictEqual(former, service)) continue;
    changed.push(name);
    if (!isDeepStrictEqual(builtFrom(former), builtFrom(service))) rebuilt.add(name);
  }
  // Who shares slots is built together.
  const groups = new Set(
    [...added, ...removed, ...rebuilt].flatMap((name) => [groupOf(old.get(name)), groupOf(next.get(name))]),
  );
  for (const [name, service] of next) {
    const group = groupOf(service);
    if (old.has(name) && group !== null && groups.has(group)) rebuilt.add(name);
  }
  const differing = [...after.options.keys()].filter(
    (key) => !isDeepStrictEqual(before.options.get(key), after.options.get(key)),
  );
  return {
    services: { added, removed, changed },
    rebuilt: [...rebuilt],
    applied: differing.filter((key) => LIVE.has(key)),
    needsRestart: differing.filter((key) => !LIVE.has(key)),
  };
}

/** What the sidecar runs with once the plan is carried out. */
export function reloaded(before: LoadedConfig, after: LoadedConfig): LoadedConfig {
  const options = new Map([...after.options].filter(([key]) => LIVE.has(key)));
  const { services, calls, aliases, balance, log } = after.config;
  const format = before.config.log.format;
  return {
    config: { ...before.config, services, calls, aliases, balance, log: { ...log, format } },
    options: new Map([...before.options, ...options]),
  };
}

function byName(services: readonly ServiceConfig[]): ReadonlyMap<string, ServiceConfig> {
  return new Map(services.map((service) => [service.name, service]));
}

function groupOf(service: ServiceConfig | undefined): string | null {
  return service?.slots.group ?? null;
}

/** Without what only says how it is called, and by which names. */
function builtFrom(service: ServiceConfig): Partial<ServiceConfig> {
  const { aliases: _, retryPost: _1, retryRefused: _2, requirements: _3, preferences: _4, ...rest } = service;
  return rest;
}

/** Where the configuration comes from. */
export interface ConfigSource {
  /** What the sidecar was started with. */
  readonly loaded: LoadedConfig;
  /** All sources once more; throws a ConfigError. */
  read(): LoadedConfig;
  setLogLevel(level: LogLevel): void;
}

/** What is read at the moment of use, and may be replaced. */
export type LiveConfig = { -readonly [Key in keyof Config]: Config[Key] };

export interface ReloaderOptions {
  readonly source: ConfigSource;
  readonly live: LiveConfig;
  readonly services: LocalServices;
  readonly identity: Pick<Identity, 'offer'>;
  readonly self: Pick<SelfReport, 'configChanged'>;
  readonly pauses: Pick<Pauses, 'apply'>;
  readonly mesh: Pick<Mesh, 'announcer' | 'selfChanged'>;
  /** Service → what carries its sessions. */
  readonly saidSessions: Map<string, SessionCarriers>;
  readonly balancer: Pick<Balancer, 'use'>;
  readonly metrics: Pick<Metrics, 'knowService'>;
  onStarted(service: LocalService): void;
  readonly log: Log;
}

/** What carries sessions, by service, where the configuration says it. */
export function saidSessions({ calls }: Pick<Config, 'calls'>): Map<string, SessionCarriers> {
  const said = [...calls.byService].flatMap(([name, { sessions }]) =>
    sessions === null ? [] : [[name, sessions] as const],
  );
  return new Map(said);
}

/** So long it is waited for the first health check of a worker, so that one that is ready does not seem to be warming. */
const FIRST_CHECK_MS = 3_000;

export class Reloader {
  readonly #options: ReloaderOptions;
  #present: LoadedConfig;
  #running: Promise<unknown> = Promise.resolve();

  constructor(options: ReloaderOptions) {
    this.#options = options;
    this.#present = options.source.loaded;
  }

  /** One after the other. Rejects only for a fault of this program. */
  reload(): Promise<ReloadResult> {
    const result = this.#running.then(() => this.#reload());
    this.#running = result.catch(() => {});
    return result;
  }

  async #reload(): Promise<ReloadResult> {
    const { log, source } = this.#options;
    let read: LoadedConfig;
    try {
      read = source.read();
    } catch (error) {
      if (!isConfigError(error)) throw error;
      log.error({ detail: error.problems }, 'the configuration has mistakes: nothing is changed');
      return { kind: 'refused', problems: error.problems };
    }
    const plan = planReload(this.#present, read);
    const next = reloaded(this.#present, read);
    await this.#take(plan, next.config);
    this.#present = next;
    const { applied, needsRestart, services } = plan;
    for (const option of needsRestart)
      log.warn({ option }, 'this option has changed and takes a restart: it stays as it was');
    log.info({ detail: { ...services, applied } }, 'the configuration was read anew');
    for (const warning of read.config.warnings) log.warn({ part: 'config' }, warning);
    return { kind: 'done', services, applied, needs_restart: needsRestart };
  }

  async #take(plan: ReloadPlan, config: Config): Promise<void> {
    const { balancer, identity, live, mesh, metrics, onStarted, pauses, self, services, source } =
      this.#options;
    const { added, removed } = plan.services;
    const building = new Set([...added, ...plan.rebuilt]);
    const { begun, checked } = services.begin(config.services.filter(({ name }) => building.has(name)));
    if (begun.length > 0) await Promise.race([checked, new Promise((on) => setTimeout(on, FIRST_CHECK_MS))]);
    const names = config.services.map(({ name }) => name);
    Object.assign(live, config);
    if (added.length + removed.length > 0) identity.offer(names, Date.now());
    services.offer(begun);
    for (const name of removed) services.withdraw(name);
    for (const { local } of begun) onStarted(local);
    for (const name of added) metrics.knowService(name);
    this.#options.saidSessions.clear();
    for (const [name, carriers] of saidSessions(config)) this.#options.saidSessions.set(name, carriers);
    self.configChanged();
    pauses.apply();
    balancer.use(config.balance.policy);
    if (plan.applied.includes('log.level')) source.setLogLevel(config.log.level);
    if (added.length + removed.length > 0) void mesh.announcer.offer([ROSTER, ...names]);
    mesh.selfChanged();
  }
}
