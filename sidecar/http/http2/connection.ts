/**
 * One HTTP/2 connection from a client: hands each stream out as a Downstream, says goodbye in an orderly way, and
 * closes when nobody uses it. It takes over from an HTTP/1.1 connection at the preface, so that both share a port.
 */
import {
  constants,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { Socket } from 'node:net';
import type { Code } from '../../core/errors.ts';
import { addHttp2Fields, http2List, readHttp2Request } from '../../core/http/http2-head.ts';
import type { ConnectionOptions } from '../connection-options.ts';
import { CoarseTimer } from '../sockets/timers.ts';
import { Http2Downstream } from './downstream.ts';
import { CONNECTION_WINDOW_BYTES, serverSettings } from './settings.ts';

/** How long a client has to close its side after the last stream. */
const LINGER_MS = 2_000;

export class Http2Connection {
  readonly socket: Socket;
  readonly #options: ConnectionOptions;
  readonly #session: ServerHttp2Session;
  readonly #remoteAddress: string;
  readonly #deadline: CoarseTimer;
  #isClosing = false;
  #isLastStream = false;
  #openStreams = 0;
  /** Until its first request has proved a member; nothing is read beyond it before. */
  #isStranger: boolean;
  #provedUntilMs = 0;
  #memberKey = '';

  /** `early`: what was read of the connection so far, from the preface on; the socket is paused, without listeners. */
  constructor(socket: Socket, early: Buffer, options: ConnectionOptions) {
    this.socket = socket;
    this.#options = options;
    this.#remoteAddress = socket.remoteAddress ?? '';
    this.#deadline = new CoarseTimer(() => this.#timedOut());
    socket.unshift(early);
    socket.on('error', () => {}); // 'close' follows
    socket.once('end', () => socket.destroy()); // half a connection is of no use: no response could be acknowledged
    socket.once('close', () => options.timers.disarm(this.#deadline));
    const session = performServerHandshake(socket, serverSettings(options.limits));
    this.#session = session;
    session.on('error', () => {}); // 'close' follows, on the socket too
    session.on('stream', (stream, _list, flags, raw) =>
      this.#began(stream, flags, raw as unknown as string[]),
    );
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
    this.#isStranger = options.strangers !== null;
    if (this.#isStranger) readStop(socket);
    this.#unused();
  }

  /**
   * Streams that run go on; those that come later were not looked at, and the client is told so (the last stream in
   * GOAWAY). The warning that RFC 9113 §6.8 suggests before is not to be had: node:http2 takes no stream after any
   * GOAWAY, whatever it says.
   */
  drain(): void {
    this.#close();
  }

  /** For a connection made while draining: its first stream is its last. */
  drainAfterOne(): void {
    this.#isLastStream = true;
  }

  #began(stream: ServerHttp2Stream, flags: number, raw: readonly string[]): void {
    stream.on('error', () => {}); // 'close' follows
    if (stream.destroyed) return;
    if (this.#isStranger && this.#isClosing) {
      stream.close(constants.NGHTTP2_REFUSED_STREAM); // read together with its first, which proved nothing
      return;
    }
    this.#openStreams++;
    this.#options.timers.disarm(this.#deadline);
    stream.once('close', () => this.#ended());
    const isEnded = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
    const request = readHttp2Request(raw, isEnded, this.#options.limits);
    if (request.kind === 'malformed') {
      this.#options.refuse('bad_request', request.detail); // counts it; a stream error carries no words
      stream.close(constants.NGHTTP2_PROTOCOL_ERROR);
    } else if (request.kind === 'refused') {
      this.#refuse(stream, request.code, request.detail);
    } else {
      const { onInternalError } = this.#options;
      const downstream = new Http2Downstream(stream, request.head, this.#remoteAddress, isEnded, {
        onInternalError,
        onProved: (untilMs, memberKey) => this.#proved(untilMs, memberKey),
      });
      this.#handOut(downstream, stream);
    }
    if (this.#isLastStream || this.#isStranger) this.drain();
    // It may not take its response: what it sends is not read, and a reset of it not seen.
    if (this.#isStranger) this.#options.timers.arm(this.#deadline, this.#options.headTimeoutMs);
  }

  #proved(untilMs: number, memberKey: string): void {
    if (untilMs === this.#provedUntilMs && memberKey === this.#memberKey) return;
    this.#provedUntilMs = untilMs;
    this.#memberKey = memberKey;
    this.#options.strangers?.proved(this.socket, untilMs, memberKey);
    if (!this.#isStranger) return;
    this.#isStranger = false;
    readStart(this.socket);
  }

  #handOut(downstream: Http2Downstream, stream: ServerHttp2Stream): void {
    try {
      this.#options.onRequest(downstream);
    } catch (error) {
      this.#options.onInternalError(error);
      if (downstream.isStarted) downstream.destroy();
      else this.#refuse(stream, 'internal', 'a fault in this sidecar');
    }
  }

  #refuse(stream: ServerHttp2Stream, code: Code, detail: string): void {
    const { status, fields, body } = this.#options.refuse(code, detail);
    const list = http2List();
    list[':status'] = String(status);
    list['content-length'] = String(body.length);
    addHttp2Fields(list, fields);
    stream.respond(list);
    if (!stream.writableEnded) stream.end(body); // that of a HEAD has ended already
    stream.resume();
    stream.once('finish', () => stream.close(constants.NGHTTP2_NO_ERROR)); // stops an upload
  }

  #ended(): void {
    this.#openStreams--;
    if (this.#openStreams === 0) this.#unused();
  }

  #unused(): void {
    const { timers, keepAliveMs } = this.#options;
    // A client that never closes its side would hold the socket for ever.
    timers.arm(this.#deadline, this.#isClosing || this.#isStranger ? LINGER_MS : keepAliveMs);
  }

  #timedOut(): void {
    if (this.#isClosing) this.socket.destroy();
    else this.#close();
  }

  /** Takes no more streams; node:http2 closes the connection after the last one. */
  #close(): void {
    if (this.#isClosing) return;
    this.#isClosing = true;
    this.#session.close();
    if (this.#openStreams === 0) this.#unused();
  }
}

/** What is used of Node's internals. */
interface WithHandle {
  _handle?: { readStop?(): void; readStart?(): void } | null;
}

/**
 * The library reads the socket by its handle, and has no way to be held up: so the handle is. Undocumented; where it is
 * not as expected, the connection is only closed after its first request.
 */
function readStop(socket: Socket): void {
  (socket as unknown as WithHandle)._handle?.readStop?.();
}

function readStart(socket: Socket): void {
  (socket as unknown as WithHandle)._handle?.readStart?.();
}
