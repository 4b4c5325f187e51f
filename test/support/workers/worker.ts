/**
 * A worker as a process of its own, which does to requests whatever a test asks of it.
 *
 * How it behaves is in the query of the request (`?mode=delay&ms=500`), or set for all by the control port, so that
 * a test can have many behaviours at once through one proxy; who sends what is counted by `id` (query, or
 * `Idempotency-Key`). Nothing here knows sidecars. Run by test/support/workers/worker-process.ts; prints its two ports.
 *
 * Modes: `echo` (JSON of what arrived), `delay` (echo after `ms`), `status` (echo with `status`), `sse` (`events`,
 * one every `ms`), `stream` (`bytes` as fast as they are read, or in 16 parts every `ms`), `hang` (never answers),
 * `reset` (connection reset before a response), `partial` (half of `bytes`, then reset; `framing=chunked` too).
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

/** What a request has come to. */
type Progress = 'received' | 'answered' | 'aborted';

interface Seen {
  readonly id: string;
  readonly method: string;
  readonly url: string;
  readonly rawHeaders: readonly string[];
  bodyBytes: number;
  progress: Progress;
}

const PARTS = 16;
const [name = 'worker', portText = '0'] = process.argv.slice(2);
const defaults = new Map<string, string>();
const seen: Seen[] = [];
const watchers = new Set<() => void>();
let health = 'ok';
let load: number | null = null;

/** What the request itself says, else what was set for all. */
function settingsOf(url: URL): (key: string, fallback: string) => string {
  return (key, fallback) => url.searchParams.get(key) ?? defaults.get(key) ?? fallback;
}

function progressed(entry: Seen, progress: Progress): void {
  entry.progress = progress;
  for (const watcher of [...watchers]) watcher();
}

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://worker');
  if (load !== null) response.setHeader('endpoint-load-metrics', `TEXT application_utilization=${load}`);
  if (url.pathname === '/health') {
    if (health !== 'hang') response.writeHead(health === 'ok' ? 200 : 503).end();
    return;
  }
  const { method = '', rawHeaders } = request;
  const id = url.searchParams.get('id') ?? String(request.headers['idempotency-key'] ?? '');
  const entry: Seen = { id, method, url: request.url ?? '', rawHeaders, bodyBytes: 0, progress: 'received' };
  seen.push(entry);
  response.on('close', () => progressed(entry, response.writableFinished ? 'answered' : 'aborted'));
  progressed(entry, 'received');
  const hash = createHash('sha256');
  for await (const part of request) {
    entry.bodyBytes += (part as Buffer).length;
    hash.update(part as Buffer);
  }
  const echo = {
    worker: name,
    method,
    url: entry.url,
    rawHeaders,
    bodyBytes: entry.bodyBytes,
    bodySha256: hash.digest('hex'),
  };
  await behave(settingsOf(url), echo, response);
}

async function behave(
  setting: (key: string, fallback: string) => string,
  echo: object,
  response: ServerResponse,
): Promise<void> {
  const ms = Number(setting('ms', '0'));
  const bytes = Number(setting('bytes', '1000'));
  const json = { 'content-type': 'application/json' };
  const mode = setting('mode', 'echo');
  switch (mode) {
    case 'delay':
      await pause(ms);
      break;
    case 'sse':
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      for (let at = 1; at <= Number(setting('events', '5')) && !response.destroyed; at++) {
        response.write(`id: ${at}\ndata: ${name} ${at}\n\n`);
        await pause(ms);
      }
      response.end('event: done\ndata: \n\n');
      return;
    case 'stream':
      response.writeHead(200, { 'content-length': bytes });
      for (let part = 0; part < PARTS && !response.destroyed; part++) {
        const from = Math.floor((bytes * part) / PARTS);
        await written(response, Math.floor((bytes * (part + 1)) / PARTS) - from);
        if (ms > 0) await pause(ms);
      }
      response.end();
      return;
    case 'hang':
      return;
    case 'reset':
      response.socket?.resetAndDestroy();
      return;
    case 'partial':
      if (setting('framing', 'length') === 'length') response.setHeader('content-length', bytes);
      response.write(Buffer.alloc(Math.floor(bytes / 2), 'x'), () => response.socket?.resetAndDestroy());
      return;
  }
  response.writeHead(Number(setting('status', '200')), json).end(JSON.stringify(echo));
}

const BLOCK = Buffer.alloc(65_536, 'x');

async function written(response: ServerResponse, bytes: number): Promise<void> {
  for (let left = bytes; left > 0 && !response.destroyed; left -= BLOCK.length) {
    const isTaken = response.write(left >= BLOCK.length ? BLOCK : BLOCK.subarray(0, left));
    if (!isTaken) await Promise.race([once(response, 'drain'), once(response, 'close')]);
  }
}

/** `GET /seen`, `POST /set` (mode and its numbers, `health`, `load`), `GET /when?id=…&progress=…&count=…`. */
async function control(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://control');
  if (url.pathname === '/set') {
    let body = '';
    for await (const part of request) body += String(part);
    for (const [key, value] of Object.entries(JSON.parse(body) as Record<string, unknown>)) {
      if (key === 'health') health = String(value);
      else if (key === 'load') load = value === null ? null : Number(value);
      else defaults.set(key, String(value));
    }
  }
  if (url.pathname === '/when') await when(url, request);
  response.end(JSON.stringify(seen));
}

/** Resolves once so many requests of that id have come so far, or the asker has left. */
async function when({ searchParams }: URL, request: IncomingMessage): Promise<void> {
  const [id, progress] = [searchParams.get('id'), searchParams.get('progress') ?? 'received'];
  const enough = (): boolean =>
    seen.filter(
      (one) => (id === null || one.id === id) && (progress === 'received' || one.progress === progress),
    ).length >= Number(searchParams.get('count') ?? 1);
  await new Promise<void>((resolve) => {
    const look = (): void => {
      if (!enough() && !request.socket.destroyed) return;
      watchers.delete(look);
      resolve();
    };
    watchers.add(look);
    request.socket.once('close', look);
    look();
  });
}

function listening(handler: typeof serve, port: number): Promise<Server> {
  const server = createServer((request, response) => {
    handler(request, response).catch(() => response.destroy());
  });
  return new Promise((resolve) => server.listen(port, '127.0.0.1', () => resolve(server)));
}

const data = await listening(serve, Number(portText));
// As well-behaved servers do: no new connections, what runs is finished, then the end.
process.once('SIGTERM', () => data.close(() => process.exit(0)));
data.on('upgrade', (request, socket) => {
  const url = request.url ?? '';
  const entry: Seen = {
    id: '',
    method: 'GET',
    url,
    rawHeaders: request.rawHeaders,
    bodyBytes: 0,
    progress: 'received',
  };
  seen.push(entry);
  socket.on('error', () => socket.destroy()).on('close', () => progressed(entry, 'answered'));
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${request.headers.upgrade}\r\n\r\n`,
  );
  // Whatever the protocol is, its bytes come back.
  socket.pipe(socket);
});
const ports = [data, await listening(control, 0)].map((server) => (server.address() as AddressInfo).port);
process.stdout.write(`${JSON.stringify({ port: ports[0], control: ports[1] })}\n`);
