/**
 * One stream of an HTTP/2 client connection: its request body, and the response that goes out on it.
 *
 * Framing and flow control are node:http2's; this owns what a proxy has to do differently: a broken response must never
 * look ended, trailers come after the last byte, and an upload that nobody wants is stopped.
 */
import { constants, type ServerHttp2Stream } from 'node:http2';
import { has } from '../../core/http/headers.ts';
import { hasBody } from '../../core/http/http1-framing.ts';
import {
  addHttp2Fields,
  type Http2List,
  http2List,
  http2Status,
  withoutPseudoFields,
} from '../../core/http/http2-head.ts';
import type { RawFields, RequestHead } from '../../core/http/message.ts';
import type { ByteStream, Downstream, DownstreamHandler } from '../exchange.ts';
import { onEndStream } from './stream-end.ts';

type Response =
  | { readonly kind: 'not_started' }
  /** A head without body waits for its end, so that both fit into one frame. */
  | { readonly kind: 'held'; readonly list: Http2List }
  | { readonly kind: 'no_body' }
  | { readonly kind: 'length'; left: number }
  | { readonly kind: 'open' }
  | { readonly kind: 'done' };

/** What it tells its connection. */
export interface StreamEvents {
  onInternalError(error: unknown): void;
  onProved(untilMs: number, memberKey: string): void;
}

export class Http2Downstream implements Downstream {
  readonly head: RequestHead;
  readonly version = '2.0';
  readonly remoteAddress: string;
  readonly hasBody: boolean;
  readonly proved: (untilMs: number, memberKey: string) => void;
  readonly #stream: ServerHttp2Stream;
  readonly #onInternalError: (error: unknown) => void;
  #handler: DownstreamHandler | null = null;
  #response: Response = { kind: 'not_started' };
  #requestTrailers: RawFields = [];
  #responseTrailers: RawFields = [];
  /** The client has ended its half; bytes may still be unread. */
  #isRequestWhole: boolean;
  #waitsForTrailers = false;
  #isGone = false;

