/**
 * Stands for Cloudflare's edge in the Nebula rig: a TLS proxy 50 ms away, one port for each tunnel.
 *
 * It is no cloudflared: nothing dials out, the edge itself reaches the worker's inbound listener over the underlay,
 * and "the tunnel is cut" is that path being dropped. What a caller can tell apart is as there: TLS of a foreign name,
 * a delay, 530 with `error code: 1033` while the origin cannot be reached. Run as a process in the host of the edge
 * by test/support/meshes/nebula-mesh.ts: `slow-edge.ts <JSON of SlowEdgeOptions>`; prints a line when it listens.
 */
import { readFileSync } from 'node:fs';
import net from 'node:net';
import tls from 'node:tls';

export interface SlowEdgeOptions {
  readonly host: string;
  /** PEM files. */
  readonly cert: string;
  readonly key: string;
  /** What the edge adds to a round trip. */
  readonly delayMs: number;
  /** Public port → where its worker is reached. */
  readonly tunnels: readonly {
    readonly port: number;
    readonly to: { readonly host: string; readonly port: number };
  }[];
}

const ORIGIN_TIMEOUT_MS = 5_000;
const NO_TUNNEL = 'error code: 1033';
const NO_TUNNEL_ANSWER =
  `HTTP/1.1 530 Origin Error\r\nServer: edge\r\nContent-Type: text/plain\r\n` +
  `Content-Length: ${NO_TUNNEL.length}\r\nConnection: close\r\n\r\n${NO_TUNNEL}`;

/** Hands on what comes from one socket to the other after a while, the end too; breaks both if one breaks. */
function join(from: net.Socket, to: net.Socket, delayMs: number): void {
  from.on('data', (chunk) => setTimeout(() => to.write(chunk), delayMs));
  from.on('end', () => setTimeout(() => to.end(), delayMs));
  from.on('error', () => {});
  from.on('close', (hadError) => {
    if (hadError) to.destroy();
  });
}

/** From TLS to the worker; says 530 where that cannot be reached. */
function serveTunnel(outer: tls.TLSSocket, to: { readonly host: string; readonly port: number }): void {
  const inner = net.connect({ ...to, allowHalfOpen: true });
  outer.on('error', () => inner.destroy());
  inner.setTimeout(ORIGIN_TIMEOUT_MS, () => inner.destroy(new Error('no connection')));
  inner.once('connect', () => {
    inner.setTimeout(0);
    outer.pipe(inner);
    inner.pipe(outer);
    inner.once('close', () => outer.destroy());
    outer.once('close', () => inner.destroy());
  });
  inner.once('error', () => {
    if (inner.bytesRead === 0) outer.end(NO_TUNNEL_ANSWER);
    else outer.destroy();
  });
}

async function listen(server: net.Server, host: string, port: number): Promise<number> {
  await new Promise<void>((resolve) => server.listen({ host, port }, resolve));
  return (server.address() as net.AddressInfo).port;
}

const options = JSON.parse(process.argv[2] ?? '{}') as SlowEdgeOptions;
const cert = readFileSync(options.cert);
const key = readFileSync(options.key);
for (const { port, to } of options.tunnels) {
  const inside = tls.createServer({ cert, key }, (outer) => serveTunnel(outer, to));
  inside.on('tlsClientError', () => {});
  const insidePort = await listen(inside, '127.0.0.1', 0);
  // The delay is outside of TLS, so that its handshake takes as long as it does at a distance.
  const outside = net.createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const server = net.connect({ host: '127.0.0.1', port: insidePort, allowHalfOpen: true, noDelay: true });
    join(client, server, options.delayMs / 2);
    join(server, client, options.delayMs / 2);
  });
  await listen(outside, options.host, port);
}
console.log('up');
