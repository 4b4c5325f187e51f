/**
 * A listening port that speaks HTTP/1.1 and, with prior knowledge, HTTP/2: accepts connections, keeps track of them,
 * and drains them. Outbound and inbound share it, and so one way to start, drain and stop.
 */
import net from 'node:net';
import type { ConnectionOptions } from './connection-options.ts';
import { Http1Connection } from './http1/connection.ts';
import { Http2Connection } from './http2/connection.ts';
import { withReadBuffer } from './sockets/read-buffer.ts';

export type HttpListenerOptions = Omit<ConnectionOptions, 'onHttp2'>;

export interface HttpListener {
  readonly host: string;
  /** The port really bound. */
  readonly port: number;
  readonly openConnections: number;
  /** Idle connections close now, busy ones after their response; new ones are still taken. */
  drain(): void;
  /** Takes no new connections. */
  stopAccepting(): void;
  /** Breaks everything that is left. */
  destroy(): Promise<void>;
}

/** Connections that may wait to be accepted. */
const BACKLOG = 1_024;

/** Rejects with the bind error (EADDRINUSE, EACCES, EADDRNOTAVAIL …). */
export async function listenHttp(
  address: { readonly host: string; readonly port: number },
  options: HttpListenerOptions,
): Promise<HttpListener> {
  const connections = new Map<net.Socket, Http1Connection | Http2Connection>();
  let isDraining = false;
  const track = (connection: Http1Connection | Http2Connection): void => {
    connections.set(connection.socket, connection);
    if (isDraining) connection.drainAfterOne();
  };
  const both: ConnectionOptions = {
    ...options,
    onHttp2: (socket, early) => track(new Http2Connection(socket, early, both)),
  };
  const server = net.createServer(
    { allowHalfOpen: true, noDelay: true, keepAlive: true, pauseOnConnect: true },
    (accepted) => {
      const { socket, read } = withReadBuffer(accepted);
      socket.once('close', () => connections.delete(socket));
      track(new Http1Connection(socket, read, both));
      socket.resume();
    },
  );
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: address.host, port: address.port, backlog: BACKLOG }, () => {
      server.off('error', reject);
      resolve();
    });
  });
  // EMFILE and the like: one connection is lost, the listener lives.
  server.on('error', () => {});
  const bound = server.address() as net.AddressInfo;
  return {
    host: bound.address,
    port: bound.port,
    get openConnections() {
      return connections.size;
    },
    drain() {
      isDraining = true;
      for (const connection of connections.values()) connection.drain();
    },
    stopAccepting() {
      server.close();
    },
    destroy() {
      return new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of connections.keys()) socket.destroy();
      });
    },
  };
}
