/**
 * A worker that knows nothing of the mesh: an HTTP server that remembers what it was asked.
 *
 * Real HTTP by Node's server, so that what it saw is what a real worker would see.
 */
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { onTestEnd } from '../runner/on-test-end.ts';

export interface SeenRequest {
  readonly method: string;
  /** As it came on the wire. */
  readonly target: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

export interface HttpWorkerOptions {
  /** The worker's own word of its load, 0..1, on every response as the ORCA field; null = it says nothing. */
  readonly load?: number;
  /** How long a response takes. */
  readonly serviceMs?: number;
  /** Answers in place of the default (200, JSON of what was asked). */
  readonly answer?: (seen: SeenRequest, response: http.ServerResponse) => void;
}

export interface HttpWorker {
  /** `http://127.0.0.1:port` */
  readonly url: string;
  /** Requests other than GET /health, in the order of their arrival. */
  readonly seen: SeenRequest[];
  /** What GET /health answers: 200 or 503. Set by the test. */
  isHealthy: boolean;
}

export async function startHttpWorker(options: HttpWorkerOptions = {}): Promise<HttpWorker> {
  const { answer = echo, load, serviceMs = 0 } = options;
  const seen: SeenRequest[] = [];
  const server = http.createServer((request, response) => {
    if (load !== undefined)
      response.setHeader('endpoint-load-metrics', `TEXT application_utilization=${load}`);
    if (request.url === '/health') {
      response.writeHead(worker.isHealthy ? 200 : 503).end();
      return;
    }
    void take(request).then(async (one) => {
      seen.push(one);
      if (serviceMs > 0) await pause(serviceMs);
      answer(one, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestEnd(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  const worker: HttpWorker = { url: `http://127.0.0.1:${port}`, seen, isHealthy: true };
  return worker;
}

function echo({ method, target }: SeenRequest, response: http.ServerResponse): void {
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ method, target }));
}

async function take(request: http.IncomingMessage): Promise<SeenRequest> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const { method = '', url: target = '', headers } = request;
  return { method, target, headers, body: Buffer.concat(chunks).toString('utf8') };
}
