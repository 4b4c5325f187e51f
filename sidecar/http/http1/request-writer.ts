/**
 * Writes requests on one HTTP/1.1 connection to an origin: the head, and the body in the framing that the head
 * announced.
 *
 * Apart from the connection, because what is written and what becomes of the socket are two questions.
 */
import type { Socket } from 'node:net';
import { lastChunk } from '../../core/http/chunked.ts';
import { fieldLines } from '../../core/http/http1-encode.ts';
import type { RawFields } from '../../core/http/message.ts';
import type { OutgoingHead } from '../exchange.ts';
import { Http1MessageWriter } from './message-writer.ts';

export class Http1RequestWriter {
  readonly #writer: Http1MessageWriter;
  #framing: OutgoingHead['body']['kind'] = 'none';
  #bytesLeft = 0;
  #isComplete = true;

  constructor(socket: Socket) {
    this.#writer = new Http1MessageWriter(socket);
  }

  /** The last byte of the request has been written (though maybe not left). */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  /** Everything written has left: no piece of it is held any more. */
  get isFlushed(): boolean {
    return this.#writer.isFlushed;
  }

  begin(head: OutgoingHead): void {
    this.#framing = head.body.kind;
    this.#bytesLeft = head.body.kind === 'length' ? head.body.bytes : 0;
    this.#isComplete = head.body.kind !== 'chunked' && this.#bytesLeft === 0;
    if (this.#isComplete) this.#writer.writeText(headText(head));
    else this.#writer.begin(headText(head));
  }

  /** Forgets a head that has not left. */
  drop(): void {
    this.#writer.drop();
  }

  /** Returns false when the origin reads slower than we write. What is written after the end is left out. */
  write(chunk: Buffer): boolean {
    if (this.#isComplete || chunk.length === 0) return true;
    if (this.#framing === 'chunked') return this.#writer.writeChunk(chunk);
    if (chunk.length > this.#bytesLeft) throw new Error('more body than its Content-Length');
    this.#bytesLeft -= chunk.length;
    if (this.#bytesLeft === 0) this.#isComplete = true;
    return this.#writer.write(chunk);
  }

  end(trailers: RawFields): void {
    if (this.#framing !== 'chunked' || this.#isComplete) return;
    this.#isComplete = true;
    this.#writer.write(lastChunk(trailers));
  }
}

function headText(head: OutgoingHead): string {
  const { fields, first } = head;
  const lines =
    first === undefined ? fieldLines(fields) : first.text + fieldLines(fields, first.fields.length);
  let text = `${head.method} ${head.target} HTTP/1.1\r\nHost: ${head.host}\r\n${lines}`;
  if (head.body.kind === 'length') text += `Content-Length: ${head.body.bytes}\r\n`;
  else if (head.body.kind === 'chunked') text += 'Transfer-Encoding: chunked\r\n';
  if (head.upgrade !== null) text += `Connection: Upgrade\r\nUpgrade: ${head.upgrade}\r\n`;
  return `${text}\r\n`;
}
