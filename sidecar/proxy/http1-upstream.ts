/**
 * One HTTP/1.1 connection to an origin: sends one request at a time and says whether it may serve again.
 *
 * Never pipelines (a stream would block the ones behind it) and never reuses a connection with a doubt: a
 * surplus byte, an unfinished upload, a close announced. It must not know retries, peers or services, nor how
 * an answer is read (http1-response-reader).
 */
import type { Socket } from 'node:net';
import { encodeChunk, lastChunk } from '../core/chunked.ts';
import { fieldLines } from '../core/http1-encode.ts';
import type { HeadLimits, RawFields, ResponseHead } from '../core/http1-head.ts';
import { Deadline, type Deadlines } from './deadlines.ts';
import type {
  IncomingHead,
  OutgoingHead,
  RequestTimeouts,
  UpstreamHandler,
  UpstreamRequest,
} from './exchange.ts';
import { Http1ResponseReader, type ResponseSink } from './http1-response-reader.ts';
import type { ReadBuffer } from './read-buffer.ts';

export interface Http1UpstreamOptions {
  readonly limits: HeadLimits;
  readonly deadlines: Deadlines;
  /** The connection is clean and free for the next request. */
  onIdle(upstream: Http1Upstream): void;
  onClosed(upstream: Http1Upstream): void;
}

/** Pieces up to this size travel in one write with the head. */
const COALESCE_BYTES = 16_384;

export class Http1Upstream implements UpstreamRequest, ResponseSink {
  /** Monotonic ms since when the connection is unused. */
  idleSinceMs = 0;
  readonly #socket: Socket;
  readonly #options: Http1UpstreamOptions;
  readonly #reader: Http1ResponseReader;
  readonly #deadline: Deadline;
  #handler: UpstreamHandler | null = null;
  #request: OutgoingHead | null = null;
  #timeouts: RequestTimeouts | null = null;
  #headText = '';
  #bodyLeft = 0;
  #isRequestComplete = true;
  readonly #onSocketData = (chunk: Buffer): void => void this.#received(chunk);
  readonly #onSocketEnd = (): void => this.#ended();
  readonly #onSocketClose = (): void => this.#closed();
  readonly #onSocketDrain = (): void => this.#handler?.onUpstreamDrain();

