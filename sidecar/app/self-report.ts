/**
 * What this sidecar says of itself: its record, its state for one caller, and the report on each response.
 *
 * One place where the counts of the services, the measured load and the life of the process come together, so that the
 * three never disagree.
 */
import type { Config } from '../config/config.ts';
import { encodeOrca, type LoadReport } from '../core/peers/load-report.ts';
import { encodePeerState } from '../core/peers/peer-state.ts';
import type { ServiceFigures, WorkerRecord, WorkerState } from '../core/peers/record.ts';
import type { LoadSampler, LoadSnapshot } from '../load/sampler.ts';
import type { LocalService } from '../proxy/worker/local-service.ts';

export interface SelfReportOptions {
  readonly config: Config;
  readonly keyHex: string;
  readonly services: ReadonlyMap<string, LocalService>;
  readonly sampler: LoadSampler;
  /** Port of the inbound listener as it is bound. */
  readonly inboundPort: number;
}

const NOTHING_SAID = { slots: null, orca: null, push: null, metrics: null } as const;

export class SelfReport {
  readonly #options: SelfReportOptions;
  /** Unix ms: orders the lives of this worker. */
  readonly epoch = Date.now();
  #seq = 0;
  #isDraining = false;
  #tunnelUrl: string | null;

  constructor(options: SelfReportOptions) {
    this.#options = options;
    this.#tunnelUrl = options.config.tunnel.url;
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

  /** True if it is another one than before. */
  foundTunnel(url: string | null): boolean {
    if (url === this.#tunnelUrl) return false;
    this.#tunnelUrl = url;
    return true;
  }

  drain(): void {
    this.#isDraining = true;
  }

  /** `warming` while no service is ready; a sidecar that offers none is ready. */
  get state(): WorkerState {
    if (this.#isDraining) return 'draining';
    const { services } = this.#options;
    if (services.size === 0) return 'ready';
    return [...services.values()].some((service) => service.state === 'ready') ? 'ready' : 'warming';
  }

  /** The services that peers may be sent to: the ready ones, or all while none is. */
  get offered(): string[] {
    const all = [...this.#options.services.values()];
    const ready = all.filter((service) => service.state === 'ready');
    return (ready.length > 0 ? ready : all).map((service) => service.name);
  }

  /** The load of one service, or the highest of all of this worker. */
  load(service: string | null): LoadSnapshot {
    const { config, sampler, services } = this.#options;
    const nowMs = performance.now();
    const of =
      service === null ? [...services.values()] : [services.get(service)].filter((s) => s !== undefined);
    const loads = of.map((each) => {
      const choice = config.services.find(({ name }) => name === each.name)?.load.source ?? 'auto';
      return sampler.loadOf({ slots: each.admission.load, ...each.selfReportedLoad.figures(nowMs) }, choice);
    });
    if (loads.length === 0) return sampler.loadOf(NOTHING_SAID, 'auto');
    return loads.reduce((highest, each) => (each.loadRatio > highest.loadRatio ? each : highest));
  }

  record(): WorkerRecord {
    const { config, inboundPort, keyHex } = this.#options;
    this.#seq++;
    const figures: Record<string, ServiceFigures> = {};
    const offered = this.offered;
    for (const name of offered) figures[name] = this.#figures(name);
    return {
      worker_id: config.worker.id,
      vpn_ip: config.vpn.ip,
      tunnel_url: this.#tunnelUrl,
      services: offered,
      capabilities: config.worker.capabilities,
      load: round(this.load(null).loadRatio),
      last_seen: Date.now() / 1000,
      public_key: keyHex,
      epoch: this.epoch,
      seq: this.#seq,
      state: this.state,
      inbound_port: config.vpn.ip === null ? null : inboundPort,
      figures,
    };
  }

  /** Body of GET /state. */
  stateFor(callerKey: string): unknown {
    this.#seq++;
    return encodePeerState(
      this.offered.map((service) => this.#report(service, callerKey)),
      this.#reason,
    );
  }

  /** Value of `endpoint-load-metrics` on a response to this caller. */
  orca(service: string, callerKey: string): string {
    this.#seq++;
    return encodeOrca(this.#report(service, callerKey));
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
    const serviceMs = admission?.serviceMs(performance.now()) ?? null;
    return {
      in_flight: admission?.inFlight ?? 0,
      concurrency: admission?.concurrency ?? 0,
      queued: admission?.queued ?? 0,
      service_ms: serviceMs === null ? null : Math.round(serviceMs * 10) / 10,
    };
  }

  #report(name: string, callerKey: string): LoadReport {
    const figures = this.#figures(name);
    const service = this.#options.services.get(name);
    const sinceMs = service?.admission.longestSinceMs ?? null;
    return {
      epoch: this.epoch,
      seq: this.#seq,
      state: this.state,
      load: round(this.load(name).loadRatio),
      service: name,
      inFlight: figures.in_flight,
      queued: figures.queued,
      concurrency: figures.concurrency,
      serviceMs: figures.service_ms,
      mine: service?.outstandingOf(callerKey) ?? 0,
      activeCallers: service?.activeCallers ?? 1,
      oldestMs: sinceMs === null ? null : Math.max(0, performance.now() - sinceMs),
    };
  }
}

function round(ratio: number): number {
  return Math.round(ratio * 1000) / 1000;
}
