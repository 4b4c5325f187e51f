/**
 * One request on its way to an origin, as its sender holds it: while the connection is being made, while the request
 * runs, and when it is over. The connection itself would not do, for it is used again, and a late `abort` would hit
 * somebody else's request.
 */
import type { RawFields } from '../../core/http/message.ts';
import type { UpstreamRequest } from '../exchange.ts';

export class UpstreamHandle implements UpstreamRequest {
  #running: UpstreamRequest | null = null;
  /** The same, and also after the end: its connection may still hold what was written. */
  #writtenTo: UpstreamRequest | null = null;
  /** Stops the dialling. */
  #giveUp: (() => void) | null = null;

  connecting(giveUp: () => void): void {
    this.#giveUp = giveUp;
  }

  running(request: UpstreamRequest): void {
    this.#giveUp = null;
    this.#running = request;
    this.#writtenTo = request;
  }

  /** From now on it does nothing. */
  over(): void {
    this.#giveUp = null;
    this.#running = null;
  }

  write(chunk: Buffer): boolean {
    return this.#running?.write(chunk) ?? true;
  }

  get isFlushed(): boolean {
    return this.#writtenTo?.isFlushed ?? true;
  }

  end(trailers: RawFields): void {
    this.#running?.end(trailers);
  }

  pause(): void {
    this.#running?.pause();
  }

  resume(): void {
    this.#running?.resume();
  }

  abort(): void {
    const giveUp = this.#giveUp;
    this.#giveUp = null;
    giveUp?.();
    this.#running?.abort();
  }
}
