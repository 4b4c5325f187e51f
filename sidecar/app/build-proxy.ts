/**
 * Puts the data plane together: the ports that are bound first, the connections, and at last the two listeners at work,
 * with the order in which they drain.
 *
 * In three steps, since discovery stands between: it needs the port of inbound and the way to peers, and what serves
 * needs what it finds. Composition only, except for the drain, whose order is the point (design, "When things fail",
 * SIGTERM).
 */
import type { CallConfig, Config } from '../config/config.ts';
import type { Balancer } from '../core/balancing/balancer.ts';
import { betweenSidecars } from '../core/forwarding/sidecar-headers.ts';
import { viaPseudonym } from '../core/forwarding/via.ts';
import type { HostPort } from '../core/host-port.ts';
import type { Log } from '../core/log.ts';
import { Ttfb } from '../core/peers/ttfb.ts';
import { RetryBudget } from '../core/retry.ts';
import type { Upstreams } from '../http/exchange.ts';
import { InFlightCount } from '../http/in-flight-count.ts';
import { HttpListener, type HttpListenerOptions } from '../http/listener.ts';
import { PausedSockets } from '../http/sockets/paused-sockets.ts';
import { Strangers, strangerLimits } from '../http/sockets/strangers.ts';
import { CoarseTimers } from '../http/sockets/timers.ts';
import { peerPools, type UpstreamPools, workerPools } from '../http/upstream-pools.ts';
import { sealRecord } from '../mesh/discovery/sealed-record.ts';
import type { Identity } from '../mesh/membership/identity.ts';
import type { RequestAuth } from '../mesh/membership/request-auth.ts';
import type { Metrics } from '../observe/metrics.ts';
import type { RequestHistory } from '../observe/request-history.ts';
import { createInbound, type InboundSelf } from '../proxy/inbound/inbound.ts';
import { createOutbound, type OutboundOptions } from '../proxy/outbound/outbound.ts';
import { QueueMigration } from '../proxy/outbound/queue-migration.ts';
import type { CallPolicy } from '../proxy/outbound/request.ts';
import { SessionSearch } from '../proxy/outbound/session-search.ts';
import { StallWatch } from '../proxy/outbound/stall-watch.ts';
import type { PeerClient } from '../proxy/peer/client.ts';
import { type CancelToken, cancelQueued } from '../proxy/peer/recall.ts';
import type { Sessions } from '../proxy/peer/sessions.ts';
import { problemReply } from '../proxy/problem.ts';
import type { LocalService } from '../proxy/worker/local-service.ts';
import type { Mesh } from './build-mesh.ts';
import { inboundObserver, outboundObserver } from './build-observers.ts';
import { drain } from './drain.ts';
import type { Lifecycle } from './lifecycle.ts';
import { MalformedLog } from './malformed-log.ts';
import type { PeerAddresses } from './peer-addresses.ts';
import type { SelfReport } from './self-report.ts';
import { outboundPages } from './web-page-rules.ts';

const DEADLINE_TICK_MS = 250;

/** Whoever floods does so for long: said once in a while. */
const SAY_STRANGERS_MS = 60_000;

/** Connections of those whose certificate has ended are looked for so often. */
const SWEEP_MS = 1_000;

/** Idle connections of clients and peers. */
const KEEP_ALIVE_MS = 75_000;

export interface Ports {
  readonly inbound: HttpListener;
  readonly outbound: HttpListener;
}

/** Takes both ports; who connects waits until they serve. Rejects with the bind error. */
export async function bindPorts({ inbound, outbound }: Config, lifecycle: Lifecycle): Promise<Ports> {
  const bind = async (address: HostPort | readonly HostPort[], name: string): Promise<HttpListener> => {
    const listener = await HttpListener.bind(address);
    lifecycle.onStop(name, () => listener.destroy());
    return listener;
  };
  return {
    inbound: await bind(inbound.listen, 'inbound port'),
    outbound: await bind(outbound.listen, 'outbound port'),
  };
}

export interface Connections {
  readonly timers: CoarseTimers;
  readonly toWorkers: Upstreams;
  readonly toPeers: UpstreamPools;
  /** Breaks all connections to this address of a peer. */
  cutPeer(host: string, port: number): void;
}

/** Those that this sidecar makes. */
export function buildConnections(
  { limits, tunnel }: Config,
  peerAddresses: Pick<PeerAddresses, 'whyNot'>,
  onInternalError: (error: unknown) => void,
  lifecycle: Lifecycle,
): Connections {
  const timers = new CoarseTimers(DEADLINE_TICK_MS);
  const toWorkers = workerPools({ limits, timers, tlsCa: null, onInternalError });
  const peerLimits = betweenSidecars(limits);
  const { whyNot } = peerAddresses;
  const toPeers = peerPools({ limits: peerLimits, timers, tlsCa: tunnel.ca, whyNot, onInternalError });
  lifecycle.onStop('connections', () => {
    toWorkers.destroy();
    toPeers.destroy();
  });
  return { timers, toWorkers, toPeers, cutPeer: (host, port) => toPeers.cut(host, port) };
}

