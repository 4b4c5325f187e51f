/**
 * Carries the body of one request from the downstream to whichever attempt is current, and keeps its beginning so that
 * another attempt can have it too: a body is replayable while every byte read so far is kept, at most `replayBytes`.
 */
import { endToEndTrailers } from '../core/forwarding/end-to-end.ts';
import type { Framing, RawFields } from '../core/http/message.ts';
import type { Downstream, DownstreamHandler, UpstreamRequest } from './exchange.ts';

export interface RelayListener {
  /** Room again in the client's connection. */
  onClientDrain(): void;
  onGone(): void;
}

export class RequestRelay implements DownstreamHandler {
  readonly #downstream: Downstream;
  readonly #replayBytes: number;
  #kept: Buffer[] = [];
  #keptBytes = 0;
  /** Index in #kept of the next piece for the current attempt. */
  #position = 0;
  #isKeeping = true;
  #isWhole = true;
  #trailers: RawFields | null = null;
  #upstream: UpstreamRequest | null = null;
  /** The last attempt's, also when it is over: its connection may still hold what was written. */
  #writtenTo: UpstreamRequest | null = null;
  #isBlocked = false;
  #isHeldBack = false;
  #listener: RelayListener | null = null;
  isGone = false;

  constructor(downstream: Downstream, replayBytes: number) {
    this.#downstream = downstream;
    this.#replayBytes = replayBytes;
    downstream.attach(this);
  }

  /** Every byte read so far can be sent again. */
  get isReplayable(): boolean {
    return this.#isWhole;
  }

  get holdsBody(): boolean {
    return this.#kept.length > 0 || this.#writtenTo?.isFlushed === false;
  }

  listen(listener: RelayListener | null): void {
    this.#listener = listener;
  }

  /** Sends the body, from its first byte, to this attempt. */
  connect(upstream: UpstreamRequest): void {
    this.#upstream = upstream;
    this.#writtenTo = upstream;
    this.#position = 0;
    this.#isBlocked = false;
    this.#pump();
  }

  /** The attempt is over; what comes in now is kept for the next one. */
  disconnect(): void {
    this.#upstream = null;
    this.#position = 0;
  }

  /** A response has begun: there will be no other attempt, nothing needs to be kept. */
  commit(): void {
    this.#isKeeping = false;
    this.#dropSent();
  }

  /** The current attempt has room again. */
  upstreamDrained(): void {
    if (!this.#isBlocked) return;
    this.#isBlocked = false;
    this.#pump();
  }

  onBody(chunk: Buffer): boolean {
    this.#kept.push(chunk);
    this.#keptBytes += chunk.length;
    if (this.#keptBytes > this.#replayBytes) this.#isKeeping = false;
    this.#pump();
    this.#isHeldBack = this.#upstream === null ? this.#keptBytes > this.#replayBytes : this.#isBlocked;
    return !this.#isHeldBack;
  }

  onBodyEnd(trailers: RawFields): void {
    this.#trailers = endToEndTrailers(trailers, this.#downstream.head.fields);
    this.#pump();
  }

  onDrain(): void {
    this.#listener?.onClientDrain();
  }

  onGone(): void {
    if (this.isGone) return;
    this.isGone = true;
    this.#listener?.onGone();
  }

  #pump(): void {
    const upstream = this.#upstream;
    if (upstream === null) return;
    while (this.#position < this.#kept.length && !this.#isBlocked) {
      this.#isBlocked = !upstream.write(this.#kept[this.#position++]!);
    }
    if (!this.#isKeeping) this.#dropSent();
    if (this.#position < this.#kept.length) return;
    if (this.#trailers !== null) upstream.end(this.#trailers);
    else if (this.#isHeldBack && !this.#isBlocked) {
      this.#isHeldBack = false;
      this.#downstream.resumeBody();
    }
  }

  #dropSent(): void {
    if (this.#position === 0) return;
    for (const chunk of this.#kept.splice(0, this.#position)) this.#keptBytes -= chunk.length;
    this.#position = 0;
    this.#isWhole = false;
  }
}

/** Whether a relay will have the whole body for another attempt; false when its length is not known. */
export function willKeep(framing: Framing, replayBytes: number): boolean {
  return framing.kind === 'none' || (framing.kind === 'length' && framing.bytes <= replayBytes);
}
