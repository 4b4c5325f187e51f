/**
 * Two sidecars (or more) in one process, without a DHT: one outbound listener whose directory holds a fixed list of
 * peers, each with its own inbound listener and scripted worker. Real sockets, real authentication.
 */
import { Balancer } from '../../../sidecar/core/balancing/balancer.ts';
import type { Code } from '../../../sidecar/core/errors.ts';
import { betweenSidecars } from '../../../sidecar/core/forwarding/sidecar-headers.ts';
import type { Peer } from '../../../sidecar/core/peers/peer.ts';
import { Ttfb } from '../../../sidecar/core/peers/ttfb.ts';
import { RetryBudget } from '../../../sidecar/core/retry.ts';
import { Http1Pool } from '../../../sidecar/http/http1/pool.ts';
import { HttpListener } from '../../../sidecar/http/listener.ts';
import { PausedSockets } from '../../../sidecar/http/sockets/paused-sockets.ts';
import { CoarseTimers } from '../../../sidecar/http/sockets/timers.ts';
import { RequestAuth } from '../../../sidecar/mesh/membership/request-auth.ts';
import type { FinishedOutbound } from '../../../sidecar/proxy/observers.ts';
import type { View } from '../../../sidecar/proxy/outbound/directory.ts';
import { createOutbound, type OutboundOptions } from '../../../sidecar/proxy/outbound/outbound.ts';
import { QueueMigration } from '../../../sidecar/proxy/outbound/queue-migration.ts';
import { StallWatch } from '../../../sidecar/proxy/outbound/stall-watch.ts';
import { Sessions } from '../../../sidecar/proxy/peer/sessions.ts';
import { problemReply } from '../../../sidecar/proxy/problem.ts';
import type { LocalService } from '../../../sidecar/proxy/worker/local-service.ts';
import { TUNNEL_CERTIFICATE } from '../edges/tunnel-edge.ts';
import { Arrivals } from '../runner/arrivals.ts';
import { onTestEnd } from '../runner/on-test-end.ts';
import { ANY_HOST } from '../wire/any-host.ts';
import { Wire } from '../wire/wire.ts';
import { type InboundSetup, InboundSide, LIMITS, SERVICE, TIMEOUTS } from './inbound-side.ts';
import { member } from './members.ts';

export interface PairSetup {
  /** One peer `b` when not given. */
  readonly peers?: readonly InboundSetup[];
  readonly outbound?: Partial<OutboundOptions>;
  /** The app's sidecar offers the service as well, with this one's worker. */
  readonly local?: LocalService;
  readonly headTimeoutMs?: number;
}

export class SidecarPair {
  readonly sides: readonly InboundSide[];
  readonly finished: Arrivals<FinishedOutbound> = new Arrivals('an outbound request to finish');
  readonly bugs: unknown[] = [];
  readonly retried: Code[] = [];
  /** Services that a peer said it does not offer. */
  readonly notOffered: Peer[] = [];
  /** Peers that a request has found dead, maybe. */
  readonly suspected: Peer[] = [];
  /** Set to make requests wait for the directory. */
  lookup: Promise<View> | null = null;
  running = 0;
  readonly #clients: Wire[] = [];
  #listener: HttpListener | null = null;
  #pool: Http1Pool | null = null;

  static async start(setup: PairSetup = {}): Promise<SidecarPair> {
    const sides: InboundSide[] = [];
    for (const [n, peer] of (setup.peers ?? [{}]).entries()) {
      sides.push(await InboundSide.start({ name: String.fromCharCode(0x62 + n), ...peer }));
    }
    const pair = new SidecarPair(sides);
    await pair.#listen(setup);
    return pair;
  }

  private constructor(sides: readonly InboundSide[]) {
    this.sides = sides;
  }

  /** The first peer. */
  get b(): InboundSide {
    return this.sides[0] as InboundSide;
  }

  get port(): number {
    return this.#listener?.port ?? 0;
  }

  get openConnections(): number {
    return this.#listener?.openConnections ?? 0;
  }

  get listener(): HttpListener {
    return this.#listener as HttpListener;
  }

  /** An app's connection; broken at the end of the test. */
  async client(): Promise<Wire> {
    const wire = await Wire.connect(this.port);
    this.#clients.push(wire);
    return wire;
  }

