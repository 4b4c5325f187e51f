/**
 * The load of a chaos run: requests of every kind at a constant rate, from the start to the end, whatever happens.
 *
 * Sent when their time has come and not when the one before is answered, as apps do, so that a stalled mesh does not
 * go easy on itself. It must not know which faults are under way.
 */
import { createHash, randomBytes } from 'node:crypto';
import http from 'node:http';
import { Random } from '../sim/random.ts';
import { bigBody, eventsText } from './content.ts';
import type { App } from './fleet.ts';
import { SERVICE } from './fleet.ts';
import type { End, Kind, Tally } from './tally.ts';
import { acceptKey, CLOSE, decodeFrames, encodeFrame } from './websocket.ts';

/** Requests a second, all apps together. */
const RATES: Readonly<Record<Kind, number>> = {
  get: 60,
  post: 40,
  events: 5,
  big_get: 3,
  big_post: 3,
  socket: 3,
};
const BIG_BYTES = 1_048_576;
const SMALL_BYTES = 2_000;
const EVENTS = 20;
const EVENT_MS = 60;
const SOCKET_MESSAGES = 10;
const SOCKET_MS = 50;
const LIMIT_MS = 40_000;

interface Sent {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
  isWhole(body: Buffer): boolean;
}

export class Load {
  readonly #apps: readonly App[];
  readonly #tally: Tally;
  readonly #random: Random;
  readonly #agent = new http.Agent({ keepAlive: true });
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #running = new Set<Promise<void>>();
  readonly #run = randomBytes(4).toString('hex');
  #posts = 0;

  constructor(apps: readonly App[], tally: Tally, seed: number) {
    this.#apps = apps;
    this.#tally = tally;
    this.#random = new Random(seed);
  }

  get inFlight(): number {
    return this.#running.size;
  }

  start(): void {
    for (const [kind, perSecond] of Object.entries(RATES)) this.#later(kind as Kind, 1_000 / perSecond);
  }

  /** Sends no more; resolves when all that runs has ended. */
  async stop(): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    await Promise.all(this.#running);
    this.#agent.destroy();
  }

