/**
 * Writes HTTP/1.1 messages on a socket, requests and responses alike, in few writes.
 *
 * A head waits for the first piece of body, at most until the end of the current tick: one write instead of two is
 * worth 10 µs per message, and no event of a stream is ever held back longer than that.
 */
import type { Socket } from 'node:net';
import { chunkHead, encodeChunk } from '../../core/http/chunked.ts';
import { DirectWriter, MAX_TEXT_BYTES } from '../sockets/direct-writer.ts';

/** Larger pieces are written on their own: copying them would cost more than a second write. */
const COALESCE_BYTES = 16_384;

/** With what stands around its data. */
const MAX_CHUNK_TEXT_BYTES = MAX_TEXT_BYTES - 32;

export class Http1MessageWriter {
  readonly #socket: Socket;
  readonly #direct: DirectWriter;
  #headText = '';

  constructor(socket: Socket) {
    this.#socket = socket;
    this.#direct = new DirectWriter(socket);
  }

  /** Everything written has left: no piece of it is held any more. */
  get isFlushed(): boolean {
    return this.#direct.isFlushed;
  }

  /** Writes text that waits for nothing, latin1. */
  writeText(text: string): boolean {
    return this.#direct.writeText(text);
  }

  /** Writes the head with the first piece of body, or at the end of the tick. */
  begin(headText: string): void {
    this.#headText = headText;
    process.nextTick(flush, this);
  }

  /** Writes the head, if it still waits. */
  flush(): void {
    if (this.#headText === '') return;
    const text = this.#headText;
    this.#headText = '';
    this.#direct.writeText(text);
  }

  /** Forgets a head that still waits. */
  drop(): void {
    this.#headText = '';
  }

  /** Returns false when the other side reads slower than we write. */
  write(bytes: Buffer): boolean {
    const text = this.#headText;
    const isLong = bytes.length > COALESCE_BYTES;
    if (text === '' || isLong) {
      this.flush();
      return this.#direct.write(bytes);
    }
    this.#headText = '';
    if (text.length + bytes.length <= MAX_TEXT_BYTES) return this.#direct.writeText(text + latin1(bytes));
    const whole = Buffer.allocUnsafe(text.length + bytes.length);
    whole.write(text, 'latin1');
    bytes.copy(whole, text.length);
    return this.#direct.write(whole);
  }

  writeChunk(data: Buffer): boolean {
    const text = this.#headText;
    if (text.length + data.length <= MAX_CHUNK_TEXT_BYTES) {
      this.#headText = '';
      return this.#direct.writeText(`${text}${chunkHead(data.length)}${latin1(data)}\r\n`);
    }
    if (data.length <= COALESCE_BYTES) return this.write(encodeChunk(data));
    this.#socket.cork();
    this.write(Buffer.from(chunkHead(data.length), 'latin1'));
    this.#socket.write(data);
    const hasRoom = this.#socket.write('\r\n', 'latin1');
    this.#socket.uncork();
    return hasRoom;
  }
}

function latin1(bytes: Buffer): string {
  return bytes.toString('latin1');
}

function flush(writer: Http1MessageWriter): void {
  writer.flush();
}
