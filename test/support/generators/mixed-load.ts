/**
 * Constant mixed load by an app: some users, each with GET, POST and an event stream in turn, until told to stop.
 *
 * Every response is read to its end and compared with what test/support/workers/worker.ts had to say, so that one which is cut
 * or not whole counts as failed. Connections are kept, as apps do.
 */
import { Agent, request } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { expect } from '@jest/globals';
import type { HostPort } from '../../../sidecar/core/host-port.ts';
import { expectNamed } from '../runner/expectations.ts';
import { onTestEnd } from '../runner/on-test-end.ts';

export interface MixedLoadOptions {
  readonly outbound: HostPort;
  readonly service: string;
  readonly users?: number;
  /** Only methods that may be sent twice. */
  readonly isIdempotent?: boolean;
}

type Kind = 'get' | 'post' | 'events';

const EVENTS = 8;
const EVENT_MS = 15;
const BODY = 'a body of the app '.repeat(50);

/** Between two requests of a user: what is tested is not overload. */
const PAUSE_MS = 10;

/** Far above what any response takes: it only ends a request that is stuck. */
const LIMIT_MS = 20_000;

export class MixedLoad {
  readonly sent: Record<Kind, number> = { get: 0, post: 0, events: 0 };
  /** One line for each that failed. */
  readonly failures: string[] = [];
  /** Answers of each worker. */
  readonly answers = new Map<string, number>();
  /** Ids of the POSTs, in the order in which they were sent. */
  readonly posts: string[] = [];
  readonly #options: MixedLoadOptions;
  readonly #agent = new Agent({ keepAlive: true });
  readonly #users: Promise<void>[];
  #isStopping = false;

  /** Ends with the test at the latest. */
  constructor(options: MixedLoadOptions) {
    this.#options = options;
    onTestEnd(() => this.stop());
    this.#users = Array.from({ length: options.users ?? 6 }, (_, user) => this.#live(user));
  }

  answeredBy(worker: string): number {
    return this.answers.get(worker) ?? 0;
  }

  /** No new requests; resolves when those under way have ended. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    await Promise.all(this.#users);
    this.#agent.destroy();
  }

  async #live(user: number): Promise<void> {
    const kinds: readonly Kind[] = this.#options.isIdempotent
      ? ['get', 'get', 'events']
      : ['post', 'get', 'post', 'events'];
    for (let turn = 0; !this.#isStopping; turn++) {
      const kind = kinds[(user + turn) % kinds.length] ?? 'get';
      const id = `${user}-${turn}`;
      this.sent[kind]++;
      if (kind === 'post') this.posts.push(id);
      try {
        const worker = await this.#ask(kind, id);
        this.answers.set(worker, this.answeredBy(worker) + 1);
      } catch (error) {
        this.failures.push(`${kind} ${id}: ${(error as Error).message}`);
      }
      await pause(PAUSE_MS);
    }
  }

  async #ask(kind: Kind, id: string): Promise<string> {
    const query = kind === 'events' ? `&mode=sse&events=${EVENTS}&ms=${EVENT_MS}` : '';
    const { status, worker, body } = await this.#exchange(
      kind === 'post' ? 'POST' : 'GET',
      `/?id=${id}${query}`,
    );
    expectNamed(status, `${status} ${body}`).toBe(200);
    if (kind === 'events') expectNamed(body.split('\n\n'), `${worker} said ${body}`).toHaveLength(EVENTS + 2);
    else {
      const seen = JSON.parse(body) as { url: string; bodyBytes: number };
      expect(seen.url).toBe(`/?id=${id}`);
      expect(seen.bodyBytes).toBe(kind === 'post' ? BODY.length : 0);
    }
    return worker;
  }

  #exchange(method: string, path: string): Promise<{ status: number; worker: string; body: string }> {
    const { outbound, service } = this.#options;
    const { host, port } = outbound;
    return new Promise((resolve, reject) => {
      const sent = request(
        { host, port, method, path: `/service/${service}${path}`, agent: this.#agent },
        (answer) => {
          const { statusCode: status = 0, headers } = answer;
          let body = '';
          answer.setEncoding('utf8').on('data', (text: string) => {
            body += text;
          });
          answer.on('error', (error) => reject(new Error(`${status}, broken: ${error.message}`)));
          answer.on('end', () => {
            if (answer.complete) resolve({ status, worker: String(headers['sidecar-worker']), body });
            else reject(new Error(`${status}, cut`));
          });
        },
      );
      sent.setTimeout(LIMIT_MS, () => sent.destroy(new Error(`nothing for ${LIMIT_MS} ms`)));
      sent.on('error', reject);
      sent.end(method === 'POST' ? BODY : undefined);
    });
  }
}
