/**
 * Keeps an event stream alive through a tunnel whose edge cuts what is silent: a comment whenever the worker has said
 * nothing for a while after its head.
 *
 * Never before the head: until then nobody knows the status, and an edge's connector does not pass on interim answers.
 * Wraps the client's side, so that neither the attempt nor the listener knows of it.
 */
import { COMMENT, EventStreamPlace, takesComments } from '../../core/http/event-stream.ts';
import type { HttpVersion, RawFields, RequestHead } from '../../core/http/message.ts';
import type { ByteStream, Downstream, DownstreamHandler } from '../../http/exchange.ts';
import { CoarseTimer, type CoarseTimers } from '../../http/sockets/timers.ts';

export class StreamHeartbeat implements Downstream {
  readonly #inner: Downstream;
  readonly #intervalMs: number;
  readonly #timers: CoarseTimers;
  readonly #silence = new CoarseTimer(() => this.#beat());
  /** null: comments have no place in this response. */
  #place: EventStreamPlace | null = null;

  constructor(inner: Downstream, intervalMs: number, timers: CoarseTimers) {
    this.#inner = inner;
    this.#intervalMs = intervalMs;
    this.#timers = timers;
  }

  get head(): RequestHead {
    return this.#inner.head;
  }

  get version(): HttpVersion {
    return this.#inner.version;
  }

  get remoteAddress(): string {
    return this.#inner.remoteAddress;
  }

  get hasBody(): boolean {
    return this.#inner.hasBody;
  }

  get isStarted(): boolean {
    return this.#inner.isStarted;
  }

  get isFlushed(): boolean {
    return this.#inner.isFlushed;
  }

  attach(handler: DownstreamHandler): void {
    this.#inner.attach({
      onBody: (chunk) => handler.onBody(chunk),
      onBodyEnd: (trailers) => handler.onBodyEnd(trailers),
      get holdsBody() {
        return handler.holdsBody;
      },
      onDrain: () => handler.onDrain(),
      onGone: () => {
        this.#stop();
        handler.onGone();
      },
    });
  }

  resumeBody(): void {
    this.#inner.resumeBody();
  }

  proved(untilMs: number, memberKey: string): void {
    this.#inner.proved(untilMs, memberKey);
  }

  informational(status: number, reason: string, fields: RawFields): void {
    this.#inner.informational(status, reason, fields);
  }

  start(status: number, reason: string, fields: RawFields, bodyBytes: number | null): void {
    this.#inner.start(status, reason, fields, bodyBytes);
    if (bodyBytes !== null || this.head.method === 'HEAD' || !takesComments(status, fields)) return;
    this.#place = new EventStreamPlace();
    this.#timers.arm(this.#silence, this.#intervalMs);
  }

  write(chunk: Buffer): boolean {
    if (this.#place === null) return this.#inner.write(chunk);
    this.#timers.arm(this.#silence, this.#intervalMs);
    return this.#inner.write(this.#place.took(chunk));
  }

  end(trailers: RawFields): void {
    this.#stop();
    this.#inner.end(trailers);
  }

  destroy(): void {
    this.#stop();
    this.#inner.destroy();
  }

  upgrade(reason: string, fields: RawFields, protocol: string): ByteStream {
    return this.#inner.upgrade(reason, fields, protocol);
  }

  #beat(): void {
    const place = this.#place;
    if (place === null) return;
    // A reader that is behind has bytes on their way to it; inside an event there is no place for a comment.
    if (place.isBetweenEvents && this.#inner.isFlushed) {
      place.commented();
      this.#inner.write(COMMENT);
    }
    this.#timers.arm(this.#silence, this.#intervalMs);
  }

  #stop(): void {
    this.#place = null;
    this.#timers.disarm(this.#silence);
  }
}
