/**
 * What this sidecar says of itself: its record, its state for one caller, and the report on each response.
 *
 * One place where the counts of the services, the measured load and the life of the process come together, so that the
 * three never disagree.
 */
import type { Config } from '../config/config.ts';
import { withDetected } from '../config/host-facts.ts';
import { carriersText, DEFAULT_CARRIERS } from '../core/http/session-carrier.ts';
import { encodeReport, type LoadReport } from '../core/peers/load-report.ts';
import { encodePeerState } from '../core/peers/peer-state.ts';
import type { ServiceFigures, WorkerRecord, WorkerState } from '../core/peers/record.ts';
import type { Capabilities } from '../core/peers/requirements.ts';
import type { GpuMeter } from '../load/gpu.ts';
import type { LoadChoice, LoadSampler, LoadSnapshot, OwnFigures } from '../load/sampler.ts';
import { placeOf } from '../mesh/discovery/id-conflicts.ts';
import { type Life, newLifeId } from '../mesh/membership/life-proof.ts';
import type { LocalService } from '../proxy/worker/local-service.ts';

export interface SelfReportOptions {
  readonly config: Config;
  /** The present key. */
  readonly identity: { readonly keyHex: string };
  readonly services: ReadonlyMap<string, LocalService>;
  readonly sampler: LoadSampler;
  readonly gpu: Pick<GpuMeter, 'capabilities'>;
  /** Port of the inbound listener as it is bound. */
  readonly inboundPort: number;
}

const NOTHING_SAID = { slots: null, orca: null, push: null, metrics: null } as const;

const DEFAULT_WORD = carriersText(DEFAULT_CARRIERS);

/** Responses tell so long that the record has changed: who gets none in this time asks for the state. */
const NEWS_MS = 30_000;

