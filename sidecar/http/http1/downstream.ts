/**
 * One request on an HTTP/1.1 client connection and its response, with the framing of what goes out (RFC 9112 §6–7).
 */
import type { Socket } from 'node:net';
import type { Code } from '../../core/errors.ts';
import { lastChunk } from '../../core/http/chunked.ts';
import { has, without } from '../../core/http/headers.ts';
import { type FieldLines, fieldLines } from '../../core/http/http1-encode.ts';
import { hasBody } from '../../core/http/http1-framing.ts';
import type { HttpVersion, RawFields, RequestHead } from '../../core/http/message.ts';
import type { ByteStream, Downstream, DownstreamHandler } from '../exchange.ts';
import type { Http1MessageWriter } from './message-writer.ts';
import { type BodyOwner, Http1RequestBody, READ_AHEAD_BYTES } from './request-body.ts';

/** The connection, as its present exchange sees it. */
export interface ExchangeConnection {
  readonly socket: Socket;
  readonly writer: Http1MessageWriter;
  readonly remoteAddress: string;
  readonly isDraining: boolean;
  proved(untilMs: number, memberKey: string): void;
  /** Keeps bytes that belong to the next request. */
  hold(bytes: Buffer): void;
  /** Reads on, or not: the exchange may have changed its mind. */
  updateFlow(): void;
  /** Request and response are complete; the connection goes on or ends. */
  exchangeDone(keepAlive: boolean): void;
  /** Responds to a request whose body broke the rules before a response began, and closes. */
  refuse(code: Code, detail: string): void;
  /** Sends what is written, ends, and takes no more requests; what still comes in is thrown away. */
  close(): void;
  /** The connection leaves HTTP; returns the bytes that were read ahead. */
  giveAway(): Buffer;
}

type ResponseFraming =
  | { readonly kind: 'not_started' }
  | { readonly kind: 'no_body' }
  | { readonly kind: 'length'; left: number }
  | { readonly kind: 'chunked' }
  | { readonly kind: 'until_close' }
  | { readonly kind: 'done' };

export class Http1Downstream implements Downstream, BodyOwner {
  readonly head: RequestHead;
  readonly version: HttpVersion;
  readonly remoteAddress: string;
  readonly hasBody: boolean;
  readonly #connection: ExchangeConnection;
  readonly #body: Http1RequestBody;
  readonly #writer: Http1MessageWriter;
  #handler: DownstreamHandler | null = null;
  #response: ResponseFraming = { kind: 'not_started' };
  #keepAlive: boolean;
  #isGone = false;
  #isContinued = false;

  constructor(connection: ExchangeConnection, head: RequestHead) {
    this.#connection = connection;
    this.head = head;
    this.version = head.minor === 1 ? '1.1' : '1.0';
    this.remoteAddress = connection.remoteAddress;
    this.hasBody = hasBody(head.framing);
    this.#body = new Http1RequestBody(head.framing, this);
    this.#writer = connection.writer;
    this.#keepAlive = head.keepAlive;
  }

  get isStarted(): boolean {
    return this.#response.kind !== 'not_started';
  }

  attach(handler: DownstreamHandler): void {
    this.#handler = handler;
    if (this.#isGone) {
      handler.onGone();
      return;
    }
    this.#body.attach(handler);
    this.#connection.updateFlow();
  }

  resumeBody(): void {
    this.#body.resume();
    this.#connection.updateFlow();
  }

  proved(untilMs: number, memberKey: string): void {
    this.#connection.proved(untilMs, memberKey);
  }

  /**
   * Whether the connection should stop reading. Not at once when the body is held back: a socket that is not read
   * does not tell that its client has left.
   */
  get wantsPause(): boolean {
    return this.#body.queuedBytes > READ_AHEAD_BYTES;
  }

  /** A piece of what was received is still held by somebody. */
  get holdsBytes(): boolean {
    return this.hasBody && this.#body.holdsBytes;
  }

  received(bytes: Buffer): void {
    this.#body.received(bytes);
    this.#connection.updateFlow();
  }

  surplus(bytes: Buffer): void {
    this.#connection.hold(bytes);
  }

