/**
 * A stand-in for Cloudflare's edge: ends TLS and HTTP for a tunnel's public name, and asks the sidecar behind it.
 *
 * Of the real edge it has what the product must cope with: a distance, its own fields, another address in front of
 * the peer, and 530 when no connector is there (error 1033). What it is not: HTTP/2, WebSocket, any of Cloudflare's
 * limits. The real one cannot be used in a test.
 */
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import type { HostPort } from '../../../sidecar/core/host-port.ts';
import { onTestEnd } from '../runner/on-test-end.ts';
import { createCa } from './x509.ts';

const NAME = 'localhost';

export interface TlsEdge {
  /** `https://localhost:port` */
  readonly url: string;
  /** PEM of the CA to trust. */
  readonly ca: string;
  /** `METHOD target` of what came in. */
  readonly seen: string[];
  /** Names that were asked for in the TLS handshakes. */
  readonly serverNames: Set<string>;
  /** The sidecar at the other end; null = no connector: 530. */
  connector: HostPort | null;
}

/** `delayMs` is one way. `ca`: of several edges. */
export async function startTlsEdge(options: {
  readonly delayMs: number;
  readonly ca?: ReturnType<typeof createCa>;
}): Promise<TlsEdge> {
  const { ca = createCa() } = options;
  const server = https.createServer(ca.issue(NAME), (request, response) => {
    edge.seen.push(`${request.method} ${request.url}`);
    relay(request, response, edge.connector, options.delayMs).catch(() => response.destroy());
  });
  server.on('secureConnection', (socket) => edge.serverNames.add(String(socket.servername)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestEnd(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  const edge: TlsEdge = {
    url: `https://${NAME}:${port}`,
    ca: ca.cert,
    seen: [],
    serverNames: new Set(),
    connector: null,
  };
  return edge;
}

async function relay(
  request: http.IncomingMessage,
  response: http.ServerResponse,
  connector: HostPort | null,
  delayMs: number,
): Promise<void> {
  await pause(delayMs);
  if (connector === null) {
    response.writeHead(530, { 'content-type': 'text/plain', server: 'cloudflare' }).end('error code: 1033');
    return;
  }
  const { host, port } = connector;
  const { method, url: path, rawHeaders } = request;
  const headers = [...rawHeaders, 'cf-ray', '8f0000000000-LHR', 'cf-connecting-ip', '192.0.2.7'];
  const onward = http.request({ host, port, method, path, headers, agent: false });
  request.pipe(onward);
  const answer = await new Promise<http.IncomingMessage>((resolve, reject) => {
    onward.on('response', resolve);
    onward.on('error', reject);
  });
  await pause(delayMs);
  response.writeHead(answer.statusCode ?? 502, answer.rawHeaders);
  answer.pipe(response);
}
