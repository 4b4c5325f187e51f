/**
 * Connections to origins, kept and reused; the `Upstreams` that everything else sends requests through.
 *
 * No cap on connections: long streams hold theirs for hours, and a cap would starve the rest.
 */
import type { Socket } from 'node:net';
import type { HeadLimits } from '../../core/http/message.ts';
import type {
  Origin,
  OutgoingHead,
  RequestTimeouts,
  UpstreamHandler,
  UpstreamRequest,
  Upstreams,
} from '../exchange.ts';
import { dial } from '../sockets/dial.ts';
import { ReadBuffer } from '../sockets/read-buffer.ts';
import type { CoarseTimers } from '../sockets/timers.ts';
import { Http1Upstream } from './upstream.ts';
import { UpstreamHandle } from './upstream-handle.ts';

export interface Http1PoolOptions {
  readonly limits: HeadLimits;
  readonly timers: CoarseTimers;
  /** Idle connections are closed after this; shorter than any server's own limit, so that we close first. */
  readonly keepIdleMs: number;
  /**
   * A request that must not be repeated only takes a connection idle for less than this: one that the other
   * side is closing at this moment would lose it (RFC 9112 §9.3.1).
   */
  readonly reuseUnsafeMs: number;
  readonly tlsCa: string | null;
  /** A fault of this program: one request fails, the process lives. */
  readonly onInternalError?: (error: unknown) => void;
}

/** Methods that may be sent again when a kept connection turns out to be closed (RFC 9110 §9.2.2). */
const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);

export class Http1Pool implements Upstreams {
  readonly #options: Http1PoolOptions;
  readonly #idle = new Map<string, Http1Upstream[]>();
  readonly #open = new Set<Http1Upstream>();
  readonly #connecting = new Set<UpstreamHandle>();
  #sweeper: NodeJS.Timeout | null = null;

  constructor(options: Http1PoolOptions) {
    this.#options = options;
  }

  get openConnections(): number {
    return this.#open.size;
  }

  request(
    origin: Origin,
    head: OutgoingHead,
    timeouts: RequestTimeouts,
    handler: UpstreamHandler,
    isFresh = false,
  ): UpstreamRequest {
    const key = `${origin.scheme}://${origin.host}:${origin.port}`;
    // What may leave HTTP needs a socket that others can read from: neither kept nor read into our own buffer.
    const mayLeave = head.upgrade !== null;
    const handle = new UpstreamHandle();
    const kept = mayLeave || isFresh ? null : this.#takeIdle(key, head.method);
    if (kept !== null) {
      kept.start(head, timeouts, handler, handle);
      return handle;
    }
    const read = mayLeave || origin.scheme === 'https' ? null : new ReadBuffer();
    this.#connecting.add(handle);
    const giveUp = dial(origin, {
      connectMs: timeouts.connectMs,
      ca: this.#options.tlsCa,
      read,
      onConnected: (socket) => {
        this.#connecting.delete(handle);
        this.#adopt(key, socket, read).start(head, timeouts, handler, handle);
      },
      onFault: (fault) => {
        this.#connecting.delete(handle);
        handle.over();
        handler.onFault(fault);
      },
    });
    handle.connecting(() => {
      this.#connecting.delete(handle);
      giveUp();
    });
    return handle;
  }

  /** Closes everything at once; for the end of the process. */
  destroy(): void {
    if (this.#sweeper !== null) clearInterval(this.#sweeper);
    this.#sweeper = null;
    this.#idle.clear();
    for (const handle of [...this.#connecting]) handle.abort();
    for (const upstream of [...this.#open]) upstream.destroy();
  }

  #takeIdle(key: string, method: string): Http1Upstream | null {
    const idle = this.#idle.get(key);
    if (idle === undefined) return null;
    const { keepIdleMs, reuseUnsafeMs } = this.#options;
    const nowMs = performance.now();
    // The last one in is the freshest.
    for (let upstream = idle.pop(); upstream !== undefined; upstream = idle.pop()) {
      const idleMs = nowMs - upstream.idleSinceMs;
      if (!upstream.isIdle || idleMs >= keepIdleMs) {
        upstream.destroy();
      } else if (idleMs >= reuseUnsafeMs && !IDEMPOTENT.has(method)) {
        idle.push(upstream); // good enough for others
        return null;
      } else {
        return upstream;
      }
    }
    return null;
  }

  #adopt(key: string, socket: Socket, read: ReadBuffer | null): Http1Upstream {
    const { limits, timers, onInternalError } = this.#options;
    const upstream = new Http1Upstream(socket, read, {
      limits,
      timers,
      onInternalError,
      onIdle: (idle) => this.#putIdle(key, idle),
      onClosed: (closed) => this.#forget(key, closed),
    });
    this.#open.add(upstream);
    return upstream;
  }

  #putIdle(key: string, upstream: Http1Upstream): void {
    const idle = this.#idle.get(key);
    if (idle === undefined) this.#idle.set(key, [upstream]);
    else idle.push(upstream);
    if (this.#sweeper === null) {
      this.#sweeper = setInterval(() => this.#sweep(), 1_000);
      this.#sweeper.unref();
    }
  }

  #forget(key: string, upstream: Http1Upstream): void {
    this.#open.delete(upstream);
    const idle = this.#idle.get(key);
    const at = idle?.indexOf(upstream) ?? -1;
    if (idle !== undefined && at >= 0) idle.splice(at, 1);
    if (idle?.length === 0) this.#idle.delete(key);
  }

  #sweep(): void {
    const oldestMs = performance.now() - this.#options.keepIdleMs;
    for (const idle of this.#idle.values()) {
      for (const upstream of [...idle]) if (upstream.idleSinceMs < oldestMs) upstream.destroy();
    }
    if (this.#idle.size === 0 && this.#sweeper !== null) {
      clearInterval(this.#sweeper);
      this.#sweeper = null;
    }
  }
}