export interface DataPlaneOptions {
  readonly config: Config;
  readonly ports: Ports;
  readonly connections: Connections;
  readonly services: ReadonlyMap<string, LocalService>;
  readonly self: SelfReport;
  readonly identity: Identity;
  readonly auth: RequestAuth;
  readonly balancer: Balancer;
  readonly client: PeerClient;
  readonly sessions: Sessions;
  readonly mesh: Pick<Mesh, 'clones' | 'introductions' | 'peerDirectory' | 'prober' | 'revoked'>;
  readonly metrics: Metrics;
  readonly requests: RequestHistory;
  readonly lifecycle: Lifecycle;
  readonly log: Log;
  onInternalError(error: unknown): void;
}

/** Both listeners at work, until they have drained. */
export class DataPlane {
  readonly #options: DataPlaneOptions;
  readonly #inboundActivity = new InFlightCount();
  readonly #outboundActivity = new InFlightCount();
  readonly #malformed: MalformedLog;
  /** No new request of a peer is taken. */
  #isClosed = false;

  constructor(options: DataPlaneOptions) {
    this.#options = options;
    this.#malformed = new MalformedLog(options.log);
  }

  serve(): void {
    const { config, ports } = this.#options;
    const name = viaPseudonym(config.worker.id);
    const pseudonyms = { inbound: `${name}-inbound`, outbound: `${name}-outbound` };
    // One for both listeners: what it may spend is a share of this process's time.
    const pausedSockets = new PausedSockets();
    ports.inbound.serve({
      ...this.#connectionOptions(pseudonyms.inbound, pausedSockets),
      limits: betweenSidecars(config.limits),
      strangers: this.#strangers(),
      onRequest: this.#inbound(pseudonyms.inbound),
    });
    ports.outbound.serve({
      ...this.#connectionOptions(pseudonyms.outbound, pausedSockets),
      limits: config.limits,
      strangers: null,
      onRequest: createOutbound(this.#outboundOptions(pseudonyms.outbound)),
    });
  }

  #strangers(): Strangers {
    const { lifecycle, log, metrics } = this.#options;
    const limits = strangerLimits();
    let saidAtMs = Number.NEGATIVE_INFINITY;
    const strangers = new Strangers({
      limits,
      onCut: (address) => {
        metrics.inputRefused('http', 'too_many_strangers');
        const nowMs = performance.now();
        if (nowMs - saidAtMs < SAY_STRANGERS_MS) return;
        saidAtMs = nowMs;
        const hint = 'see who it is: members prove themselves at once, and are not touched by this';
        log.warn({ part: 'inbound', address, ...limits, hint }, 'connections of strangers are cut: too many');
      },
    });
    this.#options.identity.revocations.onNewer(({ keys }) => strangers.cutMembers(keys));
    const sweep = setInterval(() => strangers.sweep(Date.now()), SWEEP_MS);
    sweep.unref();
    lifecycle.onStop('strangers', () => clearInterval(sweep));
    return strangers;
  }

