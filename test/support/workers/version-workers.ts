/**
 * One worker in two versions of HTTP: the same behaviour by path, over Node's own servers.
 *
 * What it does is told by the path, what happened to it by `events`.
 */
import http from 'node:http';
import http2 from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { Arrivals } from '../runner/arrivals.ts';
import { onTestEnd } from '../runner/on-test-end.ts';

export interface WorkerEvent {
  readonly what: 'began' | 'body' | 'trailers' | 'aborted';
  readonly path: string;
  readonly detail: string;
}

export interface VersionWorker {
  readonly url: string;
  readonly events: Arrivals<WorkerEvent>;
  /** Bytes that /flood could write. */
  floodBytes: number;
  /** Lets /sink read; it reads nothing before. */
  readSink(): void;
  /** Bytes that /sink has taken. */
  sunkBytes: number;
  /** Breaks all connections, as a crash does. */
  crash(): void;
  /** h2 only: GOAWAY on all connections. */
  sayGoodbye(): void;
  /** Without those on which nothing was said: a health check connects, and that is all. */
  openConnections(): number;
}

/** A request and its response, whatever the version. */
interface Served {
  readonly path: string;
  readonly method: string;
  readonly request: Readable;
  readonly response: Writable;
  head(status: number, fields: Record<string, string>): void;
  /** A head and nothing else. */
  headOnly(status: number, fields: Record<string, string>): void;
  endWith(body: string, trailers: Record<string, string>): void;
  hint(): void;
  cut(): void;
  isCut(): boolean;
}

const FLOOD_PIECE = Buffer.alloc(65_536, 0x66);

class Behaviour {
  readonly events: Arrivals<WorkerEvent> = new Arrivals('an event of the worker');
  floodBytes = 0;
  sunkBytes = 0;
  readonly #sinks: Readable[] = [];

  readSink(): void {
    for (const sink of this.#sinks) sink.resume();
  }

  tell(what: WorkerEvent['what'], path: string, detail = ''): void {
    this.events.push({ what, path, detail });
  }

  serve(served: Served): void {
    const { path, request, response } = served;
    switch (path) {
      case '/echo':
        served.head(200, { 'x-worker': 'echo' });
        request.pipe(response);
        return;
      case '/body':
        void collect(request).then((body) => {
          if (served.isCut()) return; // node:http2 ends a reset stream as if it were whole
          this.tell('body', path, body);
          served.head(200, {});
          response.end(`${served.method} ${body.length}`);
        });
        return;
      case '/trailers':
        served.head(200, { trailer: 'x-sum' });
        served.endWith('with trailers', { 'x-sum': '42' });
        return;
      case '/empty':
        served.headOnly(204, { 'x-worker': 'empty' });
        return;
      case '/zero':
        served.head(200, { 'content-length': '0' });
        response.end();
        return;
      case '/hint':
        served.hint();
        served.head(200, {});
        response.end('hinted');
        return;
      case '/hang':
        this.tell('began', path);
        request.resume();
        return;
      case '/drip':
        this.tell('began', path);
        served.head(200, {});
        response.write('a drop');
        request.resume();
        return;
      case '/events':
        served.head(200, { 'content-type': 'text/event-stream' });
        response.write('data: 1\n\n');
        request.resume();
        return;
      case '/flood':
        served.head(200, {});
        this.#flood(response);
        return;
      case '/sink':
        served.head(200, {});
        request.on('data', (chunk: Buffer) => {
          this.sunkBytes += chunk.length;
        });
        request.on('end', () => response.end(String(this.sunkBytes)));
        request.pause();
        this.#sinks.push(request);
        return;
      case '/early':
        served.head(200, {});
        response.end('too much');
        return;
      case '/cut':
        served.head(200, {});
        response.write('begun', () => setImmediate(() => served.cut()));
        return;
      default:
        served.head(200, { 'content-type': 'text/plain', 'content-length': '5' });
        response.end(served.method === 'HEAD' ? undefined : 'hello');
    }
  }

  #flood(response: Writable): void {
    const more = (): void => {
      while (!response.destroyed) {
        this.floodBytes += FLOOD_PIECE.length;
        if (!response.write(FLOOD_PIECE)) return;
      }
    };
    response.on('drain', more);
    more();
  }
}

