/**
 * HTTP/2 connections to origins: one each, and another only when the streams of the first are used up.
 *
 * Requests wait here for a connection, at most for their connect time; all that fails while they wait is `not_sent`.
 */
import type { Socket } from 'node:net';
import type { HeadLimits } from '../../core/http/message.ts';
import type {
  Origin,
  OutgoingHead,
  RequestTimeouts,
  UpstreamFault,
  UpstreamHandler,
  UpstreamRequest,
  Upstreams,
} from '../exchange.ts';
import { dial } from '../sockets/dial.ts';
import type { CoarseTimers } from '../sockets/timers.ts';
import { setTimeoutAfterPoll } from '../sockets/timers.ts';
import { Http2Session } from './session.ts';
import { Http2Upstream } from './upstream.ts';

export interface Http2PoolOptions {
  readonly limits: HeadLimits;
  readonly timers: CoarseTimers;
  readonly keepIdleMs: number;
  /** See Http2SessionOptions. */
  readonly proveAfterMs: number | null;
  /** A fault of this program: one request fails, the process lives. */
  readonly onInternalError?: ((error: unknown) => void) | undefined;
}

/** One origin: its connections that take requests, and the requests that wait for one. */
interface Place {
  readonly key: string;
  readonly origin: Origin;
  readonly sessions: Set<Http2Session>;
  waiting: Http2Upstream[];
  /** Stops what the waiting ones wait for: a connection that is being made, or a sign of life. */
  giveUp: (() => void) | null;
}

export class Http2Pool implements Upstreams {
  readonly #options: Http2PoolOptions;
  readonly #places = new Map<string, Place>();
  /** Also those that take no more requests. */
  readonly #open = new Set<Http2Session>();

  constructor(options: Http2PoolOptions) {
    this.#options = options;
  }

  get openConnections(): number {
    return this.#open.size;
  }

  request(
    origin: Origin,
    head: OutgoingHead,
    timeouts: RequestTimeouts,
    handler: UpstreamHandler,
  ): UpstreamRequest {
    const place = this.#placeOf(origin);
    const { limits, timers, onInternalError } = this.#options;
    const request = new Http2Upstream({
      head,
      timeouts,
      handler,
      limits,
      timers,
      onInternalError,
      onRefused: (refused) => this.#wait(place, refused),
      onGivenUp: (gone) => this.#forget(place, gone),
    });
    this.#wait(place, request);
    return request;
  }

  /** Closes everything at once; for the end of the process. */
  destroy(): void {
    for (const place of this.#places.values()) {
      place.waiting = [];
      place.giveUp?.();
    }
    this.#places.clear();
    for (const session of [...this.#open]) session.destroy();
  }

  #placeOf(origin: Origin): Place {
    const key = `${origin.host}:${origin.port}`;
    let place = this.#places.get(key);
    if (place === undefined) {
      place = { key, origin, sessions: new Set(), waiting: [], giveUp: null };
      this.#places.set(key, place);
    }
    return place;
  }

  #wait(place: Place, request: Http2Upstream): void {
    place.waiting.push(request);
    this.#serve(place);
  }

  /** Sends what can be sent; else sees to it that it can be soon. */
  #serve(place: Place): void {
    for (let next = place.waiting[0]; next !== undefined; next = place.waiting[0]) {
      let doubtful: Http2Session | null = null;
      let session: Http2Session | null = null;
      for (const candidate of place.sessions) {
        if (!candidate.hasRoom) continue;
        if (candidate.isDoubtful) doubtful ??= candidate;
        else session ??= candidate;
      }
      if (session === null) {
        if (place.giveUp !== null) return;
        if (doubtful === null) this.#connect(place, next.timeouts.connectMs);
        else this.#prove(place, doubtful, next.timeouts.connectMs);
        return;
      }
      place.waiting.shift();
      session.take(next);
    }
    this.#tidy(place);
  }

  #connect(place: Place, connectMs: number): void {
    const untilMs = performance.now() + connectMs;
    place.giveUp = dial(place.origin, {
      connectMs,
      ca: null,
      read: null,
      onConnected: (socket) => this.#greet(place, socket, Math.max(1, untilMs - performance.now())),
      onFault: (fault) => this.#fail(place, fault),
    });
  }

  /** Connected; now the other side's SETTINGS have to come. */
  #greet(place: Place, socket: Socket, limitMs: number): void {
    const { limits, timers, keepIdleMs, proveAfterMs } = this.#options;
    const end = (): void => session.destroy();
    const wait = this.#begin(place, limitMs, 'no HTTP/2 SETTINGS from the other side', end, end);
    const session: Http2Session = new Http2Session(socket, {
      limits,
      timers,
      keepIdleMs,
      proveAfterMs,
      onReady: () => {
        if (!wait.settle()) return;
        place.sessions.add(session);
        this.#serve(place);
      },
      onRoom: () => this.#serve(place),
      onRetired: (detail) => {
        place.sessions.delete(session);
        if (detail === null) this.#serve(place);
        else if (wait.settle()) this.#fail(place, { code: 'connect_failed', stage: 'not_sent', detail });
      },
      onClosed: () => this.#open.delete(session),
    });
    this.#open.add(session);
  }

  /** One that has been silent for long may lead nowhere: a request sent into it could never be sent again. */
  #prove(place: Place, session: Http2Session, limitMs: number): void {
    const retire = (): void => session.retire();
    const wait = this.#begin(place, limitMs, 'no answer to a ping', retire, () => {});
    const over = (): void => {
      if (wait.settle()) this.#serve(place);
    };
    session.prove(over, over);
  }

  /** Bounds a wait of the place; `settle` is true if it was still on. */
  #begin(
    place: Place,
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
      place.giveUp = null;
      return true;
    };
    const cancel = setTimeoutAfterPoll(() => {
      settle();
      const detail = `${lack} within ${Math.round(limitMs)} ms`;
      this.#fail(place, { code: 'connect_timeout', stage: 'not_sent', detail });
      onLate();
    }, limitMs);
    place.giveUp = () => {
      settle();
      onGivenUp();
    };
    return { settle };
  }

  #fail(place: Place, fault: UpstreamFault): void {
    place.giveUp = null;
    const failed = place.waiting;
    place.waiting = [];
    for (const request of failed) request.fail(fault);
    this.#tidy(place);
  }

  /** Nobody waits any more: nothing needs to be waited for. */
  #forget(place: Place, gone: Http2Upstream): void {
    place.waiting = place.waiting.filter((request) => request !== gone);
    if (place.waiting.length > 0) return;
    place.giveUp?.();
    place.giveUp = null;
    this.#tidy(place);
  }

  #tidy(place: Place): void {
    if (place.sessions.size > 0 || place.waiting.length > 0 || place.giveUp !== null) return;
    if (this.#places.get(place.key) === place) this.#places.delete(place.key);
  }
}
