/**
 * Connections to origins of any kind: HTTP/1.1 and TLS by one pool, HTTP/2 without TLS by another.
 *
 * The origin's scheme alone decides, so that whoever sends a request says with the address in which version. It must
 * not know who that is.
 */
import type {
  Origin,
  OutgoingHead,
  RequestTimeouts,
  UpstreamHandler,
  UpstreamRequest,
  Upstreams,
} from './exchange.ts';
import { Http2Pool } from './http2-pool.ts';
import { UpstreamPool, type UpstreamPoolOptions } from './upstream-pool.ts';

export interface OriginConnectionsOptions extends UpstreamPoolOptions {
  /** As `keepIdleMs`, for HTTP/2: a server that closes says so first (GOAWAY), so it may be longer. */
  readonly keepIdleHttp2Ms: number;
  /** See Http2PoolOptions. */
  readonly proveAfterMs: number | null;
}

export class OriginConnections implements Upstreams {
  readonly #http1: UpstreamPool;
  readonly #http2: Http2Pool;

  constructor(options: OriginConnectionsOptions) {
    const { limits, deadlines, keepIdleHttp2Ms, proveAfterMs } = options;
    this.#http1 = new UpstreamPool(options);
    this.#http2 = new Http2Pool({ limits, deadlines, keepIdleMs: keepIdleHttp2Ms, proveAfterMs });
  }

  get openConnections(): number {
    return this.#http1.openConnections + this.#http2.openConnections;
  }

  request(
    origin: Origin,
    head: OutgoingHead,
    timeouts: RequestTimeouts,
    handler: UpstreamHandler,
  ): UpstreamRequest {
    const pool = origin.scheme === 'h2c' ? this.#http2 : this.#http1;
    return pool.request(origin, head, timeouts, handler);
  }

  /** Closes everything at once; for the end of the process. */
  destroy(): void {
    this.#http1.destroy();
    this.#http2.destroy();
  }
}
