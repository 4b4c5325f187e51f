/**
 * A worker of the demo, as a process of its own: plain HTTP, some milliseconds of work, its load in ORCA form.
 *
 * What a user's worker would be: it knows nothing of the mesh. Each response names the worker and the id that was asked
 * for, so that the app can tell a response that is not its own. Streams carry event ids and go on after
 * `Last-Event-ID`, as EventSource expects.
 *
 * Arguments: name, load 0..1, milliseconds of work, port (0 = any). Prints `{"port":…}` when it listens.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

const [name = 'worker', loadText = '0', workText = '0', portText = '0'] = process.argv.slice(2);
const workMs = Number(workText);
const LOAD_REPORT = `TEXT application_utilization=${Number(loadText)}`;

/** No app sends more here. */
const MAX_BODY_BYTES = 65_536;
const MAX_EVENTS = 1_000;

function work(ms: number): Promise<void> {
  // ± 20 %: no two responses of a model take equally long.
  return new Promise((resolve) => setTimeout(resolve, ms * (0.8 + 0.4 * Math.random())));
}

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  response.setHeader('endpoint-load-metrics', LOAD_REPORT);
  const url = new URL(request.url ?? '/', 'http://worker');
  if (url.pathname === '/health') {
    response.end('ok\n');
    return;
  }
  let body = '';
  for await (const part of request) {
    body += String(part);
    if (body.length > MAX_BODY_BYTES) {
      response.writeHead(413).end();
      return;
    }
  }
  if (url.pathname === '/v1/stream') return await stream(request, response, url);
  await work(workMs);
  const id = url.searchParams.get('id') ?? '';
  const text = JSON.stringify({ worker: name, id, said: body });
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}

/** `events` tokens, one event each, then one named `done`. */
async function stream(request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> {
  const count = Math.min(MAX_EVENTS, Number(url.searchParams.get('events')) || 0);
  const seen = Number(request.headers['last-event-id']) || 0;
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  for (let at = seen + 1; at <= count; at++) {
    await work(workMs / count);
    if (response.destroyed) return;
    response.write(`id: ${at}\ndata: ${url.searchParams.get('id')} ${at}\n\n`);
  }
  response.end(`event: done\ndata: ${name}\n\n`);
}

const server = createServer((request, response) => {
  // A client that leaves while it is read is no fault of the worker.
  answer(request, response).catch(() => response.destroy());
});
server.listen(Number(portText), '127.0.0.1', () => {
  process.stdout.write(`${JSON.stringify({ port: (server.address() as AddressInfo).port })}\n`);
});
process.once('SIGTERM', () => process.exit(0));
