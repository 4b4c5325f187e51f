/**
 * Reads the responses on one HTTP/1.1 connection to an origin: heads, informational ones too, and bodies by the framing
 * of RFC 9112 §6.3.
 *
 * Apart from the connection, because what bytes mean and what becomes of the socket are two questions.
 */
import { ChunkedDecoder, type ChunkedStep } from '../../core/http/chunked.ts';
import { responseFraming } from '../../core/http/http1-framing.ts';
import { type LastResponse, parseResponseHead } from '../../core/http/http1-response-head.ts';
import type { HeadLimits, RawFields, ResponseHead } from '../../core/http/message.ts';
import { RepeatedSection } from '../../core/http/repeated-section.ts';
import { type IncomingHead, MAX_INFORMATIONAL } from '../exchange.ts';
import { worthReparsing } from './partial-head.ts';

export interface ResponseSink {
  onInformational(head: ResponseHead): void;
  onHead(head: IncomingHead): void;
  /** Returns true when the chunk is kept beyond the call. */
  onData(chunk: Buffer): boolean;
  /** The response is whole. `isClean`: no surplus byte, and the origin means to keep the connection. */
  onWhole(trailers: RawFields, isClean: boolean): void;
  /** 101: the rest of the connection is not HTTP. */
  onSwitch(head: ResponseHead, rest: Buffer): void;
  onBad(detail: string): void;
}

type Reading =
  | { readonly kind: 'idle' }
  | { readonly kind: 'head' }
  | { readonly kind: 'length'; left: number }
  | { readonly kind: 'chunked'; readonly decoder: ChunkedDecoder }
  | { readonly kind: 'until_close' };

const IDLE: Reading = { kind: 'idle' };
const HEAD: Reading = { kind: 'head' };

export class Http1ResponseReader {
  readonly #limits: HeadLimits;
  readonly #sink: ResponseSink;
  #reading: Reading = IDLE;
  #method = '';
  readonly #last: LastResponse = new RepeatedSection();
  #pending: Buffer | null = null;
  #keepAlive = true;
  #isKept = false;
  #informationals = 0;

  constructor(limits: HeadLimits, sink: ResponseSink) {
    this.#limits = limits;
    this.#sink = sink;
  }

  /** Waiting for a head, or in the middle of one. */
  get isInHead(): boolean {
    return this.#reading === HEAD;
  }

  get isIdle(): boolean {
    return this.#reading === IDLE;
  }

  /** The response to a request with this method is due. */
  expect(method: string): void {
    this.#method = method;
    this.#reading = HEAD;
    this.#pending = null;
    this.#keepAlive = true;
    this.#informationals = 0;
  }

  /** No response is due any more. */
  stop(): void {
    this.#reading = IDLE;
    this.#pending = null;
  }

