import type { SentHost } from '../../../sidecar/core/forwarding/mount.ts';
import { betweenSidecars } from '../../../sidecar/core/forwarding/sidecar-headers.ts';
import type { HostPort } from '../../../sidecar/core/host-port.ts';
import type { HeadLimits } from '../../../sidecar/core/http/message.ts';
import { encodeReport } from '../../../sidecar/core/peers/load-report.ts';
import { type Endpoint, Peer } from '../../../sidecar/core/peers/peer.ts';
import type { Standing } from '../../../sidecar/core/peers/standing.ts';
import { Admission } from '../../../sidecar/core/worker/admission.ts';
import { CONNECT } from '../../../sidecar/core/worker/health-ask.ts';
import type { RequestTimeouts } from '../../../sidecar/http/exchange.ts';
import { Http1Pool } from '../../../sidecar/http/http1/pool.ts';
import { HttpListener } from '../../../sidecar/http/listener.ts';
import { PausedSockets } from '../../../sidecar/http/sockets/paused-sockets.ts';
import { Strangers, strangerLimits } from '../../../sidecar/http/sockets/strangers.ts';
import { CoarseTimers } from '../../../sidecar/http/sockets/timers.ts';
import { RequestAuth } from '../../../sidecar/mesh/membership/request-auth.ts';
import { createInbound } from '../../../sidecar/proxy/inbound/inbound.ts';
import type { FinishedInbound } from '../../../sidecar/proxy/observers.ts';
import { problemReply } from '../../../sidecar/proxy/problem.ts';
import { LocalService } from '../../../sidecar/proxy/worker/local-service.ts';
import { SlotUse, type SlotUseOptions } from '../../../sidecar/proxy/worker/slot-use.ts';
import { WorkerHealth } from '../../../sidecar/proxy/worker/worker-health.ts';
import { Arrivals } from '../runner/arrivals.ts';
import { ScriptedOrigin } from '../workers/scripted-origin.ts';
import { member, recordOf } from './members.ts';

export const SERVICE = 'llm-inference';
export const LIMITS: HeadLimits = { maxHeadBytes: 65_536, maxFields: 100, maxTargetBytes: 16_384 };
export const TIMEOUTS: RequestTimeouts = { connectMs: 1_000, headMs: 8_000, idleMs: 8_000 };

export interface InboundSetup {
  readonly name?: string;
  readonly concurrency?: number | null;
  readonly queue?: number;
  readonly slotUse?: Partial<SlotUseOptions>;
  /** false: the worker never becomes ready. */
  readonly isReady?: boolean;
  /** Failed checks in a row that withdraw the worker. */
  readonly unhealthyAfter?: number;
  readonly basePath?: string;
  /** The Host that the worker is sent. */
  readonly sentHost?: SentHost;
  readonly timeouts?: RequestTimeouts;
  /** Of event streams that leave by the tunnel. */
  readonly heartbeatMs?: number;
  /** What the record says besides. */
  readonly tunnelUrl?: string;
  readonly hasVpn?: boolean;
  readonly meshKey?: Uint8Array;
}

export class InboundSide {
  readonly origin: ScriptedOrigin;
  readonly listener: HttpListener;
  readonly service: LocalService;
  readonly peer: Peer;
  readonly finished: Arrivals<FinishedInbound> = new Arrivals('an inbound request to finish');
  readonly bugs: unknown[] = [];
  /** Whether the worker is ready, as it was found from one change to the next. */
  readonly readiness: readonly boolean[];
  /** Where callers said that their records are to be had. */
  readonly introduced: HostPort[] = [];
  /** Requests that are being served. */
  running = 0;
  isClosed = false;
  readonly #health: WorkerHealth;
  readonly #pool: Http1Pool;

  static async start(setup: InboundSetup = {}): Promise<InboundSide> {
    const origin = await ScriptedOrigin.start();
    const timers = new CoarseTimers(20);
    const pool = new Http1Pool({
      limits: LIMITS,
      timers,
      keepIdleMs: 30_000,
      connectAttempts: 1,
      reuseUnsafeMs: 30_000,
      tlsCa: null,
    });
    const address = { scheme: 'http', host: '127.0.0.1', port: origin.port } as const;
    const readiness: boolean[] = [];
    const health = new WorkerHealth({
      origin: address,
      ask: CONNECT,
      atWork: () => 'no',
      intervalMs: 600_000,
      timeoutMs: 2_000,
      healthyAfter: 1,
      unhealthyAfter: setup.unhealthyAfter ?? 3,
      upstreams: pool,
      onChange: (isReady) => readiness.push(isReady),
      onReport: () => {},
    });
    if (setup.isReady !== false) await health.start();
    const service = new LocalService({
      name: SERVICE,
      instances: [
        {
          origin: address,
          url: `http://127.0.0.1:${origin.port}${setup.basePath ?? ''}`,
          basePath: setup.basePath ?? '',
          health,
        },
      ],
      sentHost: setup.sentHost ?? { kind: 'worker' },
      timeouts: setup.timeouts ?? TIMEOUTS,
      admission: new Admission({
        concurrency: setup.concurrency ?? null,
        assumedConcurrency: 8,
        queue: setup.queue ?? 10,
      }),
      slotUse: new SlotUse({ byChannels: false, free: null, light: null, ...setup.slotUse }),
      upstreams: pool,
    });
    return InboundSide.#listen(setup, { origin, timers, pool, health, readiness, service });
  }

