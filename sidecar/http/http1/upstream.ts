/**
 * One HTTP/1.1 connection to an origin: sends one request at a time, and says when it is free for the next.
 *
 * It never pipelines (a stream would block those behind it), and is not used again when anything is in doubt: a surplus
 * byte, an unfinished upload, an announced close.
 */
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { Code } from '../../core/errors.ts';
import { first, has } from '../../core/http/headers.ts';
import type { HeadLimits, RawFields, ResponseHead } from '../../core/http/message.ts';
import type {
  IncomingHead,
  OutgoingHead,
  RequestTimeouts,
  UpstreamHandler,
  UpstreamRequest,
} from '../exchange.ts';
import type { ReadBuffer } from '../sockets/read-buffer.ts';
import { CoarseTimer, type CoarseTimers, tooLate } from '../sockets/timers.ts';
import { readPastWriteErrors } from '../sockets/write-errors.ts';
import { abortConnection } from './close.ts';
import { Http1RequestWriter } from './request-writer.ts';
import { Http1ResponseReader, type ResponseSink } from './response-reader.ts';
import type { UpstreamHandle } from './upstream-handle.ts';

export interface Http1UpstreamOptions {
  readonly limits: HeadLimits;
  readonly timers: CoarseTimers;
  /** An idle connection is closed after this. */
  readonly keepIdleMs: number;
  /** The connection is clean and free for the next request. */
  onIdle(upstream: Http1Upstream): void;
  onClosed(upstream: Http1Upstream): void;
  /** A fault of this program while it handled a response: the request fails, the process lives. */
  readonly onInternalError?: ((error: unknown) => void) | undefined;
}

export class Http1Upstream implements UpstreamRequest, ResponseSink {
  /** Monotonic ms since when the connection is unused. */
  idleSinceMs = 0;
  readonly #socket: Socket;
  readonly #options: Http1UpstreamOptions;
  readonly #reader: Http1ResponseReader;
  readonly #writer: Http1RequestWriter;
  readonly #deadline: CoarseTimer;
  #handler: UpstreamHandler | null = null;
  #handle: UpstreamHandle | null = null;
  #request: OutgoingHead | null = null;
  #timeouts: RequestTimeouts | null = null;
  /** The one who takes the response is slow. */
  #isPaused = false;
  /** Served another request before this one. */
  #isKept = false;
  /** The origin takes nothing more; what it has said may still be here. */
  #isWriteBroken = false;
  /** A byte of the response to this request came. */
  #hasHeard = false;
  readonly #onSocketData = (chunk: Buffer): void => void this.#received(chunk);
  readonly #onSocketEnd = (): void => this.#ended();
  readonly #onSocketClose = (): void => this.#closed();
  readonly #onSocketDrain = (): void => this.#handler?.onUpstreamDrain();

