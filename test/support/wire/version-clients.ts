/**
 * One app in two versions of HTTP: the same calls over Node's own clients.
 *
 * A call tells what came, and whether it came whole: a reset stream or a connection that breaks is `cut`, also where
 * Node's streams end quietly.
 */
import http from 'node:http';
import http2 from 'node:http2';
import { onEndStream } from '../../../sidecar/http/http2/stream-end.ts';
import { PATIENCE_MS, within } from '../runner/arrivals.ts';
import { onTestEnd } from '../runner/on-test-end.ts';

export interface Sending {
  readonly method?: string;
  readonly path: string;
  readonly fields?: Readonly<Record<string, string>>;
  /** true: the body is written by the test; text: that is all of it. */
  readonly body?: true | string;
  /** For its head, and for each of its bytes: one of very many calls waits for the others. */
  readonly patienceMs?: number;
}

export interface Head {
  readonly status: number;
  readonly fields: http.IncomingHttpHeaders;
}

export interface Received extends Head {
  readonly body: string;
  readonly trailers: Readonly<Record<string, string | undefined>>;
  readonly outcome: 'whole' | 'cut';
}

export interface Call {
  /** Rejects when the call is cut before. */
  readonly head: Promise<Head>;
  /** Fulfils in any case; status 0 = no head came. */
  readonly done: Promise<Received>;
  /** Status codes of interim responses so far. */
  readonly interim: readonly number[];
  /** Resolves when so many bytes of the response are here. */
  bytes(count: number): Promise<string>;
  receivedBytes(): number;
  /** false: wait before writing more. */
  write(chunk: string | Buffer): boolean;
  drained(): Promise<void>;
  end(trailers?: Record<string, string>): void;
  cancel(): void;
  /** Stops and goes on reading. */
  pause(): void;
  resume(): void;
}

export interface Client {
  readonly version: '1.1' | '2.0';
  call(sending: Sending): Call;
}

/** The part that both versions share. */
class Reception {
  status = 0;
  fields: http.IncomingHttpHeaders = {};
  trailers: Record<string, string | undefined> = {};
  readonly interim: number[] = [];
  readonly head: Promise<Head>;
  readonly done: Promise<Received>;
  #body: Buffer[] = [];
  #length = 0;
  #isWhole = false;
  #wake: (() => void)[] = [];
  readonly #patienceMs: number;
  readonly #settleHead: { resolve: (head: Head) => void; reject: (error: Error) => void };
  readonly #settleDone: (received: Received) => void;

  constructor(patienceMs: number = PATIENCE_MS) {
    this.#patienceMs = patienceMs;
    const head = Promise.withResolvers<Head>();
    const done = Promise.withResolvers<Received>();
    head.promise.catch(() => {});
    this.#settleHead = head;
    this.#settleDone = done.resolve;
    this.head = within(head.promise, () => 'a head', patienceMs);
    this.head.catch(() => {});
    this.done = done.promise;
  }

  headCame(status: number, fields: http.IncomingHttpHeaders): void {
    this.status = status;
    this.fields = fields;
    this.#settleHead.resolve({ status, fields });
  }

  dataCame(chunk: Buffer): void {
    this.#length += chunk.length;
    if (this.#length <= 1_048_576) this.#body.push(chunk);
    for (const wake of this.#wake.splice(0)) wake();
  }

  whole(): void {
    this.#isWhole = true;
  }

  closed(): void {
    this.#settleHead.reject(new Error('cut before a head'));
    for (const wake of this.#wake.splice(0)) wake();
    const { status, fields, trailers } = this;
    const body = Buffer.concat(this.#body).toString('latin1');
    this.#settleDone({ status, fields, trailers, body, outcome: this.#isWhole ? 'whole' : 'cut' });
  }

  receivedBytes(): number {
    return this.#length;
  }

  async bytes(count: number): Promise<string> {
    while (this.#length < count) {
      const more = new Promise<void>((resolve) => this.#wake.push(resolve));
      await within(more, () => `${count} bytes`, this.#patienceMs);
    }
    return Buffer.concat(this.#body).toString('latin1');
  }
}

export function http1Client(port: number): Client {
  const agent = new http.Agent({ keepAlive: true });
  onTestEnd(() => agent.destroy());
  return {
    version: '1.1',
    call({ method = 'GET', path, fields = {}, body, patienceMs }) {
      const reception = new Reception(patienceMs);
      const request = http.request({ host: '127.0.0.1', port, agent, method, path, headers: { ...fields } });
      let answer: http.IncomingMessage | null = null;
      let isPaused = false;
      request.on('information', ({ statusCode }) => reception.interim.push(statusCode));
      request.on('response', (response) => {
        answer = response;
        response.on('data', (chunk: Buffer) => reception.dataCame(chunk));
        if (isPaused) response.pause();
        response.on('end', () => {
          reception.trailers = response.trailers;
          reception.whole();
        });
        response.on('error', () => {});
        response.on('close', () => reception.closed());
        reception.headCame(response.statusCode ?? 0, response.headers);
      });
      request.on('error', () => {
        if (answer === null) reception.closed();
      });
      if (body === true) request.flushHeaders();
      else request.end(body);
      return {
        head: reception.head,
        done: reception.done,
        interim: reception.interim,
        bytes: (count) => reception.bytes(count),
        receivedBytes: () => reception.receivedBytes(),
        write: (chunk) => request.write(chunk),
        drained: () => new Promise((resolve) => request.once('drain', resolve)),
        end(trailers) {
          if (trailers !== undefined) request.addTrailers(trailers);
          request.end();
        },
        cancel: () => request.destroy(),
        pause() {
          isPaused = true;
          answer?.pause();
        },
        resume() {
          isPaused = false;
          answer?.resume();
        },
      };
    },
  };
}

export function http2Client(port: number): Client & { session: http2.ClientHttp2Session } {
  const session = http2.connect(`http://127.0.0.1:${port}`, { peerMaxConcurrentStreams: 2_000 });
  session.on('error', () => {});
  onTestEnd(() => session.destroy());
  return {
    version: '2.0',
    session,
    call({ method = 'GET', path, fields = {}, body, patienceMs }) {
      const reception = new Reception(patienceMs);
      let trailersOut: Record<string, string> = {};
      const stream = session.request(
        { ':method': method, ':path': path, ...fields },
        { endStream: body === undefined, waitForTrailers: body === true },
      );
      stream.on('wantTrailers', () => stream.sendTrailers(trailersOut));
      stream.on('headers', (list) => reception.interim.push(Number(list[':status'])));
      stream.on('response', (list) => reception.headCame(Number(list[':status']), list));
      stream.on('trailers', (list) => {
        reception.trailers = { ...list } as Record<string, string>;
      });
      stream.on('data', (chunk: Buffer) => reception.dataCame(chunk));
      stream.on('error', () => {});
      onEndStream(stream, () => reception.whole());
      stream.on('close', () => reception.closed());
      if (typeof body === 'string') stream.end(body);
      return {
        head: reception.head,
        done: reception.done,
        interim: reception.interim,
        bytes: (count) => reception.bytes(count),
        receivedBytes: () => reception.receivedBytes(),
        write: (chunk) => stream.write(chunk),
        drained: () => new Promise((resolve) => stream.once('drain', resolve)),
        end(trailers) {
          trailersOut = trailers ?? {};
          stream.end();
        },
        cancel: () => stream.close(http2.constants.NGHTTP2_CANCEL),
        pause: () => stream.pause(),
        resume: () => stream.resume(),
      };
    },
  };
}