async function collect(request: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of request) chunks.push(chunk as Buffer);
  } catch {
    return 'broken';
  }
  return Buffer.concat(chunks).toString('latin1');
}

async function listening(
  server: http.Server | http2.Http2Server,
  scheme: string,
): Promise<{ readonly url: string; readonly sockets: Set<Socket> }> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => {});
  });
  await new Promise<void>((resolve) =>
    server.listen({ port: 0, host: '127.0.0.1', backlog: 2_048 }, resolve),
  );
  onTestEnd(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { url: `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`, sockets };
}

function workerOf(
  behaviour: Behaviour,
  url: string,
  sockets: ReadonlySet<Socket>,
  sayGoodbye: () => void,
): VersionWorker {
  return Object.assign(behaviour, {
    url,
    sayGoodbye,
    openConnections: () => [...sockets].filter((socket) => socket.bytesRead > 0).length,
    crash: () => {
      for (const socket of sockets) socket.resetAndDestroy();
    },
  });
}

export async function startHttp1Worker(): Promise<VersionWorker> {
  const behaviour = new Behaviour();
  const server = http.createServer((request, response) => {
    const path = request.url ?? '';
    response.on('error', () => {});
    request.on('error', () => {});
    response.on('close', () => {
      if (!response.writableFinished) behaviour.tell('aborted', path);
    });
    request.on('end', () => {
      if (request.rawTrailers.length > 0) behaviour.tell('trailers', path, request.rawTrailers.join('='));
    });
    behaviour.serve({
      path,
      method: request.method ?? '',
      request,
      response,
      head: (status, fields) => void response.writeHead(status, fields).flushHeaders(),
      headOnly: (status, fields) => void response.writeHead(status, fields).end(),
      endWith: (body, trailers) => {
        response.write(body);
        response.addTrailers(trailers);
        response.end();
      },
      hint: () => response.writeEarlyHints({ link: '</style.css>; rel=preload' }),
      cut: () => request.socket.destroy(),
      isCut: () => !request.complete,
    });
  });
  const { url, sockets } = await listening(server, 'http');
  return workerOf(behaviour, url, sockets, () => {});
}

export async function startHttp2Worker(settings: http2.Settings = {}): Promise<VersionWorker> {
  const behaviour = new Behaviour();
  const sessions = new Set<http2.ServerHttp2Session>();
  const server = http2.createServer({ settings });
  server.on('session', (session) => {
    sessions.add(session);
    session.on('close', () => sessions.delete(session));
    session.on('error', () => {});
  });
  server.on('stream', (stream, list) => {
    const path = list[':path'] ?? '';
    let trailersOut: Record<string, string> = {};
    stream.on('error', () => {});
    stream.on('aborted', () => behaviour.tell('aborted', path, String(stream.rstCode)));
    stream.on('trailers', (trailers) => behaviour.tell('trailers', path, `x-up=${String(trailers['x-up'])}`));
    stream.on('wantTrailers', () => stream.sendTrailers(trailersOut));
    behaviour.serve({
      path,
      method: list[':method'] ?? '',
      request: stream,
      response: stream,
      head: (status, fields) => stream.respond({ ':status': status, ...fields }, { waitForTrailers: true }),
      headOnly: (status, fields) => stream.respond({ ':status': status, ...fields }, { endStream: true }),
      endWith: (body, trailers) => {
        trailersOut = trailers;
        stream.end(body);
      },
      hint: () => stream.additionalHeaders({ ':status': 103, link: '</style.css>; rel=preload' }),
      cut: () => stream.destroy(new Error('cut')),
      isCut: () => stream.aborted,
    });
  });
  const { url, sockets } = await listening(server, 'h2c');
  return workerOf(behaviour, url, sockets, () => {
    for (const session of sessions) session.close();
  });
}
