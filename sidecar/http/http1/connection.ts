/**
 * One HTTP/1.1 connection from a client: reads requests one after the other, hands each out as a Downstream, and
 * decides what becomes of the connection afterwards.
 *
 * Own code on raw sockets instead of node:http, because a proxy has to see what node:http hides: duplicate headers, 1xx
 * responses, trailers as sent, where a pipelined request begins, and when exactly the client left.
 */
import type { Socket } from 'node:net';
import type { Code } from '../../core/errors.ts';
import { type LastFields, parseRequestHead } from '../../core/http/http1-request-head.ts';
import { prefaceIn } from '../../core/http/http2-head.ts';
import { RepeatedSection } from '../../core/http/repeated-section.ts';
import type { ConnectionOptions } from '../connection-options.ts';
import { finalReplyBytes } from '../local-reply.ts';
import type { ReadBuffer } from '../sockets/read-buffer.ts';
import { CoarseTimer } from '../sockets/timers.ts';
import { closeLingering } from './close.ts';
import { type ExchangeConnection, Http1Downstream } from './downstream.ts';
import { Http1MessageWriter } from './message-writer.ts';
import { worthReparsing } from './partial-head.ts';
import { READ_AHEAD_BYTES } from './request-body.ts';

/** On one connection of a stranger, which ends then: a connector of a tunnel keeps its own for several. */
const STRANGER_REQUESTS = 16;

const INCOMPLETE = { kind: 'incomplete' } as const;

/** `left`: the socket has another owner, or none. */
type ConnectionState = 'head' | 'exchange' | 'left';

export class Http1Connection implements ExchangeConnection {
  readonly socket: Socket;
  readonly writer: Http1MessageWriter;
  readonly remoteAddress: string;
  #isDraining = false;
  #isStranger: boolean;
  #provedUntilMs = 0;
  #memberKey = '';
  /** Of a stranger. */
  #requests = 0;
  readonly #options: ConnectionOptions;
  #state: ConnectionState = 'head';
  readonly #last: LastFields = new RepeatedSection();
  #pending: Buffer | null = null;
  #exchange: Http1Downstream | null = null;
  /** Whether the socket is not read. */
  #isPaused = false;
  /** The held bytes are about to be read. */
  #isTurning = false;
  readonly #deadline: CoarseTimer;
  readonly #read: ReadBuffer | null;
  readonly #onData = (chunk: Buffer): void => void this.#taken(chunk);
  readonly #onEnd = (): void => this.#clientEnded();
  readonly #onClose = (): void => this.#closed();
  readonly #onDrain = (): void => this.#drained();

