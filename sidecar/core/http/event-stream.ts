/**
 * Where a comment may be put into a stream of server-sent events without changing what anybody reads.
 *
 * Only between two events: readers that cut the stream at empty lines, as many do, then see one more event that says
 * nothing (WHATWG HTML, "Server-sent events": a line that begins with a colon is ignored).
 */
import { first, has } from './headers.ts';
import { trimOws } from './http1-syntax.ts';
import type { RawFields } from './message.ts';

/** A comment and the empty line that ends it. Do not write into it. */
export const COMMENT: Buffer = Buffer.from(':\n\n', 'latin1');

const LF = 10;
const CR = 13;

/** Content with a digest must not change (RFC 9530). */
const DIGESTS = ['content-digest', 'repr-digest', 'digest', 'content-md5'];

/** Whether a response with this head is a stream of server-sent events. */
export function isEventStream(status: number, fields: RawFields): boolean {
  if (status !== 200) return false;
  const type = first(fields, 'content-type');
  return type !== undefined && trimOws(type.split(';', 1)[0] as string).toLowerCase() === 'text/event-stream';
}

/**
 * Whether comments may be added to the response with this head: a whole event stream in plain text, which nobody
 * forbids to change (RFC 9110 §7.7) and nobody has signed.
 */
export function takesComments(status: number, fields: RawFields): boolean {
  if (!isEventStream(status, fields)) return false;
  const encoding = first(fields, 'content-encoding');
  if (encoding !== undefined && trimOws(encoding).toLowerCase() !== 'identity') return false;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!.toLowerCase();
    if (name === 'cache-control' && /\bno-transform\b/i.test(fields[i + 1]!)) return false;
    if (name === 'trailer' && /digest/i.test(fields[i + 1]!)) return false;
  }
  return !DIGESTS.some((name) => has(fields, name));
}

/** Follows one stream. */
export class EventStreamPlace {
  /** The last bytes, oldest first, at most three; empty at the beginning. */
  #tail: readonly number[] = [];
  #isCommented = false;

  /** The next byte begins an event. */
  get isBetweenEvents(): boolean {
    const tail = this.#tail;
    if (tail.length === 0) return true;
    // An empty line: a line end, and surely a whole one (LF), right behind another. A lone CR may be half of one.
    if (tail.at(-1) !== LF) return false;
    const before = tail.at(-2);
    return before === LF || (before === CR && (tail.at(-3) === LF || tail.at(-3) === CR));
  }

  /** A comment has been put in. */
  commented(): void {
    this.#isCommented = true;
  }

  /** Takes bytes of the worker; returns what to send of them: all but a byte order mark that is no longer first. */
  took(chunk: Buffer): Buffer {
    if (chunk.length === 0) return chunk;
    const isMarked = this.#tail.length === 0 && chunk[0] === 0xef && chunk[1] === 0xbb && chunk[2] === 0xbf;
    const tail = [...this.#tail, ...chunk.subarray(-3)];
    this.#tail = tail.slice(-3);
    return isMarked && this.#isCommented ? chunk.subarray(3) : chunk;
  }
}
