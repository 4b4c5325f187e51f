/**
 * One HTTP/2 connection to an origin: carries many requests at once, and knows whether it may take another.
 *
 * It counts as connected once the other side's SETTINGS are here, as in gRPC: from then on we know that it speaks
 * HTTP/2 and how many streams it allows, and whatever failed before was not sent.
 */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type ClientSessionRequestOptions,
  connect,
  sensitiveHeaders,
} from 'node:http2';
import type { Socket } from 'node:net';
import type { Http2List } from '../../core/http/http2-head.ts';
import type { HeadLimits } from '../../core/http/message.ts';
import { CoarseTimer, type CoarseTimers } from '../sockets/timers.ts';
import { CONNECTION_WINDOW_BYTES, clientSettings } from './settings.ts';
import type { Http2Upstream, StreamSession } from './upstream.ts';

export interface Http2SessionOptions {
  readonly limits: HeadLimits;
  readonly timers: CoarseTimers;
  /** A session without streams is closed after this. */
  readonly keepIdleMs: number;
  /**
   * Silence after which the other side must show that it lives: before a new request goes there, and while streams
   * run; those are cut when no sign comes for twice as long. null = never asked (a gRPC server takes more than a few
   * pings for abuse).
   */
  readonly proveAfterMs: number | null;
  /** SETTINGS came: it takes requests. */
  onReady(): void;
  /** A stream ended, or more are allowed. */
  onRoom(): void;
  /** It takes no more requests; `fault` says why it was never ready. */
  onRetired(fault: string | null): void;
  onClosed(): void;
}

/** How long the other side has to close after a goodbye. */
const LINGER_MS = 2_000;

/** Stream ids run out at 2^31 (RFC 9113 §5.1.1). */
const LAST_STREAM_ID = 2 ** 31 - 1_000;

/** The library's word for a frame that breaks the rules: of its stream, or of the connection (NGHTTP2_ERR_PROTO). */
const PROTOCOL_FAULT = -505;

/** So long a connection that breaks the rules has to show that it lives: then only one of its streams was to blame. */
const TRIAL_MS = 1_000;

/** Different in each request: in the compression table it would only push out what repeats (RFC 7541 §7.1.3). */
const NEVER_INDEXED = { [sensitiveHeaders]: ['sidecar-auth'] };

type SessionState = 'connecting' | 'ready' | 'retired';

export class Http2Session implements StreamSession {
  readonly #socket: Socket;
  readonly #session: ClientHttp2Session;
  readonly #options: Http2SessionOptions;
  readonly #deadline: CoarseTimer;
  readonly #requests = new Set<Http2Upstream>();
  #state: SessionState = 'connecting';
  #maxStreams = 0;
  #heardAtMs = performance.now();
  #isPinging = false;
  /** The other side has closed its half: anything sent to it would bring a reset. */
  #hasEnded = false;
  #lastSeenStream = Number.POSITIVE_INFINITY;
  #fault = 'the connection closed before it was established';

