/**
 * Puts the data plane together: connections, local services, both listeners, and the order in which they drain.
 *
 * Composition only, except for the drain, whose order is the point (design, "When things fail", SIGTERM).
 */
import type { Config } from '../config/config.ts';
import { Balancer } from '../core/balancing/balancer.ts';
import { betweenSidecars } from '../core/forwarding/sidecar-headers.ts';
import { viaPseudonym } from '../core/forwarding/via.ts';
import type { HostPort } from '../core/host-port.ts';
import type { HeadLimits } from '../core/http/message.ts';
import type { Log } from '../core/log.ts';
import { Ttfb } from '../core/peers/ttfb.ts';
import { RetryBudget } from '../core/retry.ts';
import { type HttpListener, type HttpListenerOptions, listenHttp } from '../http/listener.ts';
import { PausedSockets } from '../http/sockets/paused-sockets.ts';
import { CoarseTimers } from '../http/sockets/timers.ts';
import { peerPools, workerPools } from '../http/upstream-pools.ts';
import type { LoadSampler } from '../load/sampler.ts';
import { sealRecord } from '../mesh/discovery/sealed-record.ts';
import type { Identity } from '../mesh/membership/identity.ts';
import type { RequestAuth } from '../mesh/membership/request-auth.ts';
import type { Metrics } from '../observe/metrics.ts';
import type { RequestHistory } from '../observe/request-history.ts';
import { createInbound } from '../proxy/inbound/inbound.ts';
import type { PeerDirectory } from '../proxy/outbound/directory.ts';
import type { CallPolicy } from '../proxy/outbound/options.ts';
import { createOutbound } from '../proxy/outbound/outbound.ts';
import { QueueMigration } from '../proxy/outbound/queue-migration.ts';
import { StallWatch } from '../proxy/outbound/stall-watch.ts';
import { createPeerClient, type PeerClient } from '../proxy/peer/client.ts';
import { cancelQueued } from '../proxy/peer/recall.ts';
import { problemReply } from '../proxy/problem.ts';
import type { LocalService } from '../proxy/worker/local-service.ts';
import { inboundObserver, outboundObserver } from './build-observers.ts';
import { buildServices } from './build-services.ts';
import { drain } from './drain.ts';
import { InFlightCount } from './in-flight-count.ts';
import type { Lifecycle } from './lifecycle.ts';
import { SelfReport } from './self-report.ts';

export interface Proxy {
  readonly self: SelfReport;
  readonly services: ReadonlyMap<string, LocalService>;
  readonly balancer: Balancer;
  readonly client: PeerClient;
  readonly inbound: HttpListener;
  /** The directory that requests ask; before that they are told that discovery is not there. */
  connect(directory: PeerDirectory): void;
  listenOutbound(): Promise<HttpListener>;
  /** Called when what is said of this worker has changed. */
  onSelfChanged(listener: () => void): void;
  /** Called when a peer has said where it listens. */
  onIntroduction(listener: (callerKey: string, address: HostPort) => void): void;
  isDraining(): boolean;
  /** Finishes what runs; `withdraw` takes this worker out of the directory. */
  drain(cut: AbortSignal, withdraw: () => Promise<void>): Promise<void>;
}

export interface ProxyOptions {
  readonly config: Config;
  readonly identity: Identity;
  readonly auth: RequestAuth;
  readonly metrics: Metrics;
  readonly requests: RequestHistory;
  readonly sampler: LoadSampler;
  readonly lifecycle: Lifecycle;
  readonly log: Log;
}

const DEADLINE_TICK_MS = 250;

/** Idle connections of clients and peers. */
const KEEP_ALIVE_MS = 75_000;

/** Bounds each step of a control request. */
const CONTROL_LIMIT_MS = 5_000;