  /** `read` is null for a socket that is read by 'data' events (TLS, or one that may be given away). */
  constructor(socket: Socket, read: ReadBuffer | null, options: Http1UpstreamOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#reader = new Http1ResponseReader(options.limits, this);
    this.#writer = new Http1RequestWriter(socket);
    this.#deadline = new CoarseTimer(() => this.#timedOut());
    if (read === null) socket.on('data', this.#onSocketData);
    else read.onChunk = (chunk) => this.#received(chunk);
    socket.on('end', this.#onSocketEnd);
    socket.on('close', this.#onSocketClose);
    socket.on('drain', this.#onSocketDrain);
    socket.on('error', () => {}); // 'close' follows
    readPastWriteErrors(socket, () => {
      this.#isWriteBroken = true;
    });
  }

  get isIdle(): boolean {
    return this.#handler === null && this.#reader.isIdle && !this.#socket.destroyed;
  }

  /** Free from the start: who wanted it has another by now. */
  park(): void {
    this.idleSinceMs = performance.now();
    this.#options.timers.arm(this.#deadline, this.#options.keepIdleMs);
    this.#options.onIdle(this);
  }

  start(
    head: OutgoingHead,
    timeouts: RequestTimeouts,
    handler: UpstreamHandler,
    handle: UpstreamHandle,
  ): void {
    this.#handler = handler;
    this.#handle = handle;
    this.#hasHeard = false;
    handle.running(this);
    this.#request = head;
    this.#timeouts = timeouts;
    this.#reader.expect(head.method);
    this.#options.timers.arm(this.#deadline, timeouts.headMs);
    this.#writer.begin(head);
    handler.onSent(handle);
  }

  write(chunk: Buffer): boolean {
    this.#touch();
    return this.#writer.write(chunk);
  }

  end(trailers: RawFields): void {
    this.#writer.end(trailers);
  }

  get isFlushed(): boolean {
    return this.#writer.isFlushed;
  }

  pause(): void {
    this.#isPaused = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#touch();
    this.#readOn();
  }

  #readOn(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#socket.resume();
  }

  abort(): void {
    if (this.#handler !== null) abortConnection(this.#socket, this.#release());
  }

  get localAddress(): string | undefined {
    return this.#socket.localAddress;
  }

  /** For one that waits in the pool, where no request runs. */
  retire(): void {
    this.destroy();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  onInformational(head: ResponseHead): void {
    this.#handler?.onInformational(head.status, head.reason, head.fields);
  }

  onHead(head: IncomingHead): void {
    // Node does not tell whether TLS ended with its alert, and without one the response may be cut (RFC 9112 §9.8).
    const isUntilClose = head.bodyBytes === null && !has(head.fields, 'transfer-encoding');
    this.#touch(); // from here on every byte counts anew
    if (isUntilClose && this.#socket instanceof TLSSocket)
      this.onBad('a response by TLS that says no length');
    else this.#handler?.onHead(head);
  }

  onData(chunk: Buffer): boolean {
    return this.#handler?.onData(chunk) ?? false;
  }

  onWhole(trailers: RawFields, isClean: boolean): void {
    const handler = this.#handler;
    const isReusable = isClean && !this.#isWriteBroken && this.#writer.isComplete && !this.#socket.destroyed;
    this.#release();
    if (isReusable) {
      this.#isKept = true;
      this.#readOn(); // a paused socket in the pool would hang the next request
      this.park();
    } else {
      this.destroy();
    }
    handler?.onEnd(trailers);
  }

  onSwitch(head: ResponseHead, rest: Buffer): void {
    const handler = this.#handler;
    const asked = this.#request?.upgrade ?? null;
    if (handler === null || asked === null || !isOneOf(first(head.fields, 'upgrade'), asked)) {
      this.onBad('101 to a protocol that was not asked for');
      return;
    }
    const socket = this.#socket;
    this.#release();
    socket.off('data', this.#onSocketData);
    socket.off('end', this.#onSocketEnd);
    socket.off('close', this.#onSocketClose);
    socket.off('drain', this.#onSocketDrain);
    socket.pause();
    this.#options.onClosed(this);
    const { reason, fields } = head;
    const incoming: IncomingHead = { status: 101, reason, version: '1.1', fields, bodyBytes: 0 };
    handler.onUpgrade(incoming, { early: rest, socket });
  }

  onBad(detail: string): void {
    this.#fault('upstream_protocol', detail);
  }

  #received(chunk: Buffer): boolean {
    if (this.#reader.isIdle) {
      this.destroy(); // bytes that nobody asked for
      return false;
    }
    this.#hasHeard = true;
    if (!this.#reader.isInHead) this.#touch();
    try {
      return this.#reader.received(chunk);
    } catch (error) {
      this.#options.onInternalError?.(error);
      this.#fault('internal', 'a fault in this sidecar');
      return true;
    }
  }

  /** While the head is due, its limit runs from the last byte of the request; then every byte counts anew. */
  #touch(): void {
    if (this.#timeouts === null) return;
    const { headMs, idleMs } = this.#timeouts;
    this.#options.timers.arm(this.#deadline, this.#reader.isInHead ? headMs : idleMs);
  }

  #fault(code: Code, detail: string): void {
    const handler = this.#handler;
    const stage = this.#reader.isInHead ? 'sent' : 'begun';
    const wasStale = code === 'upstream_reset' && this.#isKept && !this.#hasHeard;
    abortConnection(this.#socket, this.#release());
    handler?.onFault({ code, stage, detail, wasStale });
  }

  /** Returns the request that was under way. */
  #release(): OutgoingHead | null {
    const request = this.#request;
    this.#handler = null;
    this.#handle?.over();
    this.#handle = null;
    this.#request = null;
    this.#timeouts = null;
    this.#writer.drop();
    this.#reader.stop();
    this.#options.timers.disarm(this.#deadline);
    return request;
  }

  #ended(): void {
    // After a reset the end of the connection is not that of a response without another one.
    if (this.#isWriteBroken || !this.#reader.ended()) this.#socket.destroy();
  }

  #closed(): void {
    this.#options.timers.disarm(this.#deadline);
    this.#options.onClosed(this);
    if (this.#handler === null) return;
    const where = this.#reader.isInHead ? 'before a response began' : 'in the middle of the response';
    this.#fault('upstream_reset', `the connection closed ${where}`);
  }

  #timedOut(): void {
    if (this.#handler === null) {
      this.destroy(); // idle for long enough
      return;
    }
    // Whoever does not do its part is to blame: the client that sends or reads no more, or the origin.
    if (this.#isPaused) this.#fault('request_timeout', 'the client reads no more');
    else if (!this.#writer.isComplete && this.#writer.isFlushed)
      this.#fault('request_timeout', 'the client sends no more of its body');
    else this.#fault('response_timeout', tooLate(this.#timeouts, !this.#reader.isInHead));
  }
}

/** Whether the protocol that was switched to is among those of the request's Upgrade (RFC 9110 §7.8). */
function isOneOf(protocol: string | undefined, asked: string): boolean {
  if (protocol === undefined) return false;
  return asked.split(',').some((each) => each.trim().toLowerCase() === protocol.toLowerCase());
}