  constructor(socket: Socket, options: Http2SessionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#deadline = new CoarseTimer(() => this.#timedOut());
    socket.on('error', () => {}); // 'close' follows
    socket.once('end', () => this.#ended());
    const session = connect('http://origin', {
      ...clientSettings(options.limits),
      createConnection: () => socket,
    });
    this.#session = session;
    this.#outlive(session);
    session.on('error', (error) => this.#broke(error));
    session.once('close', () => this.#closed()); // after 'error', which the socket's own 'close' is not
    session.on('remoteSettings', ({ maxConcurrentStreams }) => this.#settled(maxConcurrentStreams));
    session.on('goaway', (_code, lastStream) => this.#dismissed(lastStream));
    session.once('connect', () => session.setLocalWindowSize(CONNECTION_WINDOW_BYTES));
  }

  /**
   * Node ends the whole session for a frame that breaks the rules of one stream alone (RFC 9113 §5.4.2: more DATA than
   * its length, DATA before a head or where none may be). The library below has reset that stream, and goes on if it can:
   * whether it does, a ping tells.
   */
  #outlive(session: ClientHttp2Session): void {
    const destroy = session.destroy.bind(session);
    let isOnTrial = false;
    session.destroy = (error, code) => {
      const { errno } = (error ?? {}) as NodeJS.ErrnoException;
      if (errno !== PROTOCOL_FAULT || this.#state === 'connecting' || session.closed) {
        destroy(error, code);
      } else if (!isOnTrial) {
        isOnTrial = true;
        const end = setTimeout(() => destroy(error, code), TRIAL_MS).unref();
        const over = (): void => {
          clearTimeout(end);
          isOnTrial = false;
        };
        this.prove(over, () => {
          over();
          destroy(error, code);
        });
      }
    };
  }

  get localAddress(): string | undefined {
    return this.#socket.localAddress;
  }

  get hasRoom(): boolean {
    if (this.#state !== 'ready' || this.#session.closed || this.#session.destroyed) return false;
    return this.#requests.size < this.#maxStreams;
  }

  /** Nothing was heard for so long that it may be gone without a word. */
  get isDoubtful(): boolean {
    const { proveAfterMs } = this.#options;
    return proveAfterMs !== null && performance.now() - this.#heardAtMs > proveAfterMs;
  }

  /** Asks the other side for a sign of life; exactly one of the two is called. */
  prove(onProved: () => void, onBroken: () => void): void {
    if (this.#session.destroyed || this.#session.closed) {
      onBroken();
      return;
    }
    this.#session.ping((error) => {
      if (error !== null) {
        onBroken();
        return;
      }
      this.heard();
      onProved();
    });
  }

  take(request: Http2Upstream): void {
    this.#requests.add(request);
    if (this.#requests.size === 1) this.#watch();
    request.begin(this);
    if (request.isOver) this.closed(request); // it could not be sent at all
  }

  open(list: Http2List, options: ClientSessionRequestOptions): ClientHttp2Stream {
    const stream = this.#session.request(Object.assign(list, NEVER_INDEXED), options);
    if ((stream.id ?? 0) > LAST_STREAM_ID) this.retire();
    return stream;
  }

  heard(): void {
    this.#heardAtMs = performance.now();
  }

  closed(request: Http2Upstream): void {
    if (!this.#requests.delete(request)) return;
    if (this.#requests.size === 0) this.#unused();
    if (this.#state === 'ready') this.#options.onRoom();
  }

  isBeyondGoodbye(stream: ClientHttp2Stream): boolean {
    return (stream.id ?? 0) > this.#lastSeenStream;
  }

  /** Takes no more requests; those that run go on. */
  retire(): void {
    if (!this.#session.destroyed && !this.#hasEnded) this.#session.close();
    if (this.#state === 'retired') return;
    const fault = this.#state === 'connecting' ? this.#fault : null;
    this.#state = 'retired';
    if (this.#requests.size === 0) this.#unused();
    this.#options.onRetired(fault);
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #settled(maxStreams: number | undefined): void {
    this.heard();
    this.#maxStreams = maxStreams ?? Number.POSITIVE_INFINITY;
    if (this.#state === 'retired') return;
    if (this.#state === 'ready') {
      this.#options.onRoom();
      return;
    }
    this.#state = 'ready';
    this.#unused();
    this.#options.onReady();
  }

  #dismissed(lastStream: number): void {
    this.#lastSeenStream = lastStream;
    this.retire();
  }

  #broke(error: Error): void {
    const isForeign = (error as NodeJS.ErrnoException).code?.startsWith('ERR_HTTP2') === true;
    this.#fault = isForeign
      ? `this is not HTTP/2 with prior knowledge (${error.message})`
      : `the connection broke before it was established (${error.message})`;
    this.retire();
  }

  /** The other side sends nothing more. Responses that are whole, though unread, must not fall with the connection. */
  #ended(): void {
    this.#hasEnded = true;
    this.retire();
    for (const request of [...this.#requests])
      request.cut('the connection ended in the middle of the response');
    if ([...this.#requests].every((request) => !request.isResponseWhole)) this.#socket.destroy();
  }

  #closed(): void {
    this.retire();
    this.#options.timers.disarm(this.#deadline);
    this.#options.onClosed();
  }

  /** From now on silence raises doubt. */
  #watch(): void {
    const { proveAfterMs, timers } = this.#options;
    if (proveAfterMs === null) timers.disarm(this.#deadline);
    else timers.arm(this.#deadline, proveAfterMs);
  }

  #unused(): void {
    const { timers, keepIdleMs } = this.#options;
    timers.arm(this.#deadline, this.#state === 'retired' ? LINGER_MS : keepIdleMs);
  }

  #timedOut(): void {
    if (this.#requests.size > 0) this.#checkLife();
    else if (this.#state === 'retired') this.#socket.destroy();
    else this.retire();
  }

  #checkLife(): void {
    const { proveAfterMs, timers } = this.#options;
    if (proveAfterMs === null) return;
    if (this.#isPinging) {
      this.#socket.destroy(); // every stream on it learns that it was cut
    } else if (this.isDoubtful) {
      this.#isPinging = true;
      timers.arm(this.#deadline, 2 * proveAfterMs);
      const proved = (): void => {
        this.#isPinging = false;
        if (this.#requests.size > 0) this.#watch();
      };
      this.prove(proved, () => {});
    } else {
      this.#watch();
    }
  }
}
