/**
 * One request to an origin over HTTP/2: a stream of a session that others use too.
 *
 * It may wait for a session first, and move to a second one when the first refused it unseen; to its owner it is the
 * same request all the time.
 */
import { type ClientHttp2Stream, type ClientSessionRequestOptions, constants } from 'node:http2';
import type { Code } from '../../core/errors.ts';
import { addHttp2Fields, type Http2List, http2List } from '../../core/http/http2-head.ts';
import type { HeadLimits, RawFields } from '../../core/http/message.ts';
import type {
  IncomingHead,
  OutgoingHead,
  RequestTimeouts,
  UpstreamFault,
  UpstreamHandler,
  UpstreamRequest,
} from '../exchange.ts';
import { CoarseTimer, type CoarseTimers, tooLate } from '../sockets/timers.ts';
import { Http2ResponseReader, type Http2ResponseSink } from './response-reader.ts';
import { cutCode } from './stream-end.ts';

export interface Http2UpstreamOptions {
  readonly limits: HeadLimits;
  readonly head: OutgoingHead;
  readonly timeouts: RequestTimeouts;
  readonly handler: UpstreamHandler;
  readonly timers: CoarseTimers;
  /** It was refused unseen, and nothing of a body was sent: another session may take it. */
  onRefused(request: Http2Upstream): void;
  /** Given up while it waited for a session. */
  onGivenUp(request: Http2Upstream): void;
  /** A fault of this program while it handled a response: the request fails, the process lives. */
  readonly onInternalError: ((error: unknown) => void) | undefined;
}

/** One is a race with a goodbye; more is an origin that refuses everything. */
const MAX_REFUSALS = 1;

type Progress = 'waiting' | 'sent' | 'begun' | 'over';

export class Http2Upstream implements UpstreamRequest, Http2ResponseSink {
  readonly timeouts: RequestTimeouts;
  readonly #options: Http2UpstreamOptions;
  readonly #handler: UpstreamHandler;
  readonly #deadline: CoarseTimer;
  #carrier: StreamSession | null = null;
  #stream: ClientHttp2Stream | null = null;
  #reader: Http2ResponseReader | null = null;
  #progress: Progress = 'waiting';
  #isRequestEnded = false;
  #hasSentBody = false;
  #refusals = 0;
  #error: NodeJS.ErrnoException | null = null;
  #trailers: RawFields = [];

  constructor(options: Http2UpstreamOptions) {
    this.#options = options;
    this.timeouts = options.timeouts;
    this.#handler = options.handler;
    this.#deadline = new CoarseTimer(() => this.#timedOut());
  }

  get isOver(): boolean {
    return this.#progress === 'over';
  }

  /** The response is here, though maybe not read yet: the connection is not needed for it any more. */
  get isResponseWhole(): boolean {
    return this.#reader?.isEnded === true;
  }

