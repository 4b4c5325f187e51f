/**
 * A worker that writes down each POST as its head arrives, and then, at random from a seed, serves it or breaks.
 *
 * What it has seen counts as delivered, whatever comes of it: a real worker may have acted on it by then. It must
 * not know sidecars.
 */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import type { HostPort } from '../../../sidecar/core/host-port.ts';
import type { Random } from '../../../sim/random.ts';
import { onTestEnd } from '../runner/on-test-end.ts';

const WAYS = [
  'reset_at_once',
  'reset_after_body',
  'interim_then_reset',
  'reset_in_answer',
  'end_in_answer',
  'close_after_answer',
  'reset_after_answer',
] as const;
/** It serves the request, and does the rest when that is whole. */
const SERVING: ReadonlySet<Way | null> = new Set([null, 'close_after_answer', 'reset_after_answer']);
type Way = (typeof WAYS)[number];

const MOST_SERVICE_MS = 12;

export interface UnrulyWorker {
  readonly at: HostPort;
  /** Of each request; 0 until the test sets it. */
  rate: number;
}

/** `delivered` counts how often each id (field `x-id`) has come, at whichever worker. */
export async function startUnrulyWorker(
  random: Random,
  delivered: Map<string, number>,
): Promise<UnrulyWorker> {
  const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    const id = String(request.headers['x-id']);
    if (request.method === 'POST') delivered.set(id, (delivered.get(id) ?? 0) + 1);
    const way = random.next() < worker.rate ? (WAYS[random.index(WAYS.length)] ?? null) : null;
    const serviceMs = random.next() * MOST_SERVICE_MS;
    request.on('error', () => {});
    response.on('error', () => {});
    serve(request, response, { way, serviceMs, id }).catch(() => response.destroy());
  });
  // Node loses a handle that is destroyed while its reset is under way.
  server.on('connection', (socket) => socket.unref());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestEnd(() => {
    server.close();
    server.closeAllConnections();
  });
  const worker: UnrulyWorker = {
    at: { host: '127.0.0.1', port: (server.address() as AddressInfo).port },
    rate: 0,
  };
  return worker;
}

/** What it answers when it has the whole body. */
export function receipt(id: string, body: Buffer): string {
  return `${id} ${body.length} ${createHash('sha256').update(body).digest('hex')}`;
}

async function serve(
  request: IncomingMessage,
  response: ServerResponse,
  { id, serviceMs, way }: { readonly way: Way | null; readonly serviceMs: number; readonly id: string },
): Promise<void> {
  const { socket } = request;
  if (way === 'reset_at_once') {
    socket.resetAndDestroy();
    return;
  }
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const text = receipt(id, Buffer.concat(chunks));
  await pause(serviceMs);
  if (SERVING.has(way)) {
    const close = way === 'close_after_answer' ? { connection: 'close' } : {};
    response.writeHead(200, { 'content-length': text.length, ...close });
    response.end(text, () => {
      if (way === 'reset_after_answer') socket.resetAndDestroy();
    });
    return;
  }
  if (way === 'interim_then_reset') {
    response.writeProcessing(() => socket.resetAndDestroy());
    return;
  }
  if (way !== 'reset_after_body') {
    response.writeHead(200, { 'content-length': text.length });
    response.write(text.slice(0, text.length >> 1));
    await pause(2);
  }
  if (way === 'end_in_answer') socket.end();
  else socket.resetAndDestroy();
}