  /** Finishes what runs; `withdraw` takes this worker out of the directory. */
  drain(cut: AbortSignal, withdraw: () => Promise<void>): Promise<void> {
    const { config, ports, self } = this.#options;
    self.drain();
    return drain({
      ...config.drain,
      cut,
      withdraw,
      inbound: { listener: ports.inbound, activity: this.#inboundActivity },
      outbound: { listener: ports.outbound, activity: this.#outboundActivity },
      close: () => {
        this.#isClosed = true;
      },
    });
  }

  #connectionOptions(
    proxyName: string,
    pausedSockets: PausedSockets,
  ): Omit<HttpListenerOptions, 'limits' | 'onRequest' | 'strangers'> {
    const { config, connections, metrics, onInternalError } = this.#options;
    return {
      headTimeoutMs: config.limits.headTimeoutMs,
      keepAliveMs: KEEP_ALIVE_MS,
      timers: connections.timers,
      pausedSockets,
      onInternalError,
      refuse: (code, detail) => {
        metrics.inputRefused('http', code);
        const about = { service: null, requestId: null, attempts: [], proxyName };
        // Of a request whose body broke it is not known here how far it got.
        return problemReply({ ...about, code, detail, isRepeatable: false });
      },
    };
  }

  #inbound(pseudonym: string): HttpListenerOptions['onRequest'] {
    const { auth, config, connections, mesh, metrics, services, onInternalError } = this.#options;
    const { heartbeatMs } = config.tunnel;
    return createInbound({
      pseudonym,
      services,
      auth,
      observer: inboundObserver(metrics, this.#inboundActivity, this.#malformed, onInternalError),
      replayBytes: config.retries.replayBytes,
      isClosed: () => this.#isClosed,
      onIntroduction: (callerKey, by) => void mesh.introductions.onIntroduction(callerKey, by),
      heartbeat: heartbeatMs > 0 ? { intervalMs: heartbeatMs, timers: connections.timers } : null,
      self: this.#inboundSelf(),
    });
  }

  /** What peers may learn of this sidecar. */
  #inboundSelf(): InboundSelf {
    const { auth, identity, mesh, self, services, sessions } = this.#options;
    const isCancelled = (peerKey: string, { epoch, nonce }: CancelToken): boolean =>
      [...services.values()].some((service) => service.cancelQueued(peerKey, nonce)) ||
      (epoch === self.epoch && auth.cancel({ peerKey, nonce, nowMs: Date.now() }));
    return {
      workerId: self.workerId,
      health: () => ({ status: self.state === 'ready' ? 'ok' : self.state }),
      record: () => sealRecord(identity, self.record()),
      state: (callerKey) => self.stateFor(callerKey),
      life: (callerKey, target) => mesh.clones.answer(callerKey, target),
      revoked: (callerKey, target) => mesh.revoked.answer(callerKey, target),
      report: (service, callerKey) => self.report(service, callerKey),
      cancelQueued: isCancelled,
      hasSession: (service, fields) => sessions.isOfOwn(service, fields),
      sessionProof: (handle) => sessions.proofOf(handle),
    };
  }

  #outboundOptions(pseudonym: string): OutboundOptions {
    const {
      auth,
      balancer,
      client,
      config,
      connections,
      mesh,
      metrics,
      requests,
      self,
      services,
      sessions,
      onInternalError,
    } = this.#options;
    const { outbound, retries, trustForwarded, tunnel } = config;
    const responds: Mesh['prober']['responds'] = (peer, route) => mesh.prober.responds(peer, route);
    const cancel: StallWatch['cancelQueued'] = (peer, routes, token) =>
      cancelQueued(peer, routes, token, client);
    return {
      workerId: config.worker.id,
      get capabilities() {
        return self.capabilities;
      },
      pseudonym,
      get aliases() {
        return config.aliases;
      },
      services,
      directory: mesh.peerDirectory,
      balancer,
      upstreams: connections.toPeers,
      auth,
      stallWatch: new StallWatch({ responds, cancelQueued: cancel }),
      queueMigration: new QueueMigration({ look: responds, cancelQueued: cancel }),
      sessions,
      sessionSearch: new SessionSearch({ client, directory: mesh.peerDirectory, sessions }),
      budget: new RetryBudget({ ratio: retries.budgetRatio, perSecond: retries.perSecond }),
      tunnelLimits: tunnel.limits,
      ttfb: new Ttfb(),
      replayBytes: retries.replayBytes,
      trustForwarded,
      token: outbound.token,
      tokens: outbound.tokens,
      webPages: outboundPages(config),
      observer: outboundObserver(metrics, requests, this.#outboundActivity, this.#malformed, onInternalError),
      random: Math.random,
      callPolicy: callPolicies(config),
    };
  }
}

/** The policy of a service; the default for one that the configuration does not name. */
function callPolicies(config: Pick<Config, 'calls'>): (service: string) => CallPolicy {
  let { calls } = config;
  let policyFor = policiesOf(calls);
  return (service) => {
    // Another one after the configuration was read anew.
    if (calls !== config.calls) {
      calls = config.calls;
      policyFor = policiesOf(calls);
    }
    return policyFor(service);
  };
}

function policiesOf(calls: Config['calls']): (service: string) => CallPolicy {
  const policies = new Map<string, CallPolicy>();
  const policyOf = (call: CallConfig): CallPolicy => {
    const { timeouts, retryPost, retryRefused, requirements, preferences } = call;
    const { headMs, idleMs, vpnConnectMs, tunnelConnectMs } = timeouts;
    return {
      vpn: { connectMs: vpnConnectMs, headMs, idleMs },
      tunnel: { connectMs: tunnelConnectMs, headMs, idleMs },
      retryPost,
      requirements,
      preferences,
      retryRefused,
    };
  };
  for (const [service, call] of calls.byService) policies.set(service, policyOf(call));
  const fallback = policyOf(calls.default);
  return (service) => policies.get(service) ?? fallback;
}
