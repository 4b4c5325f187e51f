/**
 * Connections to origins of any kind: one pool for HTTP/1.1, with or without TLS, and one for HTTP/2 without TLS.
 *
 * The origin's scheme alone decides, so that the address of a request also says in which version it is sent.
 */
import type {
  Origin,
  OutgoingHead,
  RequestTimeouts,
  UpstreamHandler,
  UpstreamRequest,
  Upstreams,
} from './exchange.ts';
import { Http1Pool, type Http1PoolOptions } from './http1/pool.ts';
import { Http2Pool } from './http2/pool.ts';

type Shared = Pick<Http1PoolOptions, 'limits' | 'timers' | 'tlsCa' | 'whyNot' | 'onInternalError'>;

/** Our own listeners close idle connections after 75 s; an HTTP/2 server says so first (GOAWAY). */
const IDLE_MS = 60_000;
const PEER_REUSE_UNSAFE_MS = 30_000;

/**
 * A VPN that is cut is silent (no reset): this is how long a connection to a peer is trusted without a sign of life.
 */
const PEER_PROVE_AFTER_MS = 5_000;

/**
 * As many as begin within the 1 s of a VPN: where each packet is lost one time in
 * twenty, each way, none of them is answered for one connection in 10,000.
 */
const PEER_CONNECT_ATTEMPTS = 4;

/** Below the 5 s that HTTP/1.1 servers of Node and Python keep idle connections. */
const WORKER_IDLE_MS = 4_000;
const WORKER_REUSE_UNSAFE_MS = 1_000;

export interface UpstreamPoolsOptions extends Http1PoolOptions {
  readonly keepIdleHttp2Ms: number;
  /** See Http2PoolOptions. */
  readonly proveAfterMs: number | null;
}

export function peerPools(shared: Shared): UpstreamPools {
  return new UpstreamPools({
    ...shared,
    keepIdleMs: IDLE_MS,
    keepIdleHttp2Ms: IDLE_MS,
    reuseUnsafeMs: PEER_REUSE_UNSAFE_MS,
    proveAfterMs: PEER_PROVE_AFTER_MS,
    connectAttempts: PEER_CONNECT_ATTEMPTS,
  });
}

export function workerPools(shared: Shared): UpstreamPools {
  return new UpstreamPools({
    ...shared,
    keepIdleMs: WORKER_IDLE_MS,
    keepIdleHttp2Ms: IDLE_MS,
    reuseUnsafeMs: WORKER_REUSE_UNSAFE_MS,
    connectAttempts: 1, // near by nothing is lost, and who does not answer has a full backlog
    proveAfterMs: null, // on loopback nothing is silent, and a gRPC server takes pings for abuse
  });
}

export class UpstreamPools implements Upstreams {
  readonly #http1: Http1Pool;
  readonly #http2: Http2Pool;

  constructor(options: UpstreamPoolsOptions) {
    const { keepIdleHttp2Ms: keepIdleMs } = options;
    this.#http1 = new Http1Pool(options);
    this.#http2 = new Http2Pool({ ...options, keepIdleMs });
  }

  get openConnections(): number {
    return this.#http1.openConnections + this.#http2.openConnections;
  }

  request(
    origin: Origin,
    head: OutgoingHead,
    timeouts: RequestTimeouts,
    handler: UpstreamHandler,
    isFresh = false,
  ): UpstreamRequest {
    const pool = origin.scheme === 'h2c' ? this.#http2 : this.#http1;
    return pool.request(origin, head, timeouts, handler, isFresh);
  }

  /** Breaks all connections to this address. */
  cut(host: string, port: number): void {
    this.#http1.cut(host, port);
    this.#http2.cut(host, port);
  }

  /** This host has that address no more: what was connected from it takes no more requests. */
  leaveAddress(localAddress: string): void {
    this.#http1.leaveAddress(localAddress);
    this.#http2.leaveAddress(localAddress);
  }

  /** Breaks all that was connected from this address, with what runs on it. */
  cutFrom(localAddress: string): void {
    this.#http1.cutFrom(localAddress);
    this.#http2.cutFrom(localAddress);
  }

  /** Closes everything at once; for the end of the process. */
  destroy(): void {
    this.#http1.destroy();
    this.#http2.destroy();
  }
}
