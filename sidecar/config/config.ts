/**
 * What the sidecar is told to do: the one frozen `Config` that every part is built from.
 *
 * A tree of plain readonly values, resolved at boot (durations in ms, sizes in bytes, addresses split, secrets read
 * from their files), because convict's own `get()` is slow and untyped: nothing on the request path may ask it.
 * Defaults and the reference text are in schema.ts, reading and checking in load.ts and resolve.ts.
 */

import type { PolicyName } from '../core/balancing/balancer.ts';
import type { SentHost } from '../core/forwarding/mount.ts';
import type { HostPort } from '../core/host-port.ts';
import type { SessionCarriers } from '../core/http/session-carrier.ts';
import type { PageOrigins } from '../core/http/web-pages.ts';
import type { LogFormat, LogLevel } from '../core/log.ts';
import type { Capabilities, Requirement } from '../core/peers/requirements.ts';
import type { VpnSource } from '../core/peers/vpn-address.ts';
import type { HealthAsk } from '../core/worker/health-ask.ts';
import type { SlotRule } from '../core/worker/slot-rules.ts';
import type { Reach } from './address-reach.ts';
import type { WorkerUrl } from './worker-url.ts';

export const LOAD_SOURCES = ['auto', 'in-flight', 'cpu', 'gpu', 'worker'] as const;

/** `auto` = the highest of all the others that are known. */
export type LoadSource = (typeof LOAD_SOURCES)[number];

export interface HealthConfig {
  /** A path is below the base path of the worker's URL. */
  readonly ask: HealthAsk;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Successes in a row before the worker counts as ready. */
  readonly healthyAfter: number;
  /** Failures in a row before a ready worker counts as gone. */
  readonly unhealthyAfter: number;
}

export interface TimeoutsConfig {
  readonly vpnConnectMs: number;
  readonly tunnelConnectMs: number;
  readonly workerConnectMs: number;
  /** From the end of the request to the head of the response. */
  readonly headMs: number;
  /** Between two bytes of a body. */
  readonly idleMs: number;
}

/** How a service is called, wherever it runs. */
export interface CallConfig {
  readonly timeouts: TimeoutsConfig;
  /** A POST with `Idempotency-Key` may be sent again after it was sent once. */
  readonly retryPost: boolean;
  /** Of the worker, besides what a request asks itself. */
  readonly requirements: readonly Requirement[];
  readonly preferences: readonly Requirement[];
  /** What a worker refuses for now goes to another one. */
  readonly retryRefused: boolean;
  /** What carries its sessions; null = not said, so each worker's own word counts. */
  readonly sessions: SessionCarriers | null;
}

export interface ServiceLoadConfig {
  readonly source: LoadSource;
  /** Prometheus text of the worker (vLLM); null = it is not asked. */
  readonly metricsUrl: string | null;
  /** Name of a metric → its value when the worker is full; null = those of vLLM. */
  readonly metrics: ReadonlyMap<string, number> | null;
  readonly intervalMs: number;
}

/** What holds a slot of a service, and what is its work. */
export interface SlotsConfig {
  /** Name of the slots that it shares; null = it has its own. */
  readonly group: string | null;
  readonly free: readonly SlotRule[];
  readonly light: readonly SlotRule[];
  readonly byChannels: boolean;
}

/** TLS to a worker. */
export interface WorkerTlsConfig {
  /** Paths of PEM files, which are read again when they change; null = the system's CAs, and no certificate of ours. */
  readonly caFile: string | null;
  readonly certFile: string | null;
  readonly keyFile: string | null;
  /** The name that its certificate must be for; null = the host of its URL. */
  readonly serverName: string | null;
  /** False: whoever answers is taken for the worker. */
  readonly isVerified: boolean;
}

/** One service that the local worker offers. */
export interface ServiceConfig extends CallConfig {
  readonly name: string;
  /** Where the worker listens; at least one. */
  readonly urls: readonly WorkerUrl[];
  /** How it is reached by https; null = no URL of it is one. */
  readonly tls: WorkerTlsConfig | null;
  /** The Host that it is sent. */
  readonly sentHost: SentHost;
  /** Requests that the worker serves at once, with all of its group; null = not limited. */
  readonly concurrency: number | null;
  /** Stands in for the concurrency in the load figure when there is no limit. */
  readonly assumedConcurrency: number;
  /** Requests that may wait for a slot here. */
  readonly queue: number;
  readonly slots: SlotsConfig;
  readonly aliases: readonly string[];
  readonly health: HealthConfig;
  readonly load: ServiceLoadConfig;
  /** How long the worker may take to become ready before that is an error. */
  readonly warmingLimitMs: number;
}

export interface MeshConfig {
  /** 32 bytes, or null when a certificate is given. */
  readonly key: Uint8Array | null;
  /** The text that `mesh cert` printed, or null. */
  readonly cert: string | null;
  /** The file that it was read from, to be read again; null = it stood elsewhere. */
  readonly certFile: string | null;
}