  /** Returns true when a piece of the chunk is kept beyond the call. */
  received(chunk: Buffer): boolean {
    this.#isKept = false;
    if (this.#pending === null) {
      this.#read(chunk);
    } else {
      const knownBytes = this.#pending.length;
      const bytes = Buffer.concat([this.#pending, chunk]);
      this.#pending = bytes;
      if (!worthReparsing(bytes, knownBytes, this.#limits)) return false;
      this.#pending = null;
      this.#read(bytes);
    }
    return this.#isKept || this.#pending !== null;
  }

  /** The origin closed its side: the end of a body without another one, or a cut. True if it was an end. */
  ended(): boolean {
    if (this.#reading.kind !== 'until_close') return false;
    this.#whole([], false);
    return true;
  }

  #read(bytes: Buffer): void {
    const reading = this.#reading;
    switch (reading.kind) {
      case 'idle':
        return;
      case 'head':
        this.#readHead(bytes);
        return;
      case 'length': {
        const take = Math.min(reading.left, bytes.length);
        reading.left -= take;
        this.#hand(take === bytes.length ? bytes : bytes.subarray(0, take));
        if (reading.left === 0 && this.#reading === reading) this.#whole([], bytes.length > take);
        return;
      }
      case 'chunked': {
        const step = reading.decoder.feed(bytes, 0, bytes.length, (slice) => {
          if (this.#reading === reading) this.#hand(slice);
        });
        if (this.#reading !== reading) return; // given up from inside onData
        if (step.kind === 'bad') this.#sink.onBad(step.detail);
        else if (step.kind === 'done') this.#whole(step.trailers, step.end < bytes.length);
        return;
      }
      case 'until_close':
        this.#hand(bytes);
    }
  }

  #hand(bytes: Buffer): void {
    if (this.#sink.onData(bytes)) this.#isKept = true;
  }

  #readHead(bytes: Buffer): void {
    const result = parseResponseHead(bytes, 0, bytes.length, this.#limits, this.#last);
    if (result.kind === 'incomplete') {
      this.#pending = bytes;
      return;
    }
    if (result.kind === 'bad') {
      this.#sink.onBad(result.detail);
      return;
    }
    const { head, end } = result;
    const rest = bytes.subarray(end);
    if (head.status === 101) {
      this.#sink.onSwitch(head, rest);
      return;
    }
    if (head.status < 200) {
      const framing = responseFraming(head, this.#method);
      if (framing.kind === 'bad') {
        this.#sink.onBad(framing.detail);
        return;
      }
      this.#informationals++;
      if (this.#informationals > MAX_INFORMATIONAL) {
        this.#sink.onBad(`more than ${MAX_INFORMATIONAL} interim responses`);
        return;
      }
      this.#sink.onInformational(head);
      if (rest.length > 0 && this.#reading === HEAD) this.#readHead(rest);
      return;
    }
    this.#readBody(head, rest);
  }

  #readBody(head: ResponseHead, rest: Buffer): void {
    const framing = responseFraming(head, this.#method);
    if (framing.kind === 'bad') {
      this.#sink.onBad(framing.detail);
      return;
    }
    const decoder = framing.kind === 'chunked' ? new ChunkedDecoder() : null;
    // What came with the head is read first: an answer that is bad from its first chunk on is none.
    const early = decoder === null || rest.length === 0 ? null : earlyChunks(decoder, rest);
    if (early?.step.kind === 'bad' && decoder?.chunks === 0) {
      this.#sink.onBad(early.step.detail);
      return;
    }
    this.#keepAlive = head.keepAlive && framing.kind !== 'close';
    const bodyBytes = framing.kind === 'none' ? 0 : framing.kind === 'length' ? framing.bytes : null;
    const reading: Reading =
      decoder !== null
        ? { kind: 'chunked', decoder }
        : framing.kind === 'close'
          ? { kind: 'until_close' }
          : { kind: 'length', left: bodyBytes ?? 0 };
    this.#reading = reading;
    const version = head.minor === 1 ? '1.1' : '1.0';
    const { status, reason, fields, repeated } = head;
    this.#sink.onHead({ status, reason, version, fields, bodyBytes, repeated });
    if (this.#reading !== reading) return; // given up from inside onHead
    if (bodyBytes === 0) this.#whole([], rest.length > 0);
    else if (early !== null) this.#readEarly(reading, early, rest.length);
    else if (rest.length > 0) this.#read(rest);
  }

  /** Chunks that came with the head. */
  #readEarly(reading: Reading, { slices, step }: EarlyChunks, bytes: number): void {
    for (const slice of slices) if (this.#reading === reading) this.#hand(slice);
    if (this.#reading !== reading) return; // given up from inside onData
    if (step.kind === 'bad') this.#sink.onBad(step.detail);
    else if (step.kind === 'done') this.#whole(step.trailers, step.end < bytes);
  }

  #whole(trailers: RawFields, hasSurplus: boolean): void {
    this.#reading = IDLE;
    this.#sink.onWhole(trailers, this.#keepAlive && !hasSurplus);
  }
}

interface EarlyChunks {
  readonly slices: readonly Buffer[];
  readonly step: ChunkedStep;
}

function earlyChunks(decoder: ChunkedDecoder, bytes: Buffer): EarlyChunks {
  const slices: Buffer[] = [];
  const step = decoder.feed(bytes, 0, bytes.length, (slice) => slices.push(slice));
  return { slices, step };
}
