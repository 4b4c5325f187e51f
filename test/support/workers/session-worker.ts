/**
 * A worker that keeps state of its clients, as MCP servers and web applications do: it gives each a session, by a field
 * and by a cookie, and serves no session that another one gave.
 */
import http from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { onTestEnd } from '../runner/on-test-end.ts';

export interface SessionWorker {
  readonly url: string;
  /** Ids in the order in which they were given. */
  readonly given: string[];
  /** `POST /hold` waits until the test answers it. */
  readonly held: http.ServerResponse[];
  /** `GET /events` goes on until the test ends it. */
  readonly streams: http.ServerResponse[];
  /** Sessions that it was asked for and does not have. */
  readonly strangers: string[];
}

/** `POST /` begins a session, `DELETE /` ends one; `Upgrade` is answered to those who have one. */
export async function startSessionWorker(name: string): Promise<SessionWorker> {
  const living = new Set<string>();
  const sockets = new Set<Socket>();
  const server = http.createServer((request, response) => {
    const id = idOf(request);
    if (request.url === '/health') return void response.end();
    if (id === null) {
      const fresh = `${name}-${worker.given.length}`;
      worker.given.push(fresh);
      living.add(fresh);
      response.writeHead(200, { 'mcp-session-id': fresh, 'set-cookie': `sid=${fresh}; Path=/; HttpOnly` });
      return void response.end(name);
    }
    if (!living.has(id)) {
      worker.strangers.push(id);
      return void response.writeHead(404, { 'mcp-session-id': id }).end('Session not found');
    }
    if (request.method === 'DELETE') {
      living.delete(id);
      response.writeHead(204).end();
    } else if (request.url === '/hold') worker.held.push(response);
    else if (request.url === '/events') {
      worker.streams.push(response);
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(': open\n\n');
    } else response.end(name);
  });
  server.on('upgrade', (request, socket: Socket) => {
    sockets.add(socket);
    const has = living.has(idOf(request) ?? '');
    const head = has
      ? 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n'
      : 'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n';
    socket.on('error', () => {});
    socket.write(head);
    if (has) socket.end(name);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestEnd(() => {
    server.close();
    server.closeAllConnections();
    for (const socket of sockets) socket.destroy();
  });
  const { port } = server.address() as AddressInfo;
  const worker: SessionWorker = {
    url: `http://127.0.0.1:${port}`,
    given: [],
    held: [],
    streams: [],
    strangers: [],
  };
  return worker;
}

function idOf({ headers }: http.IncomingMessage): string | null {
  const field = headers['mcp-session-id'];
  if (typeof field === 'string') return field;
  return /(?:^|; )sid=([^;]+)/.exec(headers.cookie ?? '')?.[1] ?? null;
}
