/**
 * Listening ports that speak HTTP/1.1 and, with prior knowledge, HTTP/2: accepts, keeps track of its connections, and
 * drains them.
 *
 * Apart from the connection itself, so that outbound and inbound share one way to start, drain and stop.
 */
import net from 'node:net';
import type { HostPort } from '../core/host-port.ts';
import type { ConnectionOptions } from './connection-options.ts';
import { Http1Connection } from './http1/connection.ts';
import { Http2Connection } from './http2/connection.ts';
import { maxHeadBytes, serverSettingsByNumber } from './http2/settings.ts';
import { StrangerGate } from './http2/stranger-gate.ts';
import { bindAll } from './sockets/bind.ts';
import { withReadBuffer } from './sockets/read-buffer.ts';

export type HttpListenerOptions = Omit<ConnectionOptions, 'onHttp2'>;

/** Who connects while the sidecar starts; as many may wait to be accepted. */
const MAX_EARLY = 1_024;

type Connection = Http1Connection | StrangerGate | Http2Connection;

interface Bound {
  readonly server: net.Server;
  readonly address: HostPort;
}

export class HttpListener {
  #bound: readonly Bound[];
  readonly #connections = new Map<net.Socket, Connection>();
  /** Accepted before they are served, and not read yet. */
  readonly #early = new Set<net.Socket>();
  #options: ConnectionOptions | null = null;
  #isDraining = false;
  #isClosed = false;

  /** Takes the ports, all or none. Rejects with the bind error (EADDRINUSE, EACCES, EADDRNOTAVAIL …). */
  static async bind(address: HostPort | readonly HostPort[]): Promise<HttpListener> {
    return new HttpListener(await bindAll([address].flat(), newServer));
  }

  private constructor(servers: readonly net.Server[]) {
    this.#bound = servers.map((server) => this.#own(server));
  }

  /** Where it really is bound, at least one. */
  get addresses(): readonly HostPort[] {
    return this.#bound.map(({ address }) => address);
  }

  /** Listens at one more address of this host. Rejects with the bind error. */
  async add(address: HostPort): Promise<void> {
    if (this.#isClosed) return;
    const servers = await bindAll([address], newServer);
    this.#bound = [...this.#bound, ...servers.map((server) => this.#own(server))];
    if (this.#isClosed) this.stopAccepting();
  }

  /** Takes no new connections there; those that are open go on. One that is the only one stays. */
  remove(host: string): void {
    const staying = this.#bound.filter(({ address }) => address.host !== host);
    if (staying.length === 0) return;
    for (const one of this.#bound) if (!staying.includes(one)) one.server.close();
    this.#bound = staying;
  }

  /** Breaks the connections that came to this address, with what runs on them. */
  cutAt(host: string): void {
    for (const socket of [...this.#connections.keys()]) if (socket.localAddress === host) socket.destroy();
  }

  /** Of the first address. */
  get host(): string {
    return this.addresses[0]!.host;
  }

  get port(): number {
    return this.addresses[0]!.port;
  }

  get openConnections(): number {
    return this.#connections.size;
  }

  /** Once. Who has connected before is served now. */
  serve(options: HttpListenerOptions): void {
    const both: ConnectionOptions = {
      ...options,
      onHttp2: (socket, early) => this.#beginHttp2(socket, early, both),
    };
    this.#options = both;
    for (const socket of this.#early) this.#begin(socket, both);
    this.#early.clear();
  }

  /** Idle connections close now, busy ones after their response; new ones are still taken. */
  drain(): void {
    this.#isDraining = true;
    for (const connection of this.#connections.values()) connection.drain();
  }

  /** Takes no new connections. */
  stopAccepting(): void {
    this.#isClosed = true;
    for (const { server } of this.#bound) server.close();
  }

  /** Breaks everything that is left. */
  async destroy(): Promise<void> {
    this.#isClosed = true;
    const closed = this.#bound.map(({ server }) => new Promise((resolve) => server.close(resolve)));
    for (const socket of this.#early) socket.destroy();
    for (const socket of this.#connections.keys()) socket.destroy();
    await Promise.all(closed);
  }

  #own(server: net.Server): Bound {
    // EMFILE and the like: one connection is lost, the listener lives.
    server.on('error', () => {});
    server.on('connection', (socket: net.Socket) => this.#accepted(socket));
    const { address: host, port } = server.address() as net.AddressInfo;
    return { server, address: { host, port } };
  }

  #accepted(socket: net.Socket): void {
    if (this.#options !== null) {
      this.#begin(socket, this.#options);
      return;
    }
    if (this.#early.size >= MAX_EARLY) {
      socket.destroy();
      return;
    }
    this.#early.add(socket);
    socket.on('error', () => {}); // 'close' follows
    socket.once('close', () => this.#early.delete(socket));
  }

  #begin(accepted: net.Socket, options: ConnectionOptions): void {
    const { socket, read } = withReadBuffer(accepted);
    const { strangers } = options;
    socket.once('close', () => {
      this.#connections.delete(socket);
      strangers?.remove(socket);
    });
    this.#track(new Http1Connection(socket, read, options));
    socket.resume();
    strangers?.add(socket);
  }

  #beginHttp2(socket: net.Socket, early: Buffer, options: ConnectionOptions): void {
    const begin = (socket: net.Socket, early: Buffer): void =>
      this.#track(new Http2Connection(socket, early, options));
    if (options.strangers === null) {
      begin(socket, early);
      return;
    }
    const { headTimeoutMs, limits, timers } = options;
    const gate = new StrangerGate(socket, early, {
      timers,
      headTimeoutMs,
      maxBytes: maxHeadBytes(limits),
      settings: serverSettingsByNumber(limits),
      onRequest: begin,
      onRefused: (reason) =>
        void options.refuse(reason === 'timeout' ? 'request_timeout' : 'bad_request', reason),
    });
    // It may have handed on, or refused, what was there already.
    if (this.#connections.get(socket) instanceof Http1Connection) this.#track(gate);
  }

  #track(connection: Connection): void {
    this.#connections.set(connection.socket, connection);
    if (this.#isDraining) connection.drainAfterOne();
  }
}

function newServer(): net.Server {
  return net.createServer({ allowHalfOpen: true, noDelay: true, keepAlive: true, pauseOnConnect: true });
}