  begin(carrier: StreamSession): void {
    const { body } = this.#options.head;
    const isBodiless = body.kind === 'none' || (body.kind === 'length' && body.bytes === 0);
    let stream: ClientHttp2Stream;
    try {
      // With waitForTrailers, an upload that is given up is not ended first (see Http2Downstream.destroy).
      stream = carrier.open(this.#list(), { endStream: isBodiless, waitForTrailers: !isBodiless });
    } catch (error) {
      const detail = error instanceof Error ? error.message : 'headers that HTTP/2 cannot carry';
      this.fail({ code: 'upstream_protocol', stage: 'not_sent', detail });
      return;
    }
    this.#carrier = carrier;
    this.#stream = stream;
    this.#progress = 'sent';
    this.#isRequestEnded = isBodiless;
    this.#reader = new Http2ResponseReader(stream, this.#options.limits, this);
    stream.on('drain', () => {
      if (this.#progress !== 'over') this.#safely(() => this.#handler.onUpstreamDrain());
    });
    stream.on('error', (error) => {
      this.#error = error; // 'close' follows
    });
    stream.on('close', () => this.#safely(() => this.#closed(stream)));
    if (!isBodiless) stream.on('wantTrailers', () => this.#sendTrailers(stream));
    this.#touch();
    this.#handler.onSent(this);
  }

  write(chunk: Buffer): boolean {
    if (this.#progress === 'over' || this.#isRequestEnded || chunk.length === 0) return true;
    this.#hasSentBody = true;
    this.#touch();
    return this.#stream?.write(chunk) ?? false;
  }

  /** HTTP/2 keeps what it has not framed yet, and does not say when. */
  get isFlushed(): boolean {
    return false;
  }

  end(trailers: RawFields): void {
    if (this.#progress === 'over' || this.#isRequestEnded) return;
    this.#isRequestEnded = true;
    this.#trailers = trailers;
    this.#stream?.end();
  }

  pause(): void {
    this.#stream?.pause();
  }

  resume(): void {
    this.#touch();
    this.#stream?.resume();
  }

  abort(): void {
    const wasWaiting = this.#progress === 'waiting';
    this.#over(true);
    if (wasWaiting) this.#options.onGivenUp(this);
  }

  /** Ends it with this fault, if it has not ended yet. */
  fail(fault: UpstreamFault): void {
    if (this.#progress === 'over') return;
    this.#over(true);
    this.#handler.onFault(fault);
  }

  /** The connection ended: what is not here will never be. */
  cut(detail: string): void {
    if (!this.isResponseWhole) this.#fault('upstream_reset', detail);
  }

  onInformational(status: number, reason: string, fields: RawFields): void {
    this.#carrier?.heard();
    this.#safely(() => this.#handler.onInformational(status, reason, fields));
  }

  onHead(head: IncomingHead): void {
    this.#carrier?.heard();
    this.#progress = 'begun';
    this.#touch();
    this.#safely(() => this.#handler.onHead(head));
  }

  onData(chunk: Buffer): void {
    this.#carrier?.heard();
    this.#touch();
    this.#safely(() => this.#handler.onData(chunk));
  }

  onWhole(trailers: RawFields): void {
    // A response before the end of the upload: what is left of that is of no use.
    this.#over(!this.#isRequestEnded);
    this.#safely(() => this.#handler.onEnd(trailers));
  }

  onBad(detail: string): void {
    this.#fault('upstream_protocol', detail);
  }

  #safely(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.#options.onInternalError?.(error);
      this.#fault('internal', 'a fault in this sidecar');
    }
  }

  #list(): Http2List {
    const { head } = this.#options;
    const list = http2List();
    list[':method'] = head.method;
    list[':scheme'] = 'http';
    list[':authority'] = head.host;
    list[':path'] = head.target;
    addHttp2Fields(list, head.fields);
    if (head.body.kind === 'length') list['content-length'] = String(head.body.bytes);
    return list;
  }

  #closed(stream: ClientHttp2Stream): void {
    const carrier = this.#carrier;
    this.#carrier = null;
    this.#stream = null;
    carrier?.closed(this);
    if (this.#progress === 'over') return;
    const wasRefused =
      stream.rstCode === constants.NGHTTP2_REFUSED_STREAM || carrier?.isBeyondGoodbye(stream) === true;
    if (this.#progress === 'begun' || !wasRefused) {
      const { code, detail } = cutCode(stream.rstCode, this.#error);
      this.#fault(code, detail);
      return;
    }
    this.#progress = 'waiting';
    this.#reader?.stop();
    this.#options.timers.disarm(this.#deadline);
    if (!this.#hasSentBody && this.#refusals < MAX_REFUSALS) {
      this.#refusals++;
      this.#options.onRefused(this);
      return;
    }
    const detail = 'the other side takes no more requests on this connection';
    this.fail({ code: 'upstream_reset', stage: 'not_sent', detail, isUnseen: true });
  }

  #fault(code: Code, detail: string): void {
    this.fail({ code, stage: this.#progress === 'begun' ? 'begun' : 'sent', detail });
  }

  #timedOut(): void {
    this.#fault('response_timeout', tooLate(this.#options.timeouts, this.#progress === 'begun'));
  }

  #sendTrailers(stream: ClientHttp2Stream): void {
    const list = http2List();
    addHttp2Fields(list, this.#trailers);
    stream.sendTrailers(list);
  }

  /** While the head is due, its limit runs from the last byte of the request; then every byte counts anew. */
  #touch(): void {
    if (this.#progress === 'over' || this.#progress === 'waiting') return;
    const { timeouts, timers } = this.#options;
    timers.arm(this.#deadline, this.#progress === 'sent' ? timeouts.headMs : timeouts.idleMs);
  }

  #over(isCut: boolean): void {
    this.#progress = 'over';
    this.#reader?.stop();
    this.#options.timers.disarm(this.#deadline);
    if (isCut) this.#stream?.close(constants.NGHTTP2_CANCEL);
  }
}

export interface StreamSession {
  open(list: Http2List, options: ClientSessionRequestOptions): ClientHttp2Stream;
  /** Something came from the other side. */
  heard(): void;
  /** The request's stream is gone. */
  closed(request: Http2Upstream): void;
  /** The other side will not look at this stream (GOAWAY with a lower last stream, RFC 9113 §6.8). */
  isBeyondGoodbye(stream: ClientHttp2Stream): boolean;
}