  /** `read` is null for a socket that is read by 'data' events (TLS, or one that may be given away). */
  constructor(socket: Socket, read: ReadBuffer | null, options: Http1UpstreamOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#reader = new Http1ResponseReader(options.limits, this);
    this.#deadline = new Deadline(() => this.#timedOut());
    if (read === null) socket.on('data', this.#onSocketData);
    else read.onChunk = (chunk) => this.#received(chunk);
    socket.on('end', this.#onSocketEnd);
    socket.on('close', this.#onSocketClose);
    socket.on('drain', this.#onSocketDrain);
    socket.on('error', () => {}); // 'close' follows
  }

  get isIdle(): boolean {
    return this.#handler === null && this.#reader.isIdle && !this.#socket.destroyed && this.#socket.readable;
  }

  start(head: OutgoingHead, timeouts: RequestTimeouts, handler: UpstreamHandler): void {
    this.#handler = handler;
    this.#request = head;
    this.#timeouts = timeouts;
    this.#reader.expect(head.method);
    this.#bodyLeft = head.body.kind === 'length' ? head.body.bytes : 0;
    this.#isRequestComplete = head.body.kind !== 'chunked' && this.#bodyLeft === 0;
    this.#headText = headText(head);
    this.#options.deadlines.arm(this.#deadline, timeouts.headMs);
    if (this.#isRequestComplete) this.#flushHead();
    else process.nextTick(() => this.#flushHead());
    handler.onSent(this);
  }

  write(chunk: Buffer): boolean {
    const request = this.#request;
    if (request === null || this.#isRequestComplete || chunk.length === 0) return true;
    this.#touch();
    if (request.body.kind === 'chunked') return this.#send(encodeChunk(chunk));
    if (chunk.length > this.#bodyLeft) throw new Error('more body than its Content-Length');
    this.#bodyLeft -= chunk.length;
    if (this.#bodyLeft === 0) this.#isRequestComplete = true;
    return this.#send(chunk);
  }

  end(trailers: RawFields): void {
    if (this.#request?.body.kind !== 'chunked' || this.#isRequestComplete) return;
    this.#isRequestComplete = true;
    this.#send(lastChunk(trailers));
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#touch();
    this.#socket.resume();
  }

  abort(): void {
    if (this.#handler === null) return;
    this.#release();
    this.destroy();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  onInformational(head: ResponseHead): void {
    this.#handler?.onInformational(head.status, head.reason, head.fields);
  }

  onHead(head: IncomingHead): void {
    this.#handler?.onHead(head);
  }

  onData(chunk: Buffer): boolean {
    return this.#handler?.onData(chunk) ?? false;
  }

  onWhole(trailers: RawFields, isClean: boolean): void {
    const handler = this.#handler;
    const isReusable = isClean && this.#isRequestComplete && !this.#socket.destroyed;
    this.#release();
    if (isReusable) {
      this.idleSinceMs = performance.now();
      this.#socket.resume(); // a paused socket in the pool would hang the next request
      this.#options.onIdle(this);
    } else {
      this.destroy();
    }
    handler?.onEnd(trailers);
  }

  onSwitch(head: ResponseHead, rest: Buffer): void {
    const handler = this.#handler;
    if (handler === null || this.#request?.upgrade == null) {
      this.onBad('101 without a request to switch');
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
    if (!this.#reader.isInHead) this.#touch();
    return this.#reader.received(chunk);
  }

  /** While the head is due, its limit runs from the last byte of the request; then every byte counts anew. */
  #touch(): void {
    if (this.#timeouts === null) return;
    const { headMs, idleMs } = this.#timeouts;
    this.#options.deadlines.arm(this.#deadline, this.#reader.isInHead ? headMs : idleMs);
  }

  #fault(code: 'upstream_protocol' | 'upstream_reset' | 'response_timeout', detail: string): void {
    const handler = this.#handler;
    const stage = this.#reader.isInHead ? 'sent' : 'begun';
    this.#release();
    this.destroy();
    handler?.onFault({ code, stage, detail });
  }

  #release(): void {
    this.#handler = null;
    this.#request = null;
    this.#timeouts = null;
    this.#headText = '';
    this.#reader.stop();
    this.#options.deadlines.disarm(this.#deadline);
  }

  #ended(): void {
    if (!this.#reader.ended()) this.#socket.destroy();
  }

  #closed(): void {
    this.#options.onClosed(this);
    if (this.#handler === null) return;
    const where = this.#reader.isInHead ? 'before an answer began' : 'in the middle of the answer';
    this.#fault('upstream_reset', `the connection closed ${where}`);
  }

  #timedOut(): void {
    this.#fault('response_timeout', this.#reader.isInHead ? 'no answer in time' : 'no byte in time');
  }

  #flushHead(): void {
    if (this.#headText === '') return;
    const text = this.#headText;
    this.#headText = '';
    this.#socket.write(text, 'latin1');
  }

  #send(bytes: Buffer): boolean {
    if (this.#headText === '' || bytes.length > COALESCE_BYTES) {
      this.#flushHead();
      return this.#socket.write(bytes);
    }
    const text = this.#headText;
    this.#headText = '';
    const whole = Buffer.allocUnsafe(text.length + bytes.length);
    whole.write(text, 'latin1');
    bytes.copy(whole, text.length);
    return this.#socket.write(whole);
  }
}

function headText(head: OutgoingHead): string {
  let text = `${head.method} ${head.target} HTTP/1.1\r\nHost: ${head.host}\r\n${fieldLines(head.fields)}`;
  if (head.body.kind === 'length') text += `Content-Length: ${head.body.bytes}\r\n`;
  else if (head.body.kind === 'chunked') text += 'Transfer-Encoding: chunked\r\n';
  if (head.upgrade !== null) text += `Connection: Upgrade\r\nUpgrade: ${head.upgrade}\r\n`;
  return `${text}\r\n`;
}