export class SelfReport {
  readonly #options: SelfReportOptions;
  #choices: ReadonlyMap<string, LoadChoice>;
  /** What carries the sessions of a service, where that is not the default. */
  #sessionWords: ReadonlyMap<string, { readonly session: string }>;
  readonly #lifeId = newLifeId();
  #epoch = Date.now();
  #seq = 0;
  #isDraining = false;
  #tunnelUrl: string | null;
  #vpnIp: string | null;
  /** What records say besides state and figures, as of its last change. */
  #content: string;
  #revision = 0;
  #changedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: SelfReportOptions) {
    this.#options = options;
    this.#tunnelUrl = options.config.tunnel.url;
    this.#vpnIp = options.config.vpn.ip;
    this.#content = this.#contentNow();
    this.#choices = new Map();
    this.#sessionWords = new Map();
    this.configChanged();
  }

  /** Its services are others now, or otherwise configured. */
  configChanged(): void {
    const { services } = this.#options.config;
    this.#sessionWords = new Map(
      services.flatMap(({ name, sessions }) => {
        const session = sessions === null ? DEFAULT_WORD : carriersText(sessions);
        return session === DEFAULT_WORD ? [] : [[name, { session }]];
      }),
    );
    this.#choices = new Map(services.map(({ name, load }) => [name, load.source]));
  }

  /** Unix ms: orders the lives of this worker. */
  get epoch(): number {
    return this.#epoch;
  }

  /** With another key it is another worker, which has just begun. */
  startAnew(): void {
    this.#epoch = Math.max(Date.now(), this.#epoch + 1);
    this.#revision += 1;
    this.#changedAtMs = performance.now();
  }

  /** This run, for the one who asks whether it is another one than he knows. */
  life(): Life {
    const { inboundPort } = this.#options;
    const own = { vpn_ip: this.#vpnIp, inbound_port: inboundPort, tunnel_url: this.#tunnelUrl };
    return { id: this.#lifeId, epoch: this.#epoch, place: placeOf(own), isDraining: this.#isDraining };
  }

  get workerId(): string {
    return this.#options.config.worker.id;
  }

  get inboundPort(): number {
    return this.#options.inboundPort;
  }

  get tunnelUrl(): string | null {
    return this.#tunnelUrl;
  }

  /** Where peers reach it by VPN; null = not by VPN. */
  get vpnIp(): string | null {
    return this.#vpnIp;
  }

  foundVpn(ip: string | null): void {
    this.#vpnIp = ip;
  }

  /** True if it is another one than before. */
  foundTunnel(url: string | null): boolean {
    if (url === this.#tunnelUrl) return false;
    this.#tunnelUrl = url;
    return true;
  }

  /** To be asked after anything that could change its record: whether it did. From then on everybody is told. */
  changed(): boolean {
    const content = this.#contentNow();
    if (content === this.#content) return false;
    this.#content = content;
    this.#revision += 1;
    this.#changedAtMs = performance.now();
    return true;
  }

  /** Of its record. */
  get revision(): number {
    return this.#revision;
  }

  #contentNow(): string {
    const { config, inboundPort } = this.#options;
    const { capabilities } = config.worker;
    return JSON.stringify([
      this.offered,
      this.#paused,
      this.#vpnIp,
      inboundPort,
      this.#tunnelUrl,
      capabilities,
    ]);
  }

  drain(): void {
    this.#isDraining = true;
  }

  /** `warming` while no service is ready; a sidecar that offers none is ready. */
  get state(): WorkerState {
    if (this.#isDraining) return 'draining';
    const { services } = this.#options;
    if (services.size === 0) return 'ready';
    for (const service of services.values()) if (isShown(service)) return 'ready';
    return 'warming';
  }

  /** Of those offered the ones that take no requests for now. */
  get #paused(): string[] {
    const { services } = this.#options;
    return this.offered.filter((name) => services.get(name)?.isPaused === true);
  }

  /** The services that peers may be sent to, or are told to be paused: the ready ones, or all while none is. */
  get offered(): string[] {
    const all = [...this.#options.services.values()];
    const ready = all.filter(isShown);
    return (ready.length > 0 ? ready : all).map((service) => service.name);
  }

  /** The load of one service, or the highest of all of this worker. */
  load(service: string | null): LoadSnapshot {
    const { sampler, services } = this.#options;
    const of = service === null ? [...services.values()] : [services.get(service)];
    const loads = of.flatMap((each) =>
      each === undefined ? [] : [sampler.loadOf(ownFigures(each), this.#choiceOf(each.name))],
    );
    if (loads.length === 0) return sampler.loadOf(NOTHING_SAID, 'auto');
    return loads.reduce((highest, each) => (each.loadRatio > highest.loadRatio ? each : highest));
  }

  #choiceOf(service: string): LoadChoice {
    return this.#choices.get(service) ?? 'auto';
  }

  /** As they are configured and were detected at the start, and what was learnt of the GPUs since. */
  get capabilities(): Capabilities {
    const { config, gpu } = this.#options;
    return withDetected(config.worker.capabilities, gpu.capabilities);
  }

  record(): WorkerRecord {
    const { config, inboundPort, identity } = this.#options;
    this.#seq++;
    this.changed();
    const figures: Record<string, ServiceFigures> = {};
    const offered = this.offered;
    const paused = this.#paused;
    for (const name of offered) figures[name] = this.#figures(name);
    return {
      worker_id: config.worker.id,
      vpn_ip: this.#vpnIp,
      tunnel_url: this.#tunnelUrl,
      services: offered,
      capabilities: this.capabilities,
      load: round(this.load(null).loadRatio),
      last_seen: Date.now() / 1000,
      public_key: identity.keyHex,
      epoch: this.epoch,
      seq: this.#seq,
      revision: this.#revision,
      state: this.state,
      inbound_port: this.#vpnIp === null ? null : inboundPort,
      ...(paused.length === 0 ? {} : { paused }),
      figures,
    };
  }

  /** Body of GET /state. */
  stateFor(callerKey: string): unknown {
    this.#seq++;
    this.changed();
    return encodePeerState(
      this.offered.map((service) => this.#report(service, callerKey)),
      this.#reason,
      this.#revision,
    );
  }

  /** Value of `sidecar-load` on a response to this caller. */
  report(service: string, callerKey: string): string {
    this.#seq++;
    const isNews = performance.now() - this.#changedAtMs < NEWS_MS;
    return encodeReport(this.#report(service, callerKey), isNews ? this.#revision : null);
  }

  /** Why it is warming, for the one who is refused elsewhere. */
  get #reason(): string {
    if (this.state !== 'warming') return '';
    const { services } = this.#options;
    const reasons = [...services.values()].map(({ name, healthReason }) =>
      services.size === 1 ? healthReason : `${name}: ${healthReason}`,
    );
    return reasons.join(', ');
  }

  #figures(name: string): ServiceFigures {
    const admission = this.#options.services.get(name)?.admission;
    // What a request meets, which where slots are shared is not of its service alone.
    return {
      in_flight: admission?.slots.inFlight ?? 0,
      concurrency: admission?.concurrency ?? 0,
      queued: admission?.slots.queued ?? 0,
      service_ms: roundedMs(admission?.serviceMs(performance.now()) ?? null),
      ...this.#sessionWords.get(name),
    };
  }

  #report(name: string, callerKey: string): LoadReport {
    const { sampler, services } = this.#options;
    const service = services.get(name);
    const admission = service?.admission;
    const nowMs = performance.now();
    const sinceMs = admission?.longestSinceMs ?? null;
    const own = service === undefined ? NOTHING_SAID : ownFigures(service);
    return {
      epoch: this.epoch,
      seq: this.#seq,
      state: this.state,
      load: round(sampler.ratioOf(own, this.#choiceOf(name))),
      service: name,
      inFlight: admission?.slots.inFlight ?? 0,
      queued: admission?.slots.queued ?? 0,
      concurrency: admission?.concurrency ?? 0,
      serviceMs: roundedMs(admission?.serviceMs(nowMs) ?? null),
      mine: service?.outstandingOf(callerKey) ?? 0,
      activeCallers: service?.activeCallers ?? 1,
      oldestMs: sinceMs === null ? null : Math.max(0, nowMs - sinceMs),
      fullAt: service?.standing.fullAt(nowMs) ?? null,
      fullForMs: Math.round(service?.standing.fullForMs(nowMs) ?? 0),
    };
  }
}

/** One that is paused stays known, whether its worker runs meanwhile or not: its peers are told why it takes nothing. */
function isShown({ isPaused, state }: LocalService): boolean {
  return isPaused || state === 'ready';
}

function ownFigures({ admission, selfReportedLoad }: LocalService): OwnFigures {
  const { orca, push, metrics } = selfReportedLoad.figures(performance.now());
  return { slots: admission.load, orca, push, metrics };
}

function roundedMs(serviceMs: number | null): number | null {
  return serviceMs === null ? null : Math.round(serviceMs * 10) / 10;
}

function round(ratio: number): number {
  return Math.round(ratio * 1000) / 1000;
}
