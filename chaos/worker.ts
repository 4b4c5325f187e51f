/**
 * The worker of a chaos run: serves what the load sends, misbehaves on demand, and writes down each POST it gets.
 *
 * The ledger is a file that is appended to before anything else is done, so that it tells the truth also of a worker
 * that was killed the next moment. Knows nothing of sidecars. `worker.ts <name> <host> <port> <ledger>`; prints a line
 * of JSON when it listens.
 *
 * GET /work?ms= · GET /big?bytes= · POST /work, /big (header x-chaos-id) · GET /events?count=&ms= · GET /socket
 * (upgrade, echo) · GET /health · GET /behave?as=sound|slow|sick|resetting|breaking
 */
import { createHash } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { bigBody, eventText, LAST_EVENT } from './content.ts';
import { acceptKey, decodeFrames, encodeFrame } from './websocket.ts';

const [name = '', host = '127.0.0.1', portText = '0', ledger = ''] = process.argv.slice(2);
const SLOW_MS = 800;
const CHUNK_BYTES = 65_536;
let behaviour = 'sound';

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://worker');
  const number = (key: string, fallback: number): number => Number(url.searchParams.get(key) ?? fallback);
  response.on('error', () => {});
  if (url.pathname === '/behave') {
    behaviour = url.searchParams.get('as') ?? 'sound';
    response.end();
    return;
  }
  if (url.pathname === '/health') {
    response.writeHead(behaviour === 'sick' ? 503 : 200).end();
    return;
  }
  const id = request.headers['x-chaos-id'];
  if (request.method === 'POST') appendFileSync(ledger, `${String(id)}\n`);
  if (behaviour === 'resetting') {
    request.socket.resetAndDestroy();
    return;
  }
  if (behaviour === 'slow') await pause(SLOW_MS);
  if (request.method === 'POST') {
    const hash = createHash('sha256');
    let bytes = 0;
    for await (const chunk of request) {
      hash.update(chunk as Buffer);
      bytes += (chunk as Buffer).length;
    }
    answer(response, JSON.stringify({ name, id, bytes, sha256: hash.digest('hex') }));
    return;
  }
  if (url.pathname === '/events') await stream(response, number('count', 10), number('ms', 50));
  else if (url.pathname === '/big') await big(response, number('bytes', CHUNK_BYTES));
  else {
    await pause(number('ms', 0));
    answer(response, JSON.stringify({ name, target: request.url }));
  }
}

function answer(response: ServerResponse, body: string): void {
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
  if (behaviour !== 'breaking') {
    response.end(body);
    return;
  }
  response.write(body.slice(0, body.length >> 1));
  setTimeout(() => response.destroy(), 20);
}

async function stream(response: ServerResponse, count: number, ms: number): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  for (let at = 1; at <= count && !response.destroyed; at++) {
    response.write(eventText(at));
    if (behaviour === 'breaking' && at > count >> 1) response.destroy();
    await pause(ms);
  }
  response.end(LAST_EVENT);
}

/** Without a length, so that only the last chunk tells that it is whole. */
async function big(response: ServerResponse, bytes: number): Promise<void> {
  response.writeHead(200, { 'content-type': 'application/octet-stream' });
  const body = bigBody(bytes);
  for (let at = 0; at < bytes && !response.destroyed; at += CHUNK_BYTES) {
    if (behaviour === 'breaking' && at > bytes >> 1) {
      response.destroy();
      return;
    }
    const isRoom = response.write(body.subarray(at, at + CHUNK_BYTES));
    if (!isRoom && !response.destroyed) {
      await new Promise<void>((resolve) => {
        response.once('drain', resolve);
        response.once('close', resolve);
      });
    }
  }
  response.end();
}

function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
  socket.on('error', () => socket.destroy());
  if (behaviour === 'resetting') {
    socket.destroy();
    return;
  }
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptKey(String(request.headers['sec-websocket-key']))}\r\n\r\n`,
  );
  let rest = head;
  const received = (bytes: Buffer): void => {
    const { messages, isClosed, left } = decodeFrames(Buffer.concat([rest, bytes]));
    rest = left;
    for (const message of messages) socket.write(encodeFrame(message, null));
    if (isClosed) socket.end();
  };
  socket.on('data', received);
  received(Buffer.alloc(0));
}

const server = createServer((request, response) => {
  serve(request, response).catch(() => response.destroy());
});
server.on('upgrade', upgrade);
server.listen({ port: Number(portText), host }, () => console.log(JSON.stringify({ listening: name })));