  /** `read`: what the socket is read into; null for one that is read by 'data' events. */
  constructor(socket: Socket, read: ReadBuffer | null, options: ConnectionOptions) {
    this.socket = socket;
    this.writer = new Http1MessageWriter(socket);
    this.#read = read;
    this.#options = options;
    this.#isStranger = options.strangers !== null;
    this.remoteAddress = socket.remoteAddress ?? '';
    this.#deadline = new CoarseTimer(() => this.#timedOut());
    if (read === null) socket.on('data', this.#onData);
    else read.onChunk = (chunk) => this.#taken(chunk);
    socket.on('end', this.#onEnd);
    socket.on('close', this.#onClose);
    socket.on('drain', this.#onDrain);
    socket.on('error', () => {}); // 'close' follows, and says all
    options.timers.arm(this.#deadline, options.headTimeoutMs);
  }

  /** No further request after the one that runs now; an idle connection is closed at once. */
  drain(): void {
    this.drainAfterOne();
    if (this.#state === 'head' && this.#pending === null) this.close();
  }

  /** For a connection made while draining: its first request is its last. */
  drainAfterOne(): void {
    this.#isDraining = true;
  }

  get isDraining(): boolean {
    return this.#isDraining || this.#requests >= STRANGER_REQUESTS;
  }

  proved(untilMs: number, memberKey: string): void {
    if (untilMs === this.#provedUntilMs && memberKey === this.#memberKey) return;
    this.#provedUntilMs = untilMs;
    this.#memberKey = memberKey;
    this.#isStranger = false;
    this.#requests = 0;
    this.#options.strangers?.proved(this.socket, untilMs, memberKey);
  }

  hold(bytes: Buffer): void {
    if (bytes.length === 0) return;
    this.#pending = this.#pending === null ? bytes : Buffer.concat([this.#pending, bytes]);
    this.updateFlow();
  }

  /** The exchange or the held bytes may ask for a pause. */
  updateFlow(): void {
    const isFull = this.#state === 'exchange' && (this.#pending?.length ?? 0) > READ_AHEAD_BYTES;
    const isPaused = isFull || this.#exchange?.wantsPause === true;
    if (!isPaused && !this.#isPaused) return;
    this.#isPaused = isPaused;
    this.#options.pausedSockets.setPaused(this.socket, isPaused);
  }

  exchangeDone(keepAlive: boolean): void {
    this.#exchange = null;
    if (!keepAlive || this.isDraining) {
      this.close();
      return;
    }
    this.#state = 'head';
    const { headTimeoutMs, keepAliveMs, timers } = this.#options;
    timers.arm(this.#deadline, this.#isStranger ? Math.min(headTimeoutMs, keepAliveMs) : keepAliveMs);
    // A client that pipelines and does not read its responses gets no more of them.
    if (this.socket.writableNeedDrain) {
      this.#isPaused = true;
      this.#options.pausedSockets.pauseUnwatched(this.socket);
    } else this.#readOn();
  }

  /** Sends what is written, ends, and takes no more requests; what still comes in is thrown away. */
  close(): void {
    if (this.#state === 'left') return;
    this.#leave();
    closeLingering(this.socket, this.#options.timers);
  }

  giveAway(): Buffer {
    const early = this.#pending ?? Buffer.alloc(0);
    this.#leave();
    this.socket.pause();
    return early;
  }

  /** A request that cannot be read, or whose body broke the rules before a response began. */
  refuse(code: Code, detail: string): void {
    this.socket.write(finalReplyBytes(this.#options.refuse(code, detail)));
    this.close();
  }

  #leave(): void {
    this.#state = 'left';
    this.#exchange = null;
    this.#pending = null;
    this.#options.timers.disarm(this.#deadline);
    this.#options.pausedSockets.forget(this.socket);
    if (this.#read === null) this.socket.off('data', this.#onData);
    else this.#read.emitOn(this.socket);
    this.socket.off('end', this.#onEnd);
    this.socket.off('close', this.#onClose);
    this.socket.off('drain', this.#onDrain);
  }

  /** Goes on with what is held of the next request. */
  #readOn(): void {
    this.updateFlow();
    if (this.#pending === null) return;
    this.#isTurning = true;
    // Not from inside the last response. Bytes read meanwhile may come in before this runs, and belong behind it.
    queueMicrotask(() => {
      const pending = this.#pending;
      this.#pending = null;
      this.#isTurning = false;
      if (pending !== null) this.#taken(pending);
    });
  }

  #drained(): void {
    if (this.#exchange !== null) this.#exchange.drained();
    else if (this.#isPaused) this.#readOn();
  }

  /** Whatever is wrong with this program, one connection pays for it. Returns true when the chunk is still held. */
  #taken(chunk: Buffer): boolean {
    try {
      this.#received(chunk);
    } catch (error) {
      this.#options.onInternalError(error);
      this.socket.destroy();
    }
    return this.#state === 'left' || this.#pending !== null || this.#exchange?.holdsBytes === true;
  }

  #received(chunk: Buffer): void {
    if (this.#state === 'exchange') this.#exchange?.received(chunk);
    else if (this.#isTurning) this.hold(chunk);
    else if (this.#state === 'head') this.#readHead(chunk);
  }

  #readHead(chunk: Buffer): void {
    const bytes = this.#pending === null ? chunk : Buffer.concat([this.#pending, chunk]);
    const known = this.#pending?.length ?? 0;
    this.#pending = null;
    const { limits, timers, headTimeoutMs } = this.#options;
    const isWorthIt = worthReparsing(bytes, known, limits);
    const result = isWorthIt ? parseRequestHead(bytes, 0, bytes.length, limits, this.#last) : INCOMPLETE;
    switch (result.kind) {
      case 'incomplete':
        if (known === 0) timers.arm(this.#deadline, headTimeoutMs);
        this.#pending = bytes;
        return;
      case 'bad':
        if (!this.#isHttp2(bytes)) this.refuse(result.code, result.detail);
        return;
      case 'head': {
        timers.disarm(this.#deadline);
        this.#state = 'exchange';
        if (this.#isStranger) this.#requests++;
        const exchange = new Http1Downstream(this, result.head);
        this.#exchange = exchange;
        if (result.end < bytes.length) exchange.received(bytes.subarray(result.end));
        if (this.#exchange === exchange) this.#handOut(exchange);
      }
    }
  }

  /** Asked when the parser has refused the bytes, which it does with the preface of HTTP/2. */
  #isHttp2(bytes: Buffer): boolean {
    if (this.#options.onHttp2 === undefined || this.socket.bytesRead !== bytes.length) return false;
    const preface = prefaceIn(bytes);
    if (preface === 'partial') this.#pending = bytes; // the time limit of a head runs
    if (preface !== 'whole') return preface === 'partial';
    this.giveAway();
    this.#read?.keepSmall();
    this.#options.onHttp2(this.socket, bytes);
    return true;
  }

  #handOut(exchange: Http1Downstream): void {
    try {
      this.#options.onRequest(exchange);
    } catch (error) {
      this.#options.onInternalError(error);
      exchange.gone(); // so that whoever has attached to it gives up
      if (exchange.isStarted) this.socket.destroy();
      else this.refuse('internal', 'a fault in this sidecar');
    }
  }

  /** The client's half is closed: while a response is due this counts as "gone", as in nginx and Envoy. */
  #clientEnded(): void {
    if (this.#state === 'exchange') this.socket.destroy();
    else if (this.#pending === null) this.socket.end();
    else this.refuse('bad_request', 'the connection ended inside a request head');
  }

  #closed(): void {
    const exchange = this.#exchange;
    this.#leave();
    exchange?.gone();
  }

  #timedOut(): void {
    if (this.#pending === null) this.close();
    else this.refuse('request_timeout', 'the request head did not arrive in time');
  }
}