  /** `isEnded`: the request has no body. */
  constructor(
    stream: ServerHttp2Stream,
    head: RequestHead,
    remoteAddress: string,
    isEnded: boolean,
    { onInternalError, onProved }: StreamEvents,
  ) {
    this.#stream = stream;
    this.#onInternalError = onInternalError;
    this.proved = onProved;
    this.head = head;
    this.remoteAddress = remoteAddress;
    this.hasBody = hasBody(head.framing);
    // A request that came in one piece with its body ended before anybody could listen for it.
    this.#isRequestWhole =
      isEnded || stream.state.state === constants.NGHTTP2_STREAM_STATE_HALF_CLOSED_REMOTE;
    if (!isEnded) {
      onEndStream(stream, () => {
        this.#isRequestWhole = true;
      });
      stream.on('trailers', (_list, _flags, raw) => {
        this.#requestTrailers = withoutPseudoFields(raw as unknown as string[]);
      });
    }
    stream.on('drain', () => {
      if (this.#response.kind !== 'done') this.#safely(() => this.#handler?.onDrain());
    });
    stream.on('close', () => this.#safely(() => this.#closed()));
  }

  get isStarted(): boolean {
    return this.#response.kind !== 'not_started';
  }

  attach(handler: DownstreamHandler): void {
    const isFirst = this.#handler === null;
    this.#handler = handler;
    if (this.#isGone) handler.onGone();
    else if (isFirst) this.#read();
  }

  resumeBody(): void {
    this.#stream.resume();
  }

  informational(status: number, _reason: string, fields: RawFields): void {
    if (this.#isUnusable || this.isStarted) return;
    const list = http2List();
    list[':status'] = String(status);
    addHttp2Fields(list, fields);
    this.#stream.additionalHeaders(list);
  }

  start(status: number, _reason: string, fields: RawFields, bodyBytes: number | null): void {
    if (this.#isUnusable || this.isStarted) return;
    const list = http2List();
    list[':status'] = String(http2Status(status));
    addHttp2Fields(list, fields);
    // 205 too: node:http2 sends no body with it (RFC 9110 §15.3.6 allows none).
    if (this.head.method === 'HEAD' || status === 204 || status === 205 || status === 304) {
      this.#response = { kind: 'no_body' };
      if (status !== 204 && bodyBytes !== null && bodyBytes > 0) list['content-length'] ??= String(bodyBytes);
      this.#respond(list, { endStream: true });
    } else if (bodyBytes === 0) {
      this.#response = { kind: 'held', list };
      process.nextTick(() => this.#release());
    } else {
      this.#response = bodyBytes === null ? { kind: 'open' } : { kind: 'length', left: bodyBytes };
      if (bodyBytes !== null) list['content-length'] ??= String(bodyBytes);
      this.#respond(list, { waitForTrailers: bodyBytes === null || has(fields, 'trailer') });
    }
  }

  write(chunk: Buffer): boolean {
    if (this.#isUnusable || chunk.length === 0) return true;
    this.#release();
    const response = this.#response;
    if (response.kind === 'length') {
      if (chunk.length > response.left) throw new Error('more body than its Content-Length');
      response.left -= chunk.length;
    } else if (response.kind !== 'open') {
      return true;
    }
    return this.#stream.write(chunk);
  }

  get isFlushed(): boolean {
    return !this.#isGone && this.#stream.writableLength === 0;
  }

  end(trailers: RawFields): void {
    const response = this.#response;
    if (this.#isGone || response.kind === 'done' || response.kind === 'not_started') return;
    if (response.kind === 'length' && response.left > 0) {
      this.destroy();
      return;
    }
    this.#responseTrailers = trailers;
    if (response.kind === 'held' && trailers.length === 0) {
      this.#respond(response.list, { endStream: true });
    } else {
      this.#release();
      this.#stream.end();
    }
    this.#response = { kind: 'done' };
    // What is left of the request is of no use any more: dropped, and stopped once the response is out.
    this.#handler = null;
    this.#stream.resume();
    if (!this.#waitsForTrailers) this.#stream.once('finish', () => this.#stopUpload());
  }

  /** RST_STREAM with INTERNAL_ERROR. Not by `close(code)`: that ends an open response first, cleanly. */
  destroy(): void {
    if (this.#response.kind === 'done') return;
    this.#isGone = true;
    this.#handler = null;
    this.#stream.destroy(new Error('the response broke'));
  }

  upgrade(): ByteStream {
    throw new Error('a stream of HTTP/2 has nothing to upgrade');
  }

  /** Whatever is wrong with this program, only one stream pays for it. */
  #safely(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.#onInternalError(error);
      this.#stream.destroy(new Error('a fault in this sidecar'));
    }
  }

  get #isUnusable(): boolean {
    return this.#isGone || this.#stream.destroyed || this.#stream.closed;
  }

  #read(): void {
    const stream = this.#stream;
    if (this.#isRequestWhole && !this.hasBody) {
      this.#handler?.onBodyEnd([]);
      return;
    }
    stream.on('data', (chunk: Buffer) => {
      this.#safely(() => {
        if (this.#handler !== null && !this.#handler.onBody(chunk)) stream.pause();
      });
    });
    stream.on('end', () => {
      if (this.#isRequestWhole) this.#safely(() => this.#handler?.onBodyEnd(this.#requestTrailers));
    });
  }

  #release(): void {
    const response = this.#response;
    if (response.kind !== 'held') return;
    this.#response = { kind: 'length', left: 0 };
    if (!this.#isUnusable) this.#respond(response.list, { waitForTrailers: true });
  }

  #respond(
    list: Http2List,
    options: { readonly endStream?: true; readonly waitForTrailers?: boolean },
  ): void {
    const stream = this.#stream;
    this.#waitsForTrailers = options.waitForTrailers === true;
    if (this.#waitsForTrailers) stream.once('wantTrailers', () => this.#sendTrailers());
    try {
      stream.respond(list, options);
    } catch (error) {
      // Headers that node:http2 refuses to send; 'close' tells the rest.
      stream.destroy(error instanceof Error ? error : new Error('the response cannot be sent'));
    }
  }

  #sendTrailers(): void {
    const list = http2List();
    addHttp2Fields(list, this.#responseTrailers);
    this.#stream.sendTrailers(list);
    // node:http2 sends them, and with them the end, in a setImmediate; this one comes after it.
    setImmediate(() => this.#stopUpload());
  }

  /** RFC 9113 §8.1: NO_ERROR after a complete response asks the client to stop sending. */
  #stopUpload(): void {
    if (!this.#isRequestWhole) this.#stream.close(constants.NGHTTP2_NO_ERROR);
  }

  #closed(): void {
    if (this.#isGone || this.#response.kind === 'done') return;
    this.#isGone = true;
    const handler = this.#handler;
    this.#handler = null;
    handler?.onGone();
  }
}
