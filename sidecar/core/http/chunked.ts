/**
 * The chunked transfer coding (RFC 9112 §7.1), both ways: a decoder that resumes at any byte, and the encoder.
 *
 * An own decoder, because a proxy must refuse what others forgive (bare line feeds, overflowing sizes, space after a
 * size): each of them makes somebody see the end of the message in another place.
 */
import { fieldLines } from './http1-encode.ts';
import { FieldScanner, fieldFault, NEED_MORE } from './http1-fields.ts';
import { BYTE_CLASS, CR, HEX_VALUE, HTAB, LF, SP, TOKEN, VALUE } from './http1-syntax.ts';
import type { RawFields } from './message.ts';

const MAX_SIZE_DIGITS = 16;
const MAX_EXTENSION_BYTES = 1024;

/**
 * How many framing bytes beyond 16 + 2 per data byte of a chunk may add up: else one byte of data could cost thousands.
 */
const MAX_EXCESS_BYTES = 16_384;
const MAX_TRAILER_BYTES = 8192;
const MAX_TRAILER_FIELDS = 64;

const SEMICOLON = 0x3b;

type State =
  | 'size'
  | 'before_extension'
  | 'extension_name'
  | 'extension'
  | 'size_lf'
  | 'data'
  | 'data_cr'
  | 'data_lf'
  | 'trailers'
  | 'done'
  | 'bad';

export type ChunkedStep =
  | { kind: 'more' }
  | { kind: 'done'; end: number; trailers: RawFields }
  | { kind: 'bad'; detail: string };

const MORE: ChunkedStep = { kind: 'more' };
const scanner = new FieldScanner();

/** Decodes one message; extensions are checked and dropped. */
export class ChunkedDecoder {
  #state: State = 'size';
  /** Of the current chunk: its size while that is read, then what is missing of its data. */
  #leftBytes = 0;
  #sizeDigits = 0;
  #extensionBytes = 0;
  #excessBytes = 0;
  /** Start of a trailer section that came in pieces. */
  #held: Buffer | null = null;
  #detail = '';
  #chunks = 0;

  /** Chunks with data that were whole so far. */
  get chunks(): number {
    return this.#chunks;
  }

