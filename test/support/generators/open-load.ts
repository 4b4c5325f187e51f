/**
 * Requests at a fixed rate, whatever becomes of them: more of the world than the service can take.
 *
 * An open loop, since a client that waits for its responses slows down with the service and never overloads it.
 * Connections are kept, as apps do.
 */
import { Agent, request } from 'node:http';
import type { HostPort } from '../../../sidecar/core/host-port.ts';

export interface Ended {
  /** Monotonic ms. */
  readonly sentMs: number;
  readonly tookMs: number;
  /** 0 = no response. */
  readonly status: number;
  readonly retryAfter: string | undefined;
  /** Of the sidecar's own responses; null for those of a worker. */
  readonly code: string | null;
}

const TICK_MS = 5;

export class OpenLoad {
  readonly ended: Ended[] = [];
  readonly #to: HostPort;
  readonly #target: string;
  readonly #agent = new Agent({ keepAlive: true });
  readonly #pending = new Set<Promise<void>>();

  constructor(to: HostPort, target: string) {
    this.#to = to;
    this.#target = target;
  }

  /** Sends for so long; resolves when the last one is sent. */
  async send(perSecond: number, forMs: number): Promise<void> {
    const startedMs = performance.now();
    let sent = 0;
    await new Promise<void>((resolve) => {
      const timer = setInterval(() => {
        const elapsedMs = Math.min(forMs, performance.now() - startedMs);
        for (; sent < (elapsedMs * perSecond) / 1_000; sent++) this.#one();
        if (elapsedMs < forMs) return;
        clearInterval(timer);
        resolve();
      }, TICK_MS);
    });
  }

  /** Every request has ended. */
  async settle(): Promise<void> {
    await Promise.all(this.#pending);
  }

  close(): void {
    this.#agent.destroy();
  }

  #one(): void {
    const pending = this.#ask().then((ended) => {
      this.#pending.delete(pending);
      this.ended.push(ended);
    });
    this.#pending.add(pending);
  }

  #ask(): Promise<Ended> {
    const sentMs = performance.now();
    const { host, port } = this.#to;
    const nothing: Ended = { sentMs, tookMs: 0, status: 0, retryAfter: undefined, code: null };
    return new Promise((resolve) => {
      const asked = request({ host, port, path: this.#target, agent: this.#agent }, (answer) => {
        let body = '';
        answer.setEncoding('utf8');
        answer.on('data', (text: string) => {
          body += text;
        });
        answer.on('close', () => {
          const tookMs = performance.now() - sentMs;
          const { statusCode: status = 0, headers } = answer;
          const isOwn = headers['content-type'] === 'application/problem+json';
          const code = isOwn ? String((JSON.parse(body) as { code?: unknown }).code) : null;
          const whole = { sentMs, tookMs, status, retryAfter: headers['retry-after'], code };
          resolve(answer.complete ? whole : { ...nothing, tookMs });
        });
      });
      asked.on('error', () => resolve({ ...nothing, tookMs: performance.now() - sentMs }));
      asked.end();
    });
  }
}

export function percentile(ended: readonly Ended[], share: number): number {
  const times = ended.map(({ tookMs }) => tookMs).sort((a, b) => a - b);
  return times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? Number.NaN;
}
