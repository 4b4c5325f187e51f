/**
 * An HTTP/2 origin whose every frame is written by the test; one of its connections also serves as a client's.
 *
 * It says its SETTINGS when a connection comes, unless told otherwise, and nothing more.
 */
import net from 'node:net';
import { Arrivals } from '../runner/arrivals.ts';
import { onTestEnd } from '../runner/on-test-end.ts';
import * as h2 from '../wire/http2-frames.ts';

export class OriginConnection {
  readonly socket: net.Socket;
  readonly frames: Arrivals<h2.Frame> = new Arrivals('a frame of the caller');
  readonly closed: Promise<void>;
  /** Answers SETTINGS and PING by itself. */
  readonly #isPolite: boolean;
  #bytes: Buffer = Buffer.alloc(0);
  #prefaceLeft: number;

  /** `prefaceBytes`: what comes before the first frame; a client sees none. */
  constructor(socket: net.Socket, isPolite: boolean, prefaceBytes = h2.PREFACE.length) {
    this.socket = socket;
    this.#prefaceLeft = prefaceBytes;
    this.#isPolite = isPolite;
    this.closed = new Promise((resolve) => socket.once('close', resolve));
    socket.on('error', () => {});
    socket.on('end', () => socket.end());
    socket.on('data', (chunk: Buffer) => this.#received(chunk));
  }

  send(...frames: Buffer[]): void {
    this.socket.write(Buffer.concat(frames));
  }

  /** The next frame of this type. */
  async next(type: number): Promise<h2.Frame> {
    for (;;) {
      const frame = await this.frames.next();
      if (frame.type === type) return frame;
    }
  }

  /** The stream of the next request. */
  async request(): Promise<number> {
    return (await this.next(h2.HEADERS)).stream;
  }

  #received(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    const skip = Math.min(this.#prefaceLeft, this.#bytes.length);
    this.#prefaceLeft -= skip;
    this.#bytes = this.#bytes.subarray(skip);
    for (let read = h2.readFrame(this.#bytes); read !== null; read = h2.readFrame(this.#bytes)) {
      this.#bytes = this.#bytes.subarray(read.length);
      const { frame } = read;
      if (this.#isPolite) this.#acknowledge(frame);
      this.frames.push(frame);
    }
  }

  #acknowledge({ type, flags, payload }: h2.Frame): void {
    if (flags !== 0) return;
    if (type === h2.SETTINGS) this.send(h2.settingsAck());
    else if (type === h2.PING) this.send(h2.frame(h2.PING, h2.ACK, 0, payload));
  }
}

export class Http2Origin {
  readonly connections: Arrivals<OriginConnection> = new Arrivals('a connection of the caller');
  port = 0;
  count = 0;
  /** What it says first; null = nothing. */
  greeting: Buffer | null = h2.settings();
  readonly #sockets = new Set<net.Socket>();

  static async start(): Promise<Http2Origin> {
    const origin = new Http2Origin();
    const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      origin.#sockets.add(socket);
      origin.count++;
      if (origin.greeting !== null) socket.write(origin.greeting);
      origin.connections.push(new OriginConnection(socket, origin.greeting?.[3] === h2.SETTINGS));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    origin.port = (server.address() as net.AddressInfo).port;
    onTestEnd(() => {
      server.close();
      for (const socket of origin.#sockets) socket.destroy();
    });
    return origin;
  }
}
