/**
 * Asks the local worker whether it is ready, at intervals: `warming` until it says so, and again when it dies.
 *
 * Separate from the load and from the mesh: a worker that loads a model for ten minutes is not dead, and its
 * sidecar says exactly that. It must not know who is told (`onChange`).
 */
import net from 'node:net';
import { first } from '../core/headers.ts';
import type { Origin, Upstreams } from './exchange.ts';
import { hostField } from './peer-client.ts';

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
  /** The answer carried `endpoint-load-metrics`: the worker's own word of its load. */
  onReport(value: string): void;
}

/** Pause between two checks of a worker that is not ready, or that failed the last one. */
const DOUBT_INTERVAL_MS = 500;

export class WorkerHealth {
  readonly #options: WorkerHealthOptions;
  #isReady = false;
  #inRow = 0;
  #timer: NodeJS.Timeout | null = null;
  #isStopped = false;
  #reason = 'not asked yet';

  constructor(options: WorkerHealthOptions) {
    this.#options = options;
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

  /**
   * A real request could not connect: that counts as a failed check, and the next one is made now. `isGone`: nobody
   * listens there, which needs no second look.
   */
  suspect(reason: string, isGone: boolean): void {
    if (!this.#isReady || this.#timer === null) return;
    clearTimeout(this.#timer);
    this.#timer = null;
    if (isGone) this.#inRow = this.#options.unhealthyAfter;
    this.#judge(reason);
    void this.#check();
  }

  async #check(): Promise<void> {
    const fault =
      this.#options.path === null ? await this.#tryConnect() : await this.#tryGet(this.#options.path);
    if (this.#isStopped) return;
    this.#judge(fault);
    // While it is not known to be well, ask more often than once an interval: somebody waits for the answer.
    const isWell = this.#isReady && this.#inRow === 0;
    const waitMs = isWell ? this.#options.intervalMs : Math.min(this.#options.intervalMs, DOUBT_INTERVAL_MS);
    this.#timer = setTimeout(() => void this.#check(), waitMs);
  }

  #judge(fault: string | null): void {
    const isOk = fault === null;
    this.#reason = fault ?? 'healthy';
    this.#inRow = isOk === this.#isReady ? 0 : this.#inRow + 1;
    const needed = this.#isReady ? this.#options.unhealthyAfter : this.#options.healthyAfter;
    if (this.#inRow < needed) return;
    this.#inRow = 0;
    this.#isReady = isOk;
    this.#options.onChange(isOk, this.#reason);
  }

  #tryConnect(): Promise<string | null> {
    const { origin, timeoutMs } = this.#options;
    return new Promise((resolve) => {
      const socket = net.connect({ host: origin.host, port: origin.port });
      const done = (fault: string | null): void => {
        socket.destroy();
        resolve(fault);
      };
      socket.setTimeout(timeoutMs, () => done(`no connection within ${timeoutMs} ms`));
      socket.once('connect', () => done(null));
      socket.once('error', (error) => done(error.message || 'connection failed'));
    });
  }

  #tryGet(path: string): Promise<string | null> {
    const { origin, timeoutMs, upstreams } = this.#options;
    return new Promise((resolve) => {
      let fault: string | null = 'no answer';
      const timer = setTimeout(() => {
        request.abort();
        resolve(`no answer to GET ${path} within ${timeoutMs} ms`);
      }, timeoutMs);
      const done = (result: string | null): void => {
        clearTimeout(timer);
        resolve(result);
      };
      const request = upstreams.request(
        origin,
        {
          method: 'GET',
          target: path,
          host: hostField(origin),
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
            fault = head.status >= 200 && head.status < 400 ? null : `GET ${path} gave ${head.status}`;
          },
          onData: () => false,
          onEnd: () => done(fault),
          onUpgrade: (_head, stream) => {
            stream.socket.destroy();
            done('an upgrade that nobody asked for');
          },
          onUpstreamDrain: () => {},
          onFault: ({ detail }) => done(detail),
        },
      );
    });
  }
}