  /**
   * Takes `b[start, end)`. Data is handed out as views into `b`, without copying, before the call returns: keep
   * what is needed longer by copying it. `done.end` is the index after the message; `trailers` are as received.
   * After `done` later calls take nothing; after `bad` the connection is lost, and every later call says so again.
   */
  feed(b: Buffer, start: number, end: number, onData: (slice: Buffer) => void): ChunkedStep {
    if (this.#state === 'done') return { kind: 'done', end: start, trailers: [] };
    if (this.#state === 'bad') return { kind: 'bad', detail: this.#detail };
    let at = start;
    while (at < end) {
      switch (this.#state) {
        case 'size': {
          const octet = b[at++]!;
          const digit = HEX_VALUE[octet]!;
          if (digit >= 0) {
            this.#leftBytes = this.#leftBytes * 16 + digit;
            if (++this.#sizeDigits > MAX_SIZE_DIGITS || this.#leftBytes > Number.MAX_SAFE_INTEGER) {
              return this.#fail('a chunk size that is too large');
            }
          } else if (this.#sizeDigits === 0) return this.#fail('a chunk without a size');
          else if (octet === CR) this.#state = 'size_lf';
          else if (octet === SEMICOLON) this.#state = 'extension_name';
          else if (octet === SP || octet === HTAB) this.#state = 'before_extension';
          else return this.#fail('a chunk size that is not hexadecimal');
          break;
        }
        case 'before_extension':
        case 'extension_name':
        case 'extension': {
          const fault = this.#readExtension(b[at++]!);
          if (fault !== null) return this.#fail(fault);
          break;
        }
        case 'size_lf':
          if (b[at++] !== LF) return this.#fail('a chunk size that does not end with CRLF');
          if (!this.#beginChunk()) return this.#fail('too many chunk extensions for the data they carry');
          break;
        case 'data': {
          const taken = Math.min(this.#leftBytes, end - at);
          this.#leftBytes -= taken;
          if (this.#leftBytes === 0) this.#state = 'data_cr';
          at += taken;
          onData(b.subarray(at - taken, at));
          break;
        }
        case 'data_cr':
          if (b[at++] !== CR) return this.#fail('chunk data that does not end where its size says');
          this.#state = 'data_lf';
          break;
        case 'data_lf':
          if (b[at++] !== LF) return this.#fail('chunk data that does not end with CRLF');
          this.#chunks++;
          this.#state = 'size';
          break;
        case 'trailers':
          return this.#readTrailers(b, at, end);
      }
    }
    return MORE;
  }

  /** RFC 9112 §7.1.1: a name must follow each `;`; what follows the name is only kept free of control characters. */
  #readExtension(octet: number): string | null {
    const isSpace = octet === SP || octet === HTAB;
    if (this.#state === 'before_extension') {
      if (octet === SEMICOLON) this.#state = 'extension_name';
      else if (!isSpace) return 'white space after a chunk size';
    } else if (this.#state === 'extension_name') {
      if ((BYTE_CLASS[octet]! & TOKEN) !== 0) this.#state = 'extension';
      else if (!isSpace) return 'a chunk extension without a name';
    } else if (octet === CR) {
      this.#state = 'size_lf';
    } else if ((BYTE_CLASS[octet]! & VALUE) === 0) {
      return 'a control character in a chunk extension';
    }
    return ++this.#extensionBytes > MAX_EXTENSION_BYTES ? 'a chunk extension that is too long' : null;
  }

  #beginChunk(): boolean {
    const lineBytes = this.#sizeDigits + this.#extensionBytes;
    this.#excessBytes = Math.max(0, this.#excessBytes + lineBytes - 16 - 2 * this.#leftBytes);
    this.#sizeDigits = 0;
    this.#extensionBytes = 0;
    this.#state = this.#leftBytes === 0 ? 'trailers' : 'data';
    return this.#excessBytes <= MAX_EXCESS_BYTES;
  }

  #readTrailers(b: Buffer, at: number, end: number): ChunkedStep {
    const heldBytes = this.#held === null ? 0 : this.#held.length;
    const stop = Math.min(end, at + MAX_TRAILER_BYTES - heldBytes);
    const section = this.#held === null ? b : Buffer.concat([this.#held, b.subarray(at, stop)]);
    const from = this.#held === null ? at : 0;
    const to = this.#held === null ? stop : section.length;
    const sectionEnd = scanner.scan(section, from, to, MAX_TRAILER_FIELDS);
    if (sectionEnd < 0) return this.#fail(`trailers: ${fieldFault(sectionEnd)}`);
    if (sectionEnd === NEED_MORE) {
      if (to - from >= MAX_TRAILER_BYTES) return this.#fail('trailers larger than allowed');
      // A copy: the caller may write over `b` after this call.
      this.#held = this.#held === null ? Buffer.from(b.subarray(at, stop)) : section;
      return MORE;
    }
    this.#state = 'done';
    this.#held = null;
    const trailers =
      scanner.count === 0 ? [] : scanner.strings(section.toString('latin1', from, sectionEnd), from);
    return { kind: 'done', end: at + (sectionEnd - from) - heldBytes, trailers };
  }

  #fail(detail: string): ChunkedStep {
    this.#state = 'bad';
    this.#detail = detail;
    return { kind: 'bad', detail };
  }
}

/** `size CRLF`, to be written before `bytes` (> 0) of data and a CRLF, where copying the data would cost too much. */
export function chunkHead(bytes: number): string {
  return `${bytes.toString(16)}\r\n`;
}

/** One chunk in one buffer; nothing for no data, because an empty chunk would end the message. */
export function encodeChunk(data: Buffer): Buffer {
  if (data.length === 0) return data;
  const head = chunkHead(data.length);
  const chunk = Buffer.allocUnsafe(head.length + data.length + 2);
  chunk.write(head, 0, 'latin1');
  data.copy(chunk, head.length);
  chunk[chunk.length - 2] = CR;
  chunk[chunk.length - 1] = LF;
  return chunk;
}

const LAST_CHUNK = Buffer.from('0\r\n\r\n', 'latin1');

/** The end of the message, with trailers that are valid fields (see http1-encode). Do not write into it. */
export function lastChunk(trailers: RawFields): Buffer {
  return trailers.length === 0 ? LAST_CHUNK : Buffer.from(`0\r\n${fieldLines(trailers)}\r\n`, 'latin1');
}