/** Binds the inbound listener; rejects with the bind error. */
export async function buildProxy(options: ProxyOptions): Promise<Proxy> {
  const { config, identity, auth, metrics, requests, sampler, lifecycle, log } = options;
  const limits: HeadLimits = config.limits;
  const timers = new CoarseTimers(DEADLINE_TICK_MS);
  // One for both listeners: what it may spend is a share of this process's time.
  const pausedSockets = new PausedSockets();
  const onInternalError = (err: unknown): void =>
    log.error({ err }, 'a fault in this program: please report it');
  const toWorkers = workerPools({ limits, timers, tlsCa: null, onInternalError });
  const peerLimits = betweenSidecars(limits);
  const toPeers = peerPools({ limits: peerLimits, timers, tlsCa: config.tunnel.ca, onInternalError });
  lifecycle.onStop('connections', () => {
    toWorkers.destroy();
    toPeers.destroy();
  });
  let selfChanged = (): void => {};
  let introduced = (_callerKey: string, _address: HostPort): void => {};
  const services = buildServices({
    config,
    upstreams: toWorkers,
    lifecycle,
    log,
    onChange: () => selfChanged(),
  });
  let isDraining = false;
  let isClosed = false;
  const inboundActivity = new InFlightCount();
  const outboundActivity = new InFlightCount();
  const name = viaPseudonym(config.worker.id);
  const connection = (part: 'inbound' | 'outbound'): Omit<HttpListenerOptions, 'onRequest'> => ({
    limits: part === 'inbound' ? peerLimits : limits,
    headTimeoutMs: config.limits.headTimeoutMs,
    keepAliveMs: KEEP_ALIVE_MS,
    timers,
    pausedSockets,
    onInternalError,
    refuse: (code, detail) => {
      metrics.inputRefused('http', code);
      return problemReply({
        code,
        detail,
        service: null,
        requestId: null,
        attempts: [],
        proxyName: `${name}-${part}`,
      });
    },
  });
  let self: SelfReport | null = null;
  const inbound = await listenHttp(config.inbound.listen, {
    ...connection('inbound'),
    onRequest: createInbound({
      pseudonym: `${name}-inbound`,
      services,
      auth,
      observer: inboundObserver(metrics, inboundActivity, onInternalError),
      isClosed: () => isClosed,
      onIntroduction: (callerKey, address) => introduced(callerKey, address),
      heartbeat:
        config.tunnel.heartbeatMs > 0 ? { intervalMs: config.tunnel.heartbeatMs, timers } : undefined,
      self: {
        workerId: config.worker.id,
        health: () => ({
          status: of(self).state === 'ready' ? 'ok' : (of(self).state as 'warming' | 'draining'),
        }),
        record: () => sealRecord(identity, of(self).record()),
        state: (callerKey) => of(self).stateFor(callerKey),
        report: (service, callerKey) => of(self).orca(service, callerKey),
        cancelQueued: (peerKey, { epoch, nonce }) =>
          [...services.values()].some((service) => service.cancelQueued(peerKey, nonce)) ||
          (epoch === of(self).epoch && auth.cancel({ peerKey, nonce, nowMs: Date.now() })),
      },
    }),
  });
  lifecycle.onStop('inbound', () => inbound.destroy());
  self = new SelfReport({ config, keyHex: identity.keyHex, services, sampler, inboundPort: inbound.port });
  const balancer = new Balancer(config.balance.policy, { ttlMs: config.cache.ttlMs });
  const client = createPeerClient(toPeers, auth, CONTROL_LIMIT_MS);
  let directory: PeerDirectory = NO_DIRECTORY;
  const stallWatch = new StallWatch({
    responds: (peer, route) => directory.responds?.(peer, route) ?? Promise.resolve(true),
    cancelQueued: (peer, routes, token) => cancelQueued(peer, routes, token, client),
  });
  const queueMigration = new QueueMigration({
    replayBytes: config.retries.replayBytes,
    look: async (peer, route) => directory.responds?.(peer, route),
    cancelQueued: (peer, routes, token) => cancelQueued(peer, routes, token, client),
  });
  let outbound: HttpListener | null = null;
  return {
    self,
    services,
    balancer,
    inbound,
    client,
    connect(real) {
      directory = real;
    },
    onSelfChanged(listener) {
      selfChanged = listener;
    },
    onIntroduction(listener) {
      introduced = listener;
    },
    isDraining: () => isDraining,
    async listenOutbound() {
      outbound = await listenHttp(config.outbound.listen, {
        ...connection('outbound'),
        onRequest: createOutbound({
          workerId: config.worker.id,
          pseudonym: `${name}-outbound`,
          aliases: config.aliases,
          services,
          directory,
          balancer,
          upstreams: toPeers,
          auth,
          stallWatch,
          queueMigration,
          budget: new RetryBudget({ ratio: config.retries.budgetRatio, perSecond: config.retries.perSecond }),
          tunnelLimits: config.tunnel.limits,
          ttfb: new Ttfb(),
          replayBytes: config.retries.replayBytes,
          trustForwarded: config.trustForwarded,
          token: config.outbound.token,
          observer: outboundObserver(metrics, requests, outboundActivity, onInternalError),
          random: Math.random,
          callPolicy: callPolicies(config),
        }),
      });
      const listener = outbound;
      lifecycle.onStop('outbound', () => listener.destroy());
      return listener;
    },
    drain(cut, withdraw) {
      isDraining = true;
      of(self).drain();
      return drain({
        ...config.drain,
        cut,
        withdraw,
        inbound: { listener: inbound, activity: inboundActivity },
        outbound: { listener: outbound, activity: outboundActivity },
        close: () => {
          isClosed = true;
        },
      });
    },
  };
}

const NO_DIRECTORY: PeerDirectory = {
  find: () => ({
    kind: 'hit',
    view: { kind: 'none', code: 'discovery_unavailable', detail: 'discovery has not started yet' },
  }),
  peek: () => [],
  reported: () => {},
  markSuspect: () => {},
  notOffered: () => {},
};

function of<T>(value: T | null): T {
  if (value === null) throw new Error('used before it was built');
  return value;
}

/** The policy of a service; the default for one that the configuration does not name. */
function callPolicies(config: Config): (service: string) => CallPolicy {
  const policies = new Map<string, CallPolicy>();
  const policyOf = ({ timeouts, retryPost }: Config['calls']['default']): CallPolicy => {
    const { headMs, idleMs, vpnConnectMs, tunnelConnectMs } = timeouts;
    return {
      vpn: { connectMs: vpnConnectMs, headMs, idleMs },
      tunnel: { connectMs: tunnelConnectMs, headMs, idleMs },
      retryPost,
    };
  };
  for (const [service, call] of config.calls.byService) policies.set(service, policyOf(call));
  const fallback = policyOf(config.calls.default);
  return (service) => policies.get(service) ?? fallback;
}
