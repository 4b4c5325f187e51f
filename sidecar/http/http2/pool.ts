/**
 * HTTP/2 connections to origins: one each, and another only when the streams of the first are used up.
 *
 * Requests wait here for a connection, at most for their connect time; all that fails while they wait is `not_sent`.
 */
import type { Socket } from 'node:net';
import { ConnectionPool, originKey, type PoolOptions } from '../connection-pool.ts';
import type {
  Origin,
  OutgoingHead,
  RequestTimeouts,
  UpstreamFault,
  UpstreamHandler,
  UpstreamRequest,
  Upstreams,
} from '../exchange.ts';
import { setTimeoutAfterPoll } from '../sockets/timers.ts';
import { Http2Session } from './session.ts';
import { Http2Upstream } from './upstream.ts';

export interface Http2PoolOptions extends PoolOptions {
  /** See Http2SessionOptions. */
  readonly proveAfterMs: number | null;
}

/** The requests to one origin that wait for a connection; there while a connection to it takes requests, too. */
interface Queue {
  readonly key: string;
  readonly origin: Origin;
  waiting: Http2Upstream[];
  /** Stops what they wait for: a connection that is being made, or a sign of life. */
  giveUp: (() => void) | null;
}

export class Http2Pool extends ConnectionPool<Http2Session> implements Upstreams {
  readonly #options: Http2PoolOptions;
  readonly #queues = new Map<string, Queue>();

  constructor(options: Http2PoolOptions) {
    super(options);
    this.#options = options;
  }

  request(
    origin: Origin,
    head: OutgoingHead,
    timeouts: RequestTimeouts,
    handler: UpstreamHandler,
  ): UpstreamRequest {
    const { limits, timers, onInternalError } = this.#options;
    const request = new Http2Upstream({
      head,
      timeouts,
      handler,
      limits,
      timers,
      onInternalError,
      onRefused: (refused) => this.#wait(this.#queueOf(origin), refused),
      onGivenUp: (gone) => this.#forget(this.#queueOf(origin), gone),
    });
    this.#wait(this.#queueOf(origin), request);
    return request;
  }

  override destroy(): void {
    for (const queue of this.#queues.values()) {
      queue.waiting = [];
      queue.giveUp?.();
    }
    this.#queues.clear();
    super.destroy();
  }

  #queueOf(origin: Origin): Queue {
    const key = originKey(origin);
    let queue = this.#queues.get(key);
    if (queue === undefined) {
      queue = { key, origin, waiting: [], giveUp: null };
      this.#queues.set(key, queue);
    }
    return queue;
  }

  #wait(queue: Queue, request: Http2Upstream): void {
    queue.waiting.push(request);
    this.#serve(queue);
  }

  /** Sends what can be sent; else sees to it that it can be soon. */
  #serve(queue: Queue): void {
    for (let next = queue.waiting[0]; next !== undefined; next = queue.waiting[0]) {
      let doubtful: Http2Session | null = null;
      let session: Http2Session | null = null;
      for (const candidate of this.available(queue.key)) {
        if (!candidate.hasRoom) continue;
        if (candidate.isDoubtful) doubtful ??= candidate;
        else session ??= candidate;
      }
      if (session === null) {
        if (queue.giveUp !== null) return;
        if (doubtful === null) this.#connect(queue, next.timeouts.connectMs);
        else this.#prove(queue, doubtful, next.timeouts.connectMs);
        return;
      }
      queue.waiting.shift();
      session.take(next);
    }
    this.#tidy(queue);
  }

  #connect(queue: Queue, connectMs: number): void {
    queue.giveUp = this.dial(
      queue.origin,
      {
        connectMs,
        tls: null,
        readBuffer: null,
        // Anew: the host is there, and a greeting that was lost takes the kernel a while to repeat.
        onConnected: (socket) => this.#greet(queue, socket, connectMs),
      },
      (fault) => this.#fail(queue, fault),
    );
  }

  /** Connected; now the other side's SETTINGS have to come. */
  #greet(queue: Queue, socket: Socket, limitMs: number): void {
    const { limits, timers, keepIdleMs, proveAfterMs } = this.#options;
    const end = (): void => session.destroy();
    const wait = this.#begin(queue, limitMs, 'no HTTP/2 SETTINGS from the other side', end, end);
    const session: Http2Session = new Http2Session(socket, {
      limits,
      timers,
      keepIdleMs,
      proveAfterMs,
      onReady: () => {
        if (!wait.settle()) return;
        this.addAvailable(queue.key, session);
        this.#serve(queue);
      },
      onRoom: () => this.#serve(queue),
      onRetired: (detail) => {
        this.removeAvailable(queue.key, session);
        if (detail === null) this.#serve(queue);
        else if (wait.settle()) this.#fail(queue, { code: 'connect_failed', stage: 'not_sent', detail });
      },
      onClosed: () => this.closed(queue.key, session),
    });
    this.opened(queue.key, session);
  }

  /** One that has been silent for long may lead nowhere: a request sent into it could never be sent again. */
  #prove(queue: Queue, session: Http2Session, limitMs: number): void {
    const retire = (): void => session.retire();
    const wait = this.#begin(queue, limitMs, 'no answer to a ping', retire, () => {});
    const over = (): void => {
      if (wait.settle()) this.#serve(queue);
    };
    session.prove(over, over);
  }

  /** Bounds what the queue waits for; `settle` is true if it was still waited for. */
  #begin(
    queue: Queue,
    limitMs: number,
    lack: string,
    onLate: () => void,
    onGivenUp: () => void,
  ): { settle(): boolean } {
    let isOn = true;
    const settle = (): boolean => {
      if (!isOn) return false;
      isOn = false;
      cancel();
      queue.giveUp = null;
      return true;
    };
    const cancel = setTimeoutAfterPoll(() => {
      settle();
      const detail = `${lack} within ${Math.round(limitMs)} ms`;
      this.#fail(queue, { code: 'connect_timeout', stage: 'not_sent', detail });
      onLate();
    }, limitMs);
    queue.giveUp = () => {
      settle();
      onGivenUp();
    };
    return { settle };
  }

  #fail(queue: Queue, fault: UpstreamFault): void {
    queue.giveUp = null;
    const failed = queue.waiting;
    queue.waiting = [];
    for (const request of failed) request.fail(fault);
    this.#tidy(queue);
  }

  /** Nobody waits any more: nothing needs to be waited for. */
  #forget(queue: Queue, gone: Http2Upstream): void {
    queue.waiting = queue.waiting.filter((request) => request !== gone);
    if (queue.waiting.length > 0) return;
    queue.giveUp?.();
    queue.giveUp = null;
    this.#tidy(queue);
  }

  #tidy(queue: Queue): void {
    if (queue.waiting.length > 0 || queue.giveUp !== null || this.available(queue.key).length > 0) return;
    if (this.#queues.get(queue.key) === queue) this.#queues.delete(queue.key);
  }
}
