/**
 * One TCP connection in the hands of a test: exact bytes out, every byte in, and how it ended.
 *
 *
 */
import { once } from 'node:events';
import net from 'node:net';
import { within } from '../runner/arrivals.ts';

/** `end`: the other side closed its half cleanly; `reset`: it broke the connection. */
export type WireEnd = 'end' | 'reset';

export class Wire {
  readonly socket: net.Socket;
  receivedBytes = 0;
  /** How the other side stopped sending; null while it may go on. */
  end: WireEnd | null = null;
  #chunks: Buffer[] = [];
  #wake: (() => void)[] = [];

  constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.receivedBytes += chunk.length;
      this.#chunks.push(chunk);
      this.#changed();
    });
    socket.on('end', () => this.#over('end'));
    socket.on('error', () => this.#over('reset'));
    socket.on('close', () => this.#over('end'));
  }

  static async connect(port: number, host = '127.0.0.1'): Promise<Wire> {
    const socket = net.connect({ host, port, allowHalfOpen: true, noDelay: true });
    await once(socket, 'connect');
    return new Wire(socket);
  }

  /** Received and not taken yet. */
  get bytes(): Buffer {
    if (this.#chunks.length !== 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0] as Buffer;
  }

  send(bytes: string | Buffer): void {
    this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
  }

  /** Resolves with the first value that is not null; asked again whenever bytes or the end have come. */
  async when<T>(what: string, look: () => T | null): Promise<T> {
    for (;;) {
      const found = look();
      if (found !== null) return found;
      if (this.end !== null) throw new Error(`${this.end} instead of ${what}; received: ${this.#text()}`);
      await this.#change(what);
    }
  }

  /** Takes everything up to and with `text`. */
  until(text: string): Promise<string> {
    return this.when(JSON.stringify(text), () => {
      const at = this.bytes.indexOf(text, 0, 'latin1');
      return at === -1 ? null : this.take(at + text.length).toString('latin1');
    });
  }

  /** Takes exactly so many bytes. */
  exactly(count: number): Promise<Buffer> {
    return this.when(`${count} bytes`, () => (this.bytes.length < count ? null : this.take(count)));
  }

  take(count: number): Buffer {
    const { bytes } = this;
    this.#chunks = [bytes.subarray(count)];
    return bytes.subarray(0, count);
  }

  /** How the other side ends; what it sent before stays in `bytes`. `patienceMs` for each step. */
  async ended(patienceMs?: number): Promise<WireEnd> {
    while (this.end === null) await this.#change('the end', patienceMs);
    return this.end;
  }

  /** Ends our half. */
  finish(): void {
    this.socket.end();
  }

  close(): void {
    this.socket.destroy();
  }

  reset(): void {
    this.socket.resetAndDestroy();
  }

  #text(): string {
    return JSON.stringify(this.bytes.subarray(0, 400).toString('latin1'));
  }

  #change(what: string, patienceMs?: number): Promise<void> {
    return within(
      new Promise<void>((resolve) => this.#wake.push(resolve)),
      () => `${what}; received: ${this.#text()}`,
      patienceMs,
    );
  }

  #over(end: WireEnd): void {
    this.end ??= end;
    this.#changed();
  }

  #changed(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }
}