export interface DhtConfig {
  /** Any nodes of the private DHT; empty = this sidecar is the first. */
  readonly bootstrap: readonly HostPort[];
  /** Host: the VPN address as of the start unless set; port 0 = any. */
  readonly listen: HostPort;
  readonly isAtVpn: boolean;
  readonly announceIntervalMs: number;
  /** How long a storing node keeps an announcement. */
  readonly maxAgeMs: number;
}

export interface ProbeConfig {
  /** Interval for up to 10 peers of a service, and beyond. */
  readonly fewIntervalMs: number;
  readonly manyIntervalMs: number;
  readonly timeoutMs: number;
}

export interface LimitsConfig {
  readonly maxHeadBytes: number;
  readonly maxFields: number;
  readonly maxTargetBytes: number;
  /** From the first byte of a request head to its end. */
  readonly headTimeoutMs: number;
}

export interface Config {
  readonly worker: {
    readonly id: string;
    readonly capabilities: Capabilities;
  };
  readonly services: readonly ServiceConfig[];
  readonly calls: {
    readonly default: CallConfig;
    /** Also holds each service of `services`. */
    readonly byService: ReadonlyMap<string, CallConfig>;
  };
  /** Alias → service name; also holds the aliases of each service. */
  readonly aliases: ReadonlyMap<string, string>;
  readonly outbound: {
    /** At least one. */
    readonly listen: readonly HostPort[];
    /** Of apps one of these tokens is wanted when there are any; there are when `listen` is not loopback. */
    readonly token: string | null;
    /** App → its own. */
    readonly tokens: ReadonlyMap<string, string>;
    /** More names that it is called by, in lower case. */
    readonly hosts: ReadonlySet<string>;
    /** Whose web pages may call, on the admin port too. */
    readonly origins: PageOrigins;
  };
  readonly inbound: {
    readonly listen: HostPort;
    /** No host is configured: it is the VPN address, whatever that becomes. */
    readonly isAtVpn: boolean;
  };
  readonly admin: {
    readonly listen: HostPort;
    /** More names that it is called by, in lower case. */
    readonly hosts: ReadonlySet<string>;
    /** Wanted of who does not call from this host; there is one when `listen` is not loopback. */
    readonly token: string | null;
    /** `/metrics` wants none. */
    readonly openMetrics: boolean;
  };
  readonly vpn: {
    readonly source: VpnSource;
    /** Whether it may come and go while the sidecar runs. */
    readonly isWatched: boolean;
    /** As of the start; null = there is none, or it was not there yet. */
    readonly ip: string | null;
    readonly cidr: string;
  };
  readonly tunnel: {
    /** Public https (or, on loopback, http) URL without a trailing slash; null = none known. */
    readonly url: string | null;
    /** cloudflared's metrics address, asked for `/quicktunnel`; null = not asked. */
    readonly cloudflaredMetrics: string | null;
    /** PEM of the only CAs to trust for tunnels, already read; null = the system's. */
    readonly ca: string | null;
    /** Where tunnels of others may lead besides public addresses. */
    readonly allow: {
      readonly reaches: ReadonlySet<Reach>;
      readonly networks: readonly ((address: string) => boolean)[];
    };
    /** Silence of an event stream after which a comment goes out by the tunnel; 0 = never. */
    readonly heartbeatMs: number;
    /** What tunnels to others carry. */
    readonly limits: { readonly maxBodyBytes: number; readonly firstByteMs: number };
  };
  readonly mesh: MeshConfig;
  readonly dht: DhtConfig;
  readonly cache: { readonly ttlMs: number; readonly firstLookupWaitMs: number };
  readonly probe: ProbeConfig;
  readonly balance: { readonly policy: PolicyName };
  readonly gpu: {
    /** The page of a DCGM exporter; null = nvidia-smi. */
    readonly metricsUrl: string | null;
    /** Which GPUs on that page are this worker's; null = all. */
    readonly devices: readonly string[] | null;
  };
  readonly retries: {
    /** Retries allowed per request, on the average. */
    readonly budgetRatio: number;
    readonly perSecond: number;
    /** Of a request body kept for sending it again. */
    readonly replayBytes: number;
  };
  readonly limits: LimitsConfig;
  readonly drain: {
    /** New requests are still taken for this long. */
    readonly acceptMs: number;
    /** Then the running ones may take this long. */
    readonly waitMs: number;
    /** Within that, apps that have asked for nothing for so long are taken to be done. */
    readonly quietMs: number;
  };
  /** `Forwarded` and `X-Forwarded-*` of apps are kept and added to, not replaced. */
  readonly trustForwarded: boolean;
  /** Directory for identity and last-known-good view; null = nothing is kept. */
  readonly state: { readonly dir: string | null };
  readonly log: { readonly level: LogLevel; readonly format: LogFormat };
  /** Things that are allowed but should be said loudly at start. */
  readonly warnings: readonly string[];
}
