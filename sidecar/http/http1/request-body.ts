/**
 * The body of one incoming HTTP/1.1 request: takes the connection's bytes apart by the head's framing, and reads ahead
 * a little until somebody wants them, because a socket that is not read does not tell that its client has left.
 */
import { ChunkedDecoder } from '../../core/http/chunked.ts';
import type { Framing, RawFields } from '../../core/http/message.ts';

/** How many bytes are read ahead of a body that nobody has asked for yet, or of later requests. */
export const READ_AHEAD_BYTES = 65_536;

export interface BodyConsumer {
  onBody(chunk: Buffer): boolean;
  onBodyEnd(trailers: RawFields): void;
  readonly holdsBody: boolean;
}

export interface BodyOwner {
  /** Bytes after the end of the body. */
  surplus(bytes: Buffer): void;
  /** The framing is broken: nothing after this point can be trusted (RFC 9112 §6.3). */
  bodyBroken(detail: string): void;
  bodyComplete(): void;
}

/** Takes everything and keeps nothing. */
const NOBODY: BodyConsumer = { onBody: () => true, onBodyEnd: () => {}, holdsBody: false };
const NO_TRAILERS: RawFields = [];

type Phase = 'reading' | 'read' | 'delivered' | 'broken';

export class Http1RequestBody {
  #phase: Phase;
  #left: number;
  readonly #decoder: ChunkedDecoder | null;
  readonly #owner: BodyOwner;
  #consumer: BodyConsumer | null = null;
  #queue: Buffer[] = [];
  #queuedBytes = 0;
  #isHeldBack = false;
  #trailers = NO_TRAILERS;

  constructor(framing: Framing, owner: BodyOwner) {
    this.#owner = owner;
    this.#decoder = framing.kind === 'chunked' ? new ChunkedDecoder() : null;
    this.#left = framing.kind === 'length' ? framing.bytes : 0;
    this.#phase = framing.kind === 'chunked' || this.#left > 0 ? 'reading' : 'read';
  }

  /** Every byte of the body has arrived (though maybe not been handed on). */
  get isRead(): boolean {
    return this.#phase === 'read' || this.#phase === 'delivered';
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** A piece of what was received is held: here, or by the one who takes the body. */
  get holdsBytes(): boolean {
    return this.#queuedBytes > 0 || this.#consumer?.holdsBody === true;
  }

  /** Takes bytes of the connection; what lies behind the body goes to the owner. */
  received(bytes: Buffer): void {
    if (this.#phase !== 'reading') {
      if (this.#phase !== 'broken') this.#owner.surplus(bytes);
      return;
    }
    if (this.#decoder !== null) {
      const result = this.#decoder.feed(bytes, 0, bytes.length, (slice) => this.#deliver(slice));
      if (result.kind === 'bad') {
        this.#phase = 'broken';
        this.#owner.bodyBroken(result.detail);
      } else if (result.kind === 'done') {
        this.#finished(result.trailers, bytes.subarray(result.end));
      }
      return;
    }
    const take = Math.min(this.#left, bytes.length);
    this.#left -= take;
    this.#deliver(take === bytes.length ? bytes : bytes.subarray(0, take));
    if (this.#left === 0) this.#finished([], bytes.subarray(take));
  }

  attach(consumer: BodyConsumer | null): void {
    this.#consumer = consumer;
    this.#isHeldBack = false;
    this.#flush();
  }

  resume(): void {
    if (!this.#isHeldBack) return;
    this.#isHeldBack = false;
    this.#flush();
  }

  /** Drops what is queued and everything that comes. */
  discard(): void {
    this.attach(NOBODY);
  }

  #finished(trailers: RawFields, rest: Buffer): void {
    this.#phase = 'read';
    this.#trailers = trailers;
    if (rest.length > 0) this.#owner.surplus(rest);
    this.#flush();
    this.#owner.bodyComplete();
  }

  #deliver(chunk: Buffer): void {
    if (this.#consumer !== null && !this.#isHeldBack && this.#queue.length === 0) {
      this.#isHeldBack = !this.#consumer.onBody(chunk);
      return;
    }
    this.#queue.push(chunk);
    this.#queuedBytes += chunk.length;
  }

  #flush(): void {
    if (this.#consumer === null) return;
    let taken = 0;
    while (taken < this.#queue.length && !this.#isHeldBack) {
      const chunk = this.#queue[taken++]!;
      this.#queuedBytes -= chunk.length;
      this.#isHeldBack = !this.#consumer.onBody(chunk);
    }
    if (taken > 0) this.#queue.splice(0, taken);
    // The end does not wait for a drain: no byte is left to be held back.
    if (this.#phase === 'read' && this.#queue.length === 0) {
      this.#phase = 'delivered';
      this.#consumer.onBodyEnd(this.#trailers);
    }
  }
}
