/**
 * Reads the response on one HTTP/2 stream to an origin: interim responses, head, body, trailers, and whether it is
 * whole.
 *
 * Apart from the request, because what comes in and what becomes of the stream are two questions.
 */
import { STATUS_CODES } from 'node:http';
import { type ClientHttp2Stream, constants } from 'node:http2';
import { first } from '../../core/http/headers.ts';
import { contentLength } from '../../core/http/http1-framing.ts';
import { listBytes, withoutPseudoFields } from '../../core/http/http2-head.ts';
import type { HeadLimits, RawFields } from '../../core/http/message.ts';
import { type IncomingHead, MAX_INFORMATIONAL } from '../exchange.ts';
import { onEndStream } from './stream-end.ts';

export interface Http2ResponseSink {
  onInformational(status: number, reason: string, fields: RawFields): void;
  onHead(head: IncomingHead): void;
  onData(chunk: Buffer): void;
  onWhole(trailers: RawFields): void;
  onBad(detail: string): void;
}

type Raw = readonly string[];

export class Http2ResponseReader {
  readonly #sink: Http2ResponseSink;
  readonly #limits: HeadLimits;
  #informationals = 0;
  #hasHead = false;
  #isOver = false;
  #isEnded = false;
  #trailers: RawFields = [];

  constructor(stream: ClientHttp2Stream, limits: HeadLimits, sink: Http2ResponseSink) {
    this.#sink = sink;
    this.#limits = limits;
    onEndStream(stream, () => {
      this.#isEnded = true;
    });
    // @types/node leaves the third argument out of 'headers' and 'trailers'.
    stream.on('headers', (_list, _flags, ...raw: Raw[]) => this.#informed(raw[0] ?? []));
    stream.on('response', (_list, flags, ...raw: Raw[]) => this.#onResponse(flags, raw[0] ?? []));
    stream.on('trailers', (_list, _flags, ...raw: Raw[]) => {
      this.#trailers = withoutPseudoFields(raw[0] ?? []);
    });
    stream.on('data', (chunk: Buffer) => {
      if (this.#hasHead && !this.#isOver) sink.onData(chunk);
    });
    stream.on('end', () => {
      if (this.#isEnded && this.#hasHead) this.#whole();
    });
  }

  /** Everything is here, though maybe not handed on: the connection is not needed for it any more. */
  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** Nothing is handed on any more. */
  stop(): void {
    this.#isOver = true;
  }

  #informed(raw: Raw): void {
    if (this.#isOver || this.#hasHead || this.#isTooLarge(raw)) return;
    this.#informationals++;
    if (this.#informationals > MAX_INFORMATIONAL) {
      this.#bad(`more than ${MAX_INFORMATIONAL} interim responses`);
      return;
    }
    const status = statusOf(raw);
    this.#sink.onInformational(status, STATUS_CODES[status] ?? '', withoutPseudoFields(raw));
  }

  #onResponse(flags: number, raw: Raw): void {
    if (this.#isOver || this.#hasHead || this.#isTooLarge(raw)) return;
    const status = statusOf(raw);
    if (status < 200 || status > 999) {
      this.#bad('a status outside 200 to 999');
      return;
    }
    const fields = withoutPseudoFields(raw);
    const hasEnded = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
    const bodyBytes = hasEnded ? 0 : bodyLength(first(fields, 'content-length'));
    this.#hasHead = true;
    this.#sink.onHead({ status, reason: STATUS_CODES[status] ?? '', version: '2.0', fields, bodyBytes });
    if (hasEnded) this.#whole();
  }

  /** node:http2 counts headers, and leaves their size to us. */
  #isTooLarge(raw: Raw): boolean {
    if (listBytes(raw) <= this.#limits.maxHeadBytes) return false;
    this.#bad('the head is larger than allowed');
    return true;
  }

  #whole(): void {
    if (this.#isOver) return; // also when it was given up from inside onHead
    this.#isOver = true;
    this.#sink.onWhole(this.#trailers);
  }

  #bad(detail: string): void {
    this.#isOver = true;
    this.#sink.onBad(detail);
  }
}

function statusOf(raw: Raw): number {
  const at = raw.indexOf(':status');
  return at === -1 ? 0 : Number(raw[at + 1]);
}

/** node:http2 compares it with the body; a value that is not one number is passed on, and gives no length. */
function bodyLength(value: string | undefined): number | null {
  const bytes = value === undefined ? -1 : contentLength(value);
  return bytes === -1 ? null : bytes;
}
