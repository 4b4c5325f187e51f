/**
 * A worker that does exactly what a test says: it listens, hands out its connections, and answers by itself only
 * when told how.
 *
 * Connections that close without a byte (health checks) are never seen.
 */
import net from 'node:net';
import { Arrivals } from '../runner/arrivals.ts';
import { Wire } from '../wire/wire.ts';
import { request } from '../wire/wire-messages.ts';

export class ScriptedOrigin {
  readonly port: number;
  /** Connections that carried at least one byte, in order. */
  readonly connections: Wire[] = [];
  readonly #arrivals = new Arrivals<Wire>('a connection to the worker');
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  /** Its answer to every request, when set; connections are kept. */
  reply: string | null = null;

  private constructor(server: net.Server) {
    this.#server = server;
    this.port = (server.address() as net.AddressInfo).port;
    server.on('connection', (socket: net.Socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      const wire = new Wire(socket);
      socket.once('end', () => {
        if (wire.receivedBytes === 0) socket.destroy();
      });
      socket.once('data', () => {
        this.connections.push(wire);
        if (this.reply === null) this.#arrivals.push(wire);
        else void this.#answerAll(wire);
      });
    });
  }

  static async start(port = 0): Promise<ScriptedOrigin> {
    const server = net.createServer({ allowHalfOpen: true, noDelay: true });
    await new Promise<void>((resolve) => server.listen({ host: '127.0.0.1', port }, resolve));
    return new ScriptedOrigin(server);
  }

  /** The next connection that no test has taken yet. */
  connection(): Promise<Wire> {
    return this.#arrivals.next();
  }

  /** Takes no more connections, and breaks those that are open. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  async #answerAll(wire: Wire): Promise<void> {
    try {
      for (;;) {
        await request(wire);
        if (this.reply !== null) wire.send(this.reply);
      }
    } catch {
      // The connection is over.
    }
  }
}
