/**
 * Asks the local worker whether it is ready, at intervals: `warming` until it says so, and again when it dies.
 *
 * Separate from the load and from the mesh: a worker that loads a model for ten minutes is not dead, and its sidecar
 * says exactly that.
 */
import net from 'node:net';
import { first } from '../../core/http/headers.ts';
import type { Origin, Upstreams } from '../../http/exchange.ts';
import { setTimeoutAfterPoll } from '../../http/sockets/timers.ts';
import { hostHeader } from '../hop-headers.ts';

export interface WorkerHealthOptions {
  readonly origin: Origin;
  /** Path asked with GET (200–399 is healthy); null = a TCP connection is enough. */
  readonly path: string | null;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly healthyAfter: number;
  readonly unhealthyAfter: number;
  readonly upstreams: Upstreams;
  onChange(isReady: boolean, reason: string): void;
  /** The response carried `endpoint-load-metrics`: the worker's own word of its load. */
  onReport(value: string): void;
}

/** What a check saw: null = all well. `isGone`: nobody listens there, which needs no second look. */
interface Fault {
  readonly reason: string;
  readonly isGone: boolean;
}

/** Pause between two checks of a worker that is not ready: somebody waits for it. */
const WARMING_INTERVAL_MS = 500;

/** Between two of one in doubt, at most and at least. */
const DOUBT_MAX_MS = 500;
const DOUBT_MIN_MS = 20;

/** Checks of one in doubt that are under way together: one that hangs must not delay the next. */
const CHECKS_AT_ONCE = 3;

export class WorkerHealth {
  readonly #options: WorkerHealthOptions;
  readonly #doubtMs: number;
  #isReady = false;
  #inRow = 0;
  #running = 0;
  /** Checks are numbered; what an earlier one says is out of date. */
  #begun = 0;
  #validFrom = 0;
  #timer: NodeJS.Timeout | null = null;
  #isStopped = false;
  #reason = 'not asked yet';

