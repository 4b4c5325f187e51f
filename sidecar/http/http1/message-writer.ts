/**
 * Writes HTTP/1.1 messages on a socket, requests and responses alike, in few writes.
 *
 * A head waits for the first piece of body, at most until the end of the current tick: one write instead of two is
 * worth 10 µs per message, and no event of a stream is ever held back longer than that.
 */
import type { Socket } from 'node:net';
import { chunkHead, encodeChunk } from '../../core/http/chunked.ts';

/** Larger pieces are written on their own: copying them would cost more than a second write. */
const COALESCE_BYTES = 16_384;

export class Http1MessageWriter {
  readonly #socket: Socket;
  #headText = '';

  constructor(socket: Socket) {
    this.#socket = socket;
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
    this.#socket.write(text, 'latin1');
  }

  /** Forgets a head that still waits. */
  drop(): void {
    this.#headText = '';
  }

  /** Returns false when the other side reads slower than we write. */
  write(bytes: Buffer): boolean {
    if (this.#headText === '' || bytes.length > COALESCE_BYTES) {
      this.flush();
      return this.#socket.write(bytes);
    }
    const text = this.#headText;
    this.#headText = '';
    const whole = Buffer.allocUnsafe(text.length + bytes.length);
    whole.write(text, 'latin1');
    bytes.copy(whole, text.length);
    return this.#socket.write(whole);
  }

  writeChunk(data: Buffer): boolean {
    if (data.length <= COALESCE_BYTES) return this.write(encodeChunk(data));
    this.#socket.cork();
    this.write(Buffer.from(chunkHead(data.length), 'latin1'));
    this.#socket.write(data);
    const hasRoom = this.#socket.write('\r\n', 'latin1');
    this.#socket.uncork();
    return hasRoom;
  }
}

function flush(writer: Http1MessageWriter): void {
  writer.flush();
}
