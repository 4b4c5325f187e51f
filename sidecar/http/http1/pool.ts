/**
 * HTTP/1.1 connections to origins, one for each request that runs, and used again by the next one when that is safe.
 */
import type { Socket } from 'node:net';
import { ConnectionPool, originKey, type PoolOptions } from '../connection-pool.ts';
import type {
  Origin,
  OutgoingHead,
  RequestTimeouts,
  UpstreamHandler,
  UpstreamRequest,
  Upstreams,
} from '../exchange.ts';
import { ReadBuffer } from '../sockets/read-buffer.ts';
import { Http1Upstream } from './upstream.ts';
import { UpstreamHandle } from './upstream-handle.ts';

export interface Http1PoolOptions extends PoolOptions {
  /**
   * A request that must not be repeated only takes a connection idle for less than this: one that the other
   * side is closing at this moment would lose it (RFC 9112 §9.3.1).
   */
  readonly reuseUnsafeMs: number;
  /** Certificate authorities for https; null = the system's. */
  readonly tlsCa: string | null;
}

/** Methods that may be sent again when a kept connection turns out to be closed (RFC 9110 §9.2.2). */
const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);

/** A request whose connection is being made; it goes by any that becomes free before. */
type Waiting = (upstream: Http1Upstream) => void;

export class Http1Pool extends ConnectionPool<Http1Upstream> implements Upstreams {
  readonly #options: Http1PoolOptions;
  /** By origin, in the order in which they came; only where packets are lost, for near by a connection takes no time. */
  readonly #waiting = new Map<string, Set<Waiting>>();

  constructor(options: Http1PoolOptions) {
    super(options);
    this.#options = options;
  }

  request(
    origin: Origin,
    head: OutgoingHead,
    timeouts: RequestTimeouts,
    handler: UpstreamHandler,
    isFresh = false,
  ): UpstreamRequest {
    const key = originKey(origin);
    // What may leave HTTP needs a socket that others can read from: neither kept nor read into our own buffer.
    const mayLeave = head.upgrade !== null;
    const handle = new UpstreamHandle();
    const kept = mayLeave || isFresh ? null : this.#takeIdle(key, head.method);
    if (kept !== null) {
      kept.start(head, timeouts, handler, handle);
      return handle;
    }
    const start: Waiting = (upstream) => {
      isStarted = true;
      this.#forget(key, start);
      upstream.start(head, timeouts, handler, handle);
    };
    let isStarted = false;
    if (this.#options.connectAttempts > 1 && !mayLeave && !isFresh) this.#wait(key, start);
    const giveUp = this.dial(
      origin,
      {
        connectMs: timeouts.connectMs,
        tls: origin.scheme === 'https' ? (origin.tls ?? { ca: this.#options.tlsCa }) : null,
        readBuffer: mayLeave ? null : () => new ReadBuffer(),
        onConnected: (socket, read) => {
          if (mayLeave) this.mayLeave(key, socket);
          const upstream = this.#adopt(key, socket, read);
          if (isStarted) upstream.park();
          else start(upstream);
        },
      },
      (fault) => {
        if (isStarted) return;
        this.#forget(key, start);
        handle.over();
        handler.onFault(fault);
      },
    );
    handle.connecting(() => {
      this.#forget(key, start);
      giveUp();
    });
    return handle;
  }

  override destroy(): void {
    this.#waiting.clear();
    super.destroy();
  }

  #wait(key: string, request: Waiting): void {
    const waiting = this.#waiting.get(key);
    if (waiting === undefined) this.#waiting.set(key, new Set([request]));
    else waiting.add(request);
  }

  #forget(key: string, request: Waiting): void {
    const waiting = this.#waiting.get(key);
    if (waiting?.delete(request) === true && waiting.size === 0) this.#waiting.delete(key);
  }

  #freed(key: string, upstream: Http1Upstream): void {
    this.addAvailable(key, upstream);
    // Not at once: its reader is still at the end of the response before.
    if (this.#waiting.has(key)) queueMicrotask(() => this.#serve(key));
  }

  #serve(key: string): void {
    const [first] = this.#waiting.get(key) ?? [];
    const upstream = first === undefined ? null : this.#takeIdle(key, 'POST');
    if (upstream !== null) first?.(upstream);
  }

  #takeIdle(key: string, method: string): Http1Upstream | null {
    const idle = this.available(key);
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
    const { limits, timers, keepIdleMs, onInternalError } = this.#options;
    const upstream = new Http1Upstream(socket, read, {
      limits,
      timers,
      keepIdleMs,
      onInternalError,
      onIdle: (idle) => this.#freed(key, idle),
      onClosed: (closed) => this.closed(key, closed),
    });
    this.opened(key, upstream);
    return upstream;
  }
}
