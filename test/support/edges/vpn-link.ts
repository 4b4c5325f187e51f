/**
 * The way to a peer's VPN address, which a test can break: a relay on another loopback address, as a refusal, or as
 * a black hole.
 *
 * For a sidecar that listens on 127.0.0.1 and advertises another loopback address with the same port. The black hole
 * is a real one: a listener that accepts nothing and whose queue is full, so that the kernel drops each SYN, as a
 * firewall does. Linux only, where all of 127.0.0.0/8 is the machine itself.
 */
import { once } from 'node:events';
import net from 'node:net';
import { Worker } from 'node:worker_threads';
import type { HostPort } from '../../../sidecar/core/host-port.ts';
import { onTestEnd } from '../runner/on-test-end.ts';

/** Why it cannot be had here, or null. */
export const vpnLinkReason = process.platform === 'linux' ? null : 'needs 127.0.0.2 and Linux';

/** Connections that the kernel takes for a listener with this backlog: one more. */
const BACKLOG = 1;
const BLOCKED_LISTENER = `
  const { parentPort, workerData } = require('node:worker_threads');
  const { host, port, backlog, gate } = workerData;
  const server = require('node:net').createServer();
  server.listen({ host, port, backlog }, () => {
    parentPort.postMessage('listens');
    setImmediate(() => { Atomics.wait(gate, 0, 0); process.exit(); });
  });`;

export class VpnLink {
  /** What is advertised. */
  readonly at: HostPort;
  readonly #to: HostPort;
  /** Connections that came in. */
  connections = 0;
  #close: () => Promise<void> = async () => {};

  /** Refuses until told otherwise. */
  constructor(at: HostPort, to: HostPort) {
    this.at = at;
    this.#to = to;
    onTestEnd(() => this.#close());
  }

  /** Connections break and are refused. */
  async refuse(): Promise<void> {
    await this.#close();
    this.#close = async () => {};
  }

  /** Carries bytes. */
  async carry(): Promise<void> {
    await this.refuse();
    const sockets = new Set<net.Socket>();
    const server = net.createServer((near) => {
      this.connections += 1;
      const far = net.connect({ host: this.#to.host, port: this.#to.port });
      for (const [socket, other] of [
        [near, far],
        [far, near],
      ] as const) {
        sockets.add(socket);
        socket.on('error', () => {});
        socket.on('close', () => {
          sockets.delete(socket);
          other.destroy();
        });
      }
      near.pipe(far).pipe(near);
    });
    server.listen(this.at.port, this.at.host);
    await once(server, 'listening');
    this.#close = async () => {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    };
  }

  /** Kept connections break; new ones get no response at all. */
  async blackHole(): Promise<void> {
    await this.refuse();
    const gate = new Int32Array(new SharedArrayBuffer(4));
    const { host, port } = this.at;
    const worker = new Worker(BLOCKED_LISTENER, {
      eval: true,
      workerData: { host, port, backlog: BACKLOG, gate },
    });
    await once(worker, 'message');
    const fillers = Array.from({ length: BACKLOG + 1 }, () => net.connect({ host, port }));
    await Promise.all(fillers.map((socket) => once(socket, 'connect')));
    for (const socket of fillers) socket.on('error', () => {});
    this.#close = async () => {
      for (const socket of fillers) socket.destroy();
      const ended = once(worker, 'exit');
      Atomics.store(gate, 0, 1);
      Atomics.notify(gate, 0);
      await ended;
    };
  }
}
