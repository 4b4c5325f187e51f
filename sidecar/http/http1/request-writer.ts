/**
 * Writes requests on one HTTP/1.1 connection to an origin: the head, and the body in the framing that the head
 * announced.
 *
 * The head waits for the first piece of body, at most until the end of the current tick, so that both leave in one
 * write. Apart from the connection, because what is written and what becomes of the socket are two questions.
 */
import type { Socket } from 'node:net';
import { encodeChunk, lastChunk } from '../../core/http/chunked.ts';
import { fieldLines } from '../../core/http/http1-encode.ts';
import type { RawFields } from '../../core/http/message.ts';
import type { OutgoingHead } from '../exchange.ts';

/** Pieces up to this size travel in one write with the head. */
const COALESCE_BYTES = 16_384;

export class Http1RequestWriter {
  readonly #socket: Socket;
  #framing: OutgoingHead['body']['kind'] = 'none';
  #headText = '';
  #bytesLeft = 0;
  #isComplete = true;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** The last byte of the request has been written (though maybe not left). */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  begin(head: OutgoingHead): void {
    this.#framing = head.body.kind;
    this.#bytesLeft = head.body.kind === 'length' ? head.body.bytes : 0;
    this.#isComplete = head.body.kind !== 'chunked' && this.#bytesLeft === 0;
    this.#headText = headText(head);
    if (this.#isComplete) this.#flushHead();
    else process.nextTick(() => this.#flushHead());
  }

  /** Forgets a head that has not left. */
  drop(): void {
    this.#headText = '';
  }

  /** Returns false when the origin reads slower than we write. What is written after the end is left out. */
  write(chunk: Buffer): boolean {
    if (this.#isComplete || chunk.length === 0) return true;
    if (this.#framing === 'chunked') return this.#send(encodeChunk(chunk));
    if (chunk.length > this.#bytesLeft) throw new Error('more body than its Content-Length');
    this.#bytesLeft -= chunk.length;
    if (this.#bytesLeft === 0) this.#isComplete = true;
    return this.#send(chunk);
  }

  end(trailers: RawFields): void {
    if (this.#framing !== 'chunked' || this.#isComplete) return;
    this.#isComplete = true;
    this.#send(lastChunk(trailers));
  }

  #flushHead(): void {
    if (this.#headText === '') return;
    const text = this.#headText;
    this.#headText = '';
    this.#socket.write(text, 'latin1');
  }

  #send(bytes: Buffer): boolean {
    if (this.#headText === '' || bytes.length > COALESCE_BYTES) {
      this.#flushHead();
      return this.#socket.write(bytes);
    }
    const text = this.#headText;
    this.#headText = '';
    const whole = Buffer.allocUnsafe(text.length + bytes.length);
    whole.write(text, 'latin1');
    bytes.copy(whole, text.length);
    return this.#socket.write(whole);
  }
}

function headText(head: OutgoingHead): string {
  let text = `${head.method} ${head.target} HTTP/1.1\r\nHost: ${head.host}\r\n${fieldLines(head.fields)}`;
  if (head.body.kind === 'length') text += `Content-Length: ${head.body.bytes}\r\n`;
  else if (head.body.kind === 'chunked') text += 'Transfer-Encoding: chunked\r\n';
  if (head.upgrade !== null) text += `Connection: Upgrade\r\nUpgrade: ${head.upgrade}\r\n`;
  return `${text}\r\n`;
}