  async close(): Promise<void> {
    for (const wire of this.#clients) wire.close();
    await this.#listener?.destroy();
    this.#pool?.destroy();
    for (const side of this.sides) await side.close();
  }

  async #listen({ outbound, local, headTimeoutMs }: PairSetup): Promise<void> {
    const identity = member('a', { nowMs: Date.now(), services: [] });
    const timers = new CoarseTimers(20);
    const pool = new Http1Pool({
      limits: betweenSidecars(LIMITS),
      timers,
      keepIdleMs: 30_000,
      connectAttempts: 1,
      reuseUnsafeMs: 30_000,
      tlsCa: TUNNEL_CERTIFICATE,
      onInternalError: (error) => this.bugs.push(error),
    });
    this.#pool = pool;
    const peers = this.sides.map((side) => side.peer);
    this.#listener = await HttpListener.bind({ host: '127.0.0.1', port: 0 });
    this.#listener.serve({
      limits: LIMITS,
      headTimeoutMs: headTimeoutMs ?? 5_000,
      strangers: null,
      pausedSockets: new PausedSockets(),
      keepAliveMs: 60_000,
      timers,
      onInternalError: (error) => this.bugs.push(error),
      refuse: (code, detail) =>
        problemReply({
          code,
          detail,
          service: null,
          requestId: null,
          attempts: [],
          proxyName: 'a-outbound',
        }),
      onRequest: createOutbound({
        workerId: 'a',
        pseudonym: 'a-outbound',
        aliases: new Map([['llm', SERVICE]]),
        services: new Map(local === undefined ? [] : [[SERVICE, local]]),
        directory: {
          find: () =>
            this.lookup === null
              ? { kind: 'hit', view: { kind: 'peers', peers, ageMs: 0 } }
              : { kind: 'wait', ready: this.lookup },
          peek: () => peers,
          reported: () => {},
          markSuspect: (peer) => this.suspected.push(peer),
          notOffered: (peer) => this.notOffered.push(peer),
          search: async () => ({ kind: 'none', code: 'no_peers', detail: '' }),
          lookUpAnew: async () => ({ kind: 'peers', peers, ageMs: 0 }),
          checkWarming: async () => {},
          absent: () => [],
          services: () => new Set(),
          silent: () => {},
        },
        balancer: new Balancer('round-robin', { ttlMs: 60_000 }),
        upstreams: pool,
        auth: new RequestAuth(identity),
        stallWatch: new StallWatch({ responds: async () => true, cancelQueued: async () => false }),
        queueMigration: new QueueMigration({ look: async () => {}, cancelQueued: async () => false }),
        tunnelLimits: { maxBodyBytes: 100_000_000, firstByteMs: 100_000 },
        ttfb: new Ttfb(),
        budget: new RetryBudget({ ratio: 0.2, perSecond: 100 }),
        replayBytes: 65_536,
        trustForwarded: false,
        token: null,
        webPages: ANY_HOST,
        observer: {
          requestStarted: () => this.running++,
          requestRouted: () => {},
          requestFinished: (request) => {
            this.running--;
            this.finished.push(request);
          },
          decided: () => {},
          attempted: () => {},
          attemptFailed: () => {},
          retried: (code) => this.retried.push(code),
          retryRefused: () => {},
          migrated: () => {},
          internalError: (error) => this.bugs.push(error),
        },
        sessions: new Sessions({ key: identity.keyHex, workerId: 'a' }, new Map()),
        sessionSearch: { ownerOf: async () => null },
        random: () => 0,
        capabilities: {},
        callPolicy: () => ({ vpn: TIMEOUTS, tunnel: TIMEOUTS, retryPost: false, retryRefused: true }),
        ...outbound,
      }),
    });
  }
}

/** Starts a pair and ends it with the test; no fault of the program may have shown. */
export async function pairFor(setup: PairSetup = {}): Promise<SidecarPair> {
  const pair = await SidecarPair.start(setup);
  onTestEnd(async () => {
    await pair.close();
    const bugs = [...pair.bugs, ...pair.sides.flatMap((side) => side.bugs)];
    if (bugs.length > 0) throw bugs[0];
  });
  return pair;
}