  static async #listen(setup: InboundSetup, parts: Parts): Promise<InboundSide> {
    const name = setup.name ?? 'b';
    const meshKey = setup.meshKey === undefined ? {} : { meshKey: setup.meshKey };
    const identity = member(name, { nowMs: Date.now(), services: [SERVICE], ...meshKey });
    const { service } = parts;
    const late: { side: InboundSide | null } = { side: null };
    const side = (): InboundSide => late.side as InboundSide;
    const listener = await HttpListener.bind({ host: '127.0.0.1', port: 0 });
    listener.serve({
      limits: betweenSidecars(LIMITS),
      headTimeoutMs: 5_000,
      pausedSockets: new PausedSockets(),
      strangers: new Strangers({ limits: strangerLimits(), onCut: () => {} }),
      keepAliveMs: 60_000,
      timers: parts.timers,
      onInternalError: (error) => side().bugs.push(error),
      refuse: (code, detail) =>
        problemReply({ code, detail, service: null, requestId: null, attempts: [], proxyName: name }),
      onRequest: createInbound({
        pseudonym: `${name}-inbound`,
        services: new Map([[SERVICE, service]]),
        auth: new RequestAuth(identity),
        replayBytes: 65_536,
        isClosed: () => side().isClosed,
        onIntroduction: (_key, { address }) => side().introduced.push(address),
        heartbeat:
          setup.heartbeatMs === undefined ? null : { intervalMs: setup.heartbeatMs, timers: parts.timers },
        observer: {
          inboundStarted: () => side().running++,
          inboundFinished: (request) => {
            side().running--;
            side().finished.push(request);
          },
          internalError: (error) => side().bugs.push(error),
          inputRefused: () => {},
        },
        self: {
          workerId: name,
          health: () => ({ status: 'ok' }),
          record: () => Buffer.from('a sealed record'),
          state: () => ({ state: 'ready' }),
          report: () => reportOf(service),
          life: () => ({}),
          revoked: () => ({ list: null }),
          cancelQueued: () => false,
          hasSession: () => false,
          sessionProof: () => null,
        },
      }),
    });
    const record = recordOf(identity, {
      vpn_ip: setup.hasVpn === false ? null : '127.0.0.1',
      inbound_port: setup.hasVpn === false ? null : listener.port,
      tunnel_url: setup.tunnelUrl ?? null,
      services: [SERVICE],
      figures: {},
    });
    late.side = new InboundSide({ ...parts, listener, peer: new Peer(record, performance.now()) });
    return late.side;
  }

  private constructor(parts: Parts & { listener: HttpListener; peer: Peer }) {
    this.origin = parts.origin;
    this.listener = parts.listener;
    this.service = parts.service;
    this.readiness = parts.readiness;
    this.peer = parts.peer;
    this.#health = parts.health;
    this.#pool = parts.pool;
  }

  /** Of the service, as the caller sees it by its answers. */
  get standing(): Standing {
    return (this.peer.endpoint(SERVICE) as Endpoint).standing;
  }

  /** Requests that the caller believes to have outstanding here. */
  get outstanding(): number {
    return this.peer.endpoint(SERVICE)?.outstanding ?? 0;
  }

  async close(): Promise<void> {
    this.#health.stop();
    await this.listener.destroy();
    this.#pool.destroy();
    await this.origin.close();
  }
}

interface Parts {
  readonly origin: ScriptedOrigin;
  readonly timers: CoarseTimers;
  readonly pool: Http1Pool;
  readonly health: WorkerHealth;
  readonly readiness: readonly boolean[];
  readonly service: LocalService;
}

function reportOf(service: LocalService): string {
  const { admission } = service;
  const sinceMs = admission.longestSinceMs;
  return encodeReport({
    epoch: 1,
    seq: 1,
    state: 'ready',
    load: admission.load,
    service: SERVICE,
    inFlight: admission.inFlight,
    queued: admission.queued,
    concurrency: admission.concurrency,
    serviceMs: null,
    mine: 0,
    activeCallers: 1,
    oldestMs: sinceMs === null ? null : performance.now() - sinceMs,
    fullAt: service.standing.fullAt(performance.now()),
    fullForMs: service.standing.fullForMs(performance.now()),
  });
}
