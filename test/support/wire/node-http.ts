/**
 * Node's own HTTP/1.1 implementation as a second opinion on bytes, without sockets.
 *
 * Requests go through `http.Server`, answers through `http.request`, each over an in-memory stream; so what is
 * compared is what a Node worker or app would really understand.
 */
import http from 'node:http';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';

export interface NodeMessage {
  /** `METHOD target` or `status reason`. */
  readonly start: string;
  readonly rawHeaders: string[];
  readonly body: string;
  readonly trailers: string[];
}

export interface NodeReading {
  /** Messages that Node read to their end. */
  readonly messages: NodeMessage[];
  /** Node's error code, if it refused some byte. */
  readonly refused: string | null;
}

/** Gives `bytes`, then the end; keeps nothing of what is written to it. */
class Wire extends Duplex {
  readonly #bytes: Buffer;
  #isSent = false;

  constructor(bytes: Buffer) {
    super({ allowHalfOpen: true });
    this.#bytes = bytes;
  }

  override _read(): void {
    if (this.#isSent) return;
    this.#isSent = true;
    this.push(this.#bytes);
    this.push(null);
  }

  override _write(_chunk: unknown, _encoding: unknown, done: () => void): void {
    done();
  }

  setTimeout(): this {
    return this;
  }
  setNoDelay(): this {
    return this;
  }
  setKeepAlive(): this {
    return this;
  }
  ref(): this {
    return this;
  }
  unref(): this {
    return this;
  }
}

function asSocket(wire: Wire): Socket {
  return wire as unknown as Socket;
}

async function bodyOf(message: http.IncomingMessage): Promise<string> {
  let body = '';
  for await (const chunk of message) body += (chunk as Buffer).toString('latin1');
  return body;
}

/** The requests that a Node server reads from these bytes. */
export async function nodeReadsRequests(bytes: Buffer): Promise<NodeReading> {
  const messages: NodeMessage[] = [];
  let refused: string | null = null;
  const wire = new Wire(bytes);
  let requests = 0;
  const server = http.createServer((request, response) => {
    const place = requests++;
    bodyOf(request).then(
      (body) => {
        const { rawHeaders, rawTrailers: trailers } = request;
        messages[place] = { start: `${request.method} ${request.url}`, rawHeaders, body, trailers };
        response.end();
      },
      () => response.destroy(),
    );
  });
  // Else the end of the bytes aborts requests that are complete but not answered yet.
  Object.assign(server, { httpAllowHalfOpen: true });
  server.on('checkContinue', (request, response) => server.emit('request', request, response));
  server.on('clientError', (error: Error & { code?: string }) => {
    refused = error.code ?? 'unknown';
    wire.destroy();
  });
  server.emit('connection', asSocket(wire));
  await new Promise<void>((resolve) => {
    wire.once('finish', resolve);
    wire.once('close', resolve);
  });
  wire.destroy();
  server.close();
  return { messages, refused };
}

/** The response that a Node client reads from these bytes. */
export async function nodeReadsAnswer(bytes: Buffer, method: string): Promise<NodeReading> {
  const wire = new Wire(bytes);
  const request = http.request({ method, host: 'worker', createConnection: () => asSocket(wire) });
  const reading = new Promise<NodeReading>((resolve) => {
    const refuse = (error: Error & { code?: string }): void =>
      resolve({ messages: [], refused: error.code ?? 'unknown' });
    request.on('error', refuse);
    request.on('response', (message) => {
      bodyOf(message).then((body) => {
        const { statusCode, statusMessage, rawHeaders, rawTrailers: trailers } = message;
        resolve({
          messages: [{ start: `${statusCode} ${statusMessage}`, rawHeaders, body, trailers }],
          refused: null,
        });
      }, refuse);
    });
  });
  request.end();
  const result = await reading;
  wire.destroy();
  return result;
}