  bodyComplete(): void {
    if (this.#response.kind === 'done') this.#connection.exchangeDone(this.#keepAlive);
  }

  bodyBroken(detail: string): void {
    const wasStarted = this.isStarted;
    this.gone();
    if (wasStarted) this.#connection.socket.destroy();
    else this.#connection.refuse('bad_request', detail);
  }

  drained(): void {
    if (this.#response.kind !== 'done') this.#handler?.onDrain();
  }

  gone(): void {
    if (this.#isGone || this.#response.kind === 'done') return;
    this.#isGone = true;
    this.#writer.drop();
    this.#handler?.onGone();
  }

  informational(status: number, reason: string, fields: RawFields): void {
    if (this.#isGone || this.isStarted || this.head.minor === 0) return;
    if (status === 100) this.#isContinued = true;
    this.#writer.writeText(`HTTP/1.1 ${status} ${reason}\r\n${fieldLines(fields)}\r\n`);
  }

  start(
    status: number,
    reason: string,
    fields: RawFields,
    bodyBytes: number | null,
    first: FieldLines | null = null,
  ): void {
    if (this.#isGone || this.isStarted) return;
    // RFC 9110 §8.6: no length where there cannot be content.
    const lines =
      status === 204
        ? fieldLines(without(fields, (name) => name === 'content-length'))
        : first === null
          ? fieldLines(fields)
          : first.text + fieldLines(fields, first.fields.length);
    let text = `HTTP/1.1 ${status} ${reason}\r\n${lines}`;
    if (!has(fields, 'date')) text += `Date: ${httpDate()}\r\n`; // RFC 9110 §6.6.1
    if (this.head.method === 'HEAD' || status === 204 || status === 304) {
      this.#response = { kind: 'no_body' };
      if (status !== 204 && bodyBytes !== null && bodyBytes > 0 && !has(fields, 'content-length'))
        text += `Content-Length: ${bodyBytes}\r\n`;
    } else if (bodyBytes !== null) {
      this.#response = { kind: 'length', left: bodyBytes };
      if (!has(fields, 'content-length')) text += `Content-Length: ${bodyBytes}\r\n`;
    } else if (this.head.minor === 1) {
      this.#response = { kind: 'chunked' };
      text += 'Transfer-Encoding: chunked\r\n';
    } else {
      this.#response = { kind: 'until_close' };
      this.#keepAlive = false;
    }
    // A client that waits for 100 and gets a response instead may send its body or not: nobody can tell.
    if (this.head.expectContinue && !this.#isContinued && !this.#body.isRead) this.#keepAlive = false;
    if (this.#connection.isDraining) this.#keepAlive = false;
    if (!this.#keepAlive) text += 'Connection: close\r\n';
    else if (this.head.minor === 0) text += 'Connection: keep-alive\r\n';
    this.#writer.begin(`${text}\r\n`);
  }

  write(chunk: Buffer): boolean {
    if (this.#isGone || chunk.length === 0) return true;
    switch (this.#response.kind) {
      case 'length':
        if (chunk.length > this.#response.left) throw new Error('more body than its Content-Length');
        this.#response.left -= chunk.length;
        return this.#writer.write(chunk);
      case 'chunked':
        return this.#writer.writeChunk(chunk);
      case 'until_close':
        return this.#writer.write(chunk);
      default:
        return true;
    }
  }

  get isFlushed(): boolean {
    return this.#isGone || this.#writer.isFlushed;
  }

  end(trailers: RawFields): void {
    const response = this.#response;
    if (this.#isGone || response.kind === 'done' || response.kind === 'not_started') return;
    if (response.kind === 'length' && response.left > 0) {
      this.destroy();
      return;
    }
    if (response.kind === 'chunked') this.#writer.write(lastChunk(trailers));
    this.#writer.flush();
    this.#response = { kind: 'done' };
    if (this.#body.isRead) {
      this.#body.discard();
      this.#connection.exchangeDone(this.#keepAlive);
      return;
    }
    // The rest of the upload is of no use any more: end our side, and let the client finish or notice.
    this.#keepAlive = false;
    this.#body.discard();
    this.#connection.close();
  }

  destroy(): void {
    if (this.#response.kind === 'done') return;
    this.#isGone = true;
    this.#writer.drop();
    const { socket } = this.#connection;
    // Without a length or chunks only a reset tells a cut response from a whole one.
    if (this.#response.kind === 'until_close') socket.resetAndDestroy();
    else socket.destroy();
  }

  upgrade(reason: string, fields: RawFields, protocol: string): ByteStream {
    this.#response = { kind: 'done' };
    const socket = this.#connection.socket;
    const early = this.#connection.giveAway();
    socket.write(
      `HTTP/1.1 101 ${reason}\r\n${fieldLines(fields)}Connection: Upgrade\r\nUpgrade: ${protocol}\r\n\r\n`,
      'latin1',
    );
    return { early, socket };
  }
}

let dateSecond = 0;
let dateText = '';

/**
 * The Date header (RFC 9110 §5.6.7), made once per second: toUTCString for each response costs more than all its other
 * headers.
 */
function httpDate(): string {
  const nowMs = Date.now();
  const nowSecond = Math.floor(nowMs / 1000);
  if (nowSecond !== dateSecond) {
    dateSecond = nowSecond;
    dateText = new Date(nowMs).toUTCString();
  }
  return dateText;
}