  /** One request of each kind, for a fleet that has yet to be warmed; not counted. */
  async once(): Promise<boolean> {
    const ends = await Promise.all([this.#send('get'), this.#send('events')]);
    return ends.every(({ end }) => end === 'ok');
  }

  #later(kind: Kind, meanMs: number): void {
    const timer = setTimeout(
      () => {
        this.#timers.delete(timer);
        this.#later(kind, meanMs);
        const sent = this.#send(kind).then(({ end, detail }) => this.#tally.add(kind, end, detail));
        this.#running.add(sent);
        void sent.then(() => this.#running.delete(sent));
      },
      meanMs * (0.5 + this.#random.next()),
    );
    this.#timers.add(timer);
  }

  #send(kind: Kind): Promise<{ end: End; detail: string }> {
    const app = this.#apps[this.#random.index(this.#apps.length)] as App;
    const id = `${this.#run}-${++this.#posts}`;
    const post = { method: 'POST', headers: { 'x-chaos-id': id } };
    switch (kind) {
      case 'get':
        return this.#exchange(app, {
          method: 'GET',
          path: `/work?ms=${this.#random.index(40)}`,
          isWhole: (body) => body.includes('"target":"/work?ms=') && body.at(-1) === 0x7d,
        });
      case 'post':
        return this.#exchange(app, { ...post, path: '/work', ...upload(bigBody(SMALL_BYTES)) });
      case 'big_post':
        return this.#exchange(app, { ...post, path: '/big', ...upload(bigBody(BIG_BYTES)) });
      case 'events':
        return this.#exchange(app, {
          method: 'GET',
          path: `/events?count=${EVENTS}&ms=${EVENT_MS}`,
          isWhole: (body) => body.toString() === eventsText(EVENTS),
        });
      case 'big_get':
        return this.#exchange(app, {
          method: 'GET',
          path: `/big?bytes=${BIG_BYTES}`,
          isWhole: (body) => body.equals(bigBody(BIG_BYTES)),
        });
      case 'socket':
        return this.#converse(app);
    }
  }

  #exchange({ ports }: App, sent: Sent): Promise<{ end: End; detail: string }> {
    return new Promise((resolve) => {
      const { body, headers = {}, method, path } = sent;
      const length = body === undefined ? {} : { 'content-length': String(body.length) };
      const request = http.request({
        host: '127.0.0.1',
        port: ports.outbound,
        method,
        path: `/service/${SERVICE}${path}`,
        headers: { ...headers, ...length },
        agent: this.#agent,
      });
      const timer = setTimeout(() => settle('stuck', `${method} ${path}`), LIMIT_MS);
      const settle = (end: End, detail: string): void => {
        clearTimeout(timer);
        request.destroy();
        resolve({ end, detail });
      };
      request.on('error', (error) => settle('failed', `${method} ${path}: ${error.message}`));
      request.on('response', (response) => {
        const chunks: Buffer[] = [];
        const { statusCode = 0 } = response;
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', () => settle('cut', ''));
        response.on('close', () => settle('cut', ''));
        response.on('end', () => {
          const whole = Buffer.concat(chunks);
          if (statusCode !== 200) settle('failed', `${method} ${path}: ${statusCode} ${reasonOf(whole)}`);
          else if (!response.complete) settle('cut', '');
          else if (sent.isWhole(whole)) settle('ok', '');
          else settle('truncated', `${method} ${path}: ${whole.length} bytes`);
        });
      });
      request.end(body);
    });
  }

  #converse({ ports }: App): Promise<{ end: End; detail: string }> {
    return new Promise((resolve) => {
      const key = Buffer.from(this.#run.repeat(2)).toString('base64');
      const request = http.request({
        host: '127.0.0.1',
        port: ports.outbound,
        path: `/service/${SERVICE}/socket`,
        headers: {
          connection: 'Upgrade',
          upgrade: 'websocket',
          'sec-websocket-version': '13',
          'sec-websocket-key': key,
        },
        agent: false,
      });
      const timer = setTimeout(() => settle('stuck', 'WebSocket'), LIMIT_MS);
      const settle = (end: End, detail: string): void => {
        clearTimeout(timer);
        request.destroy();
        resolve({ end, detail });
      };
      request.on('error', (error) => settle('failed', `WebSocket: ${error.message}`));
      request.on('response', (response) => {
        response.resume();
        settle('failed', `WebSocket: ${response.statusCode}`);
      });
      request.on('upgrade', (response, socket, head) => {
        if (response.headers['sec-websocket-accept'] !== acceptKey(key))
          settle('truncated', 'WebSocket: other key');
        const mask = randomBytes(4);
        let rest: Buffer = head;
        let echoed = 0;
        const speak = (): void => {
          if (socket.writable) socket.write(encodeFrame(`message ${echoed}`, mask));
        };
        socket.on('data', (bytes: Buffer) => {
          const { messages, left } = decodeFrames(Buffer.concat([rest, bytes]));
          rest = left;
          for (const message of messages) {
            if (message !== `message ${echoed}`) return settle('truncated', `WebSocket: ${message}`);
            echoed += 1;
            if (echoed === SOCKET_MESSAGES) {
              socket.end(CLOSE);
              return settle('ok', '');
            }
            setTimeout(speak, SOCKET_MS);
          }
        });
        // A socket has no length: whoever closes it early cannot be told from one that breaks.
        socket.on('error', () => settle('cut', ''));
        socket.on('close', () => settle('cut', ''));
        speak();
      });
      request.end();
    });
  }
}

function upload(body: Buffer): { readonly body: Buffer; isWhole(answer: Buffer): boolean } {
  const sha256 = createHash('sha256').update(body).digest('hex');
  return { body, isWhole: (answer) => answer.includes(`"bytes":${body.length},"sha256":"${sha256}"}`) };
}

/** Code and detail of the sidecar's own response. */
function reasonOf(body: Buffer): string {
  try {
    const { attempts, code, detail } = JSON.parse(body.toString()) as {
      attempts?: unknown;
      code: string;
      detail: string;
    };
    return `${code}: ${detail} ${JSON.stringify(attempts ?? [])}`;
  } catch {
    return body.toString('latin1', 0, 200);
  }
}