  constructor(options: WorkerHealthOptions) {
    const { intervalMs, timeoutMs } = options;
    this.#options = options;
    // So that three failures, each after its whole time, are in before two intervals are over.
    const spareMs = intervalMs > timeoutMs ? intervalMs - timeoutMs : intervalMs;
    this.#doubtMs = Math.max(DOUBT_MIN_MS, Math.min(DOUBT_MAX_MS, spareMs / 3));
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  /** What the last check saw, for people. */
  get reason(): string {
    return this.#reason;
  }

  /** Resolves after the first check, whatever it says. */
  async start(): Promise<void> {
    await this.#check();
  }

  stop(): void {
    this.#isStopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  /** A real request could not connect: that counts as a failed check, once for all that fail together. */
  suspect(reason: string, isGone: boolean): void {
    if (!this.#isReady || this.#isStopped) return;
    if (this.#running > 0 && !isGone) return;
    this.#judge({ reason, isGone });
    void this.#check();
  }

  async #check(): Promise<void> {
    const number = ++this.#begun;
    // A kept connection may be the one that hangs.
    const isFresh = !this.#isReady || this.#inRow > 0 || this.#running > 0;
    this.#running++;
    // The next one does not wait for this one's answer, which may never come.
    if (this.#isReady) this.#plan(this.#doubtMs);
    const fault = await this.#ask(isFresh);
    this.#running--;
    if (this.#isStopped) return;
    if (number >= this.#validFrom) {
      if (fault === null) this.#validFrom = number;
      this.#judge(fault);
    }
    // After a failure the next check is planned already, unless those that hang were too many for it.
    if (this.#isReady && fault === null) this.#plan(this.#options.intervalMs);
    else if (this.#isReady && this.#timer === null) this.#plan(this.#doubtMs);
    else if (!this.#isReady && this.#running === 0)
      this.#plan(Math.min(this.#options.intervalMs, WARMING_INTERVAL_MS));
  }

  #plan(waitMs: number): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      // Else the end of one of those plans the next.
      if (this.#running < (this.#isReady ? CHECKS_AT_ONCE : 1)) void this.#check();
    }, waitMs);
  }

  #judge(fault: Fault | null): void {
    const isOk = fault === null;
    this.#reason = fault?.reason ?? 'healthy';
    this.#inRow = isOk === this.#isReady ? 0 : this.#inRow + 1;
    const needed = this.#isReady ? this.#options.unhealthyAfter : this.#options.healthyAfter;
    if (this.#inRow < needed && !(this.#isReady && fault?.isGone)) return;
    this.#inRow = 0;
    this.#isReady = isOk;
    this.#validFrom = isOk ? this.#validFrom : this.#begun + 1;
    this.#options.onChange(isOk, this.#reason);
  }

  async #ask(isFresh: boolean): Promise<Fault | null> {
    const { origin, path } = this.#options;
    if (path === null) return await this.#tryConnect();
    // By HTTP/2 a worker that shuts down says so. By HTTP/1.1 it goes on answering on kept connections, for as long as
    // it is asked: that nobody listens any more shows only to one who comes anew.
    const giveUp = new AbortController();
    const response = this.#tryGet(path, isFresh, giveUp.signal);
    if (origin.scheme === 'h2c') return await response;
    const closed = await this.#tryConnect();
    // A closed door says it all: the response from behind it may be long in coming.
    if (closed !== null) giveUp.abort();
    return closed ?? (await response);
  }

  #tryConnect(): Promise<Fault | null> {
    const { origin, timeoutMs } = this.#options;
    return new Promise((resolve) => {
      const socket = net.connect({ host: origin.host, port: origin.port });
      const done = (fault: Fault | null): void => {
        cancel();
        socket.destroy();
        resolve(fault);
      };
      const cancel = setTimeoutAfterPoll(() => done(ill(`no connection within ${timeoutMs} ms`)), timeoutMs);
      socket.once('connect', () => done(null));
      socket.once('error', (error: NodeJS.ErrnoException) =>
        done(ill(error.message || 'connection failed', error.code === 'ECONNREFUSED')),
      );
    });
  }

  #tryGet(path: string, isFresh: boolean, giveUp: AbortSignal): Promise<Fault | null> {
    const { origin, timeoutMs, upstreams } = this.#options;
    return new Promise((resolve) => {
      let fault: Fault | null = ill('no response');
      const cancel = setTimeoutAfterPoll(() => {
        request.abort();
        resolve(ill(`no answer to GET ${path} within ${timeoutMs} ms`));
      }, timeoutMs);
      giveUp.addEventListener('abort', () => {
        cancel();
        request.abort();
        resolve(fault);
      });
      const done = (result: Fault | null): void => {
        cancel();
        resolve(result);
      };
      const request = upstreams.request(
        origin,
        {
          method: 'GET',
          target: path,
          host: hostHeader(origin),
          fields: ['User-Agent', 'dht-sidecar'],
          body: { kind: 'none' },
          upgrade: null,
        },
        { connectMs: timeoutMs, headMs: timeoutMs, idleMs: timeoutMs },
        {
          onSent: () => {},
          onInformational: () => {},
          onHead: (head) => {
            const report = first(head.fields, 'endpoint-load-metrics');
            if (report !== undefined) this.#options.onReport(report);
            fault = head.status >= 200 && head.status < 400 ? null : ill(`GET ${path} gave ${head.status}`);
          },
          onData: () => false,
          onEnd: () => done(fault),
          onUpgrade: (_head, stream) => {
            stream.socket.destroy();
            done(ill('an upgrade that nobody asked for'));
          },
          onUpstreamDrain: () => {},
          onFault: ({ detail, isRefused }) => done(ill(detail, isRefused)),
        },
        isFresh,
      );
    });
  }
}

function ill(reason: string, isGone = false): Fault {
  return { reason, isGone };
}
