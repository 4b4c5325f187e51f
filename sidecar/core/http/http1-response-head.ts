/**
 * The head of an HTTP/1.1 response: bytes in, one verdict out (RFC 9112 §4–5).
 *
 * As strict as for requests, because a worker may be hostile or broken, and its response goes on in our own words over
 * a connection that others share. How long the body is depends on the request too: see `responseFraming`.
 */
import { CONNECTION, FieldScanner, fieldFault, NEED_MORE } from './http1-fields.ts';
import { CLOSE, connectionOptions, KEEP_ALIVE } from './http1-framing.ts';
import type { ParseResult } from './http1-request-head.ts';
import { BYTE_CLASS, CR, LF, SP, VALUE } from './http1-syntax.ts';
import type { HeadLimits, ResponseHead } from './message.ts';
import type { RepeatedSection } from './repeated-section.ts';

/** The version up to the minor digit. */
const VERSION = 'HTTP/1.';

/** The last response on a connection, for its next one. */
export type LastResponse = RepeatedSection<{ readonly head: ResponseHead; again: ResponseHead | null }>;

const INCOMPLETE: { kind: 'incomplete' } = { kind: 'incomplete' };
const scanner = new FieldScanner();

function bad(detail: string): ParseResult<never> {
  return { kind: 'bad', code: 'upstream_protocol', detail };
}

/**
 * Parses the response head at `b[start, end)`; stateless and bounded like `parseRequestHead`. Every fault has the code
 * `upstream_protocol`. A status line without a reason may also lack the space before it, as many servers send it.
 */
export function parseResponseHead(
  b: Buffer,
  start: number,
  end: number,
  limits: HeadLimits,
  last: LastResponse | null = null,
): ParseResult<ResponseHead> {
  const limit = Math.min(end, start + limits.maxHeadBytes);
  const isFull = limit - start >= limits.maxHeadBytes;
  const runOut = isFull ? bad('the head of the response is larger than allowed') : INCOMPLETE;
  const before = last === null ? null : last.match(b, start, limit);
  if (last !== null && before !== null) {
    before.again ??= { ...before.head, repeated: { made: null } };
    return { kind: 'head', end: start + last.length, head: before.again };
  }
  let at = start;
  for (let k = 0; k < VERSION.length; k++, at++) {
    if (at >= limit) return runOut;
    if (b[at] !== VERSION.charCodeAt(k)) return bad('the response does not begin with an HTTP/1 version');
  }
  if (at >= limit) return runOut;
  const minorDigit = b[at]! - 0x30;
  if (minorDigit < 0 || minorDigit > 9) return bad('the response does not begin with an HTTP/1 version');
  if (++at >= limit) return runOut;
  if (b[at] !== SP) return bad('no space between version and status');
  let status = 0;
  for (let k = 0; k < 3; k++) {
    if (++at >= limit) return runOut;
    const digit = b[at]! - 0x30;
    if (digit < 0 || digit > 9) return bad('a status that is not three digits');
    status = status * 10 + digit;
  }
  if (status < 100) return bad('a status below 100');
  if (++at >= limit) return runOut;
  let reasonFrom = at;
  if (b[at] === SP) {
    reasonFrom = ++at;
    while (at < limit && (BYTE_CLASS[b[at]!]! & VALUE) !== 0) at++;
    if (at >= limit) return runOut;
  }
  const reasonTo = at;
  if (b[at] !== CR) return bad('a status line that does not end with CRLF');
  if (++at >= limit) return runOut;
  if (b[at] !== LF) return bad('a carriage return without a line feed');
  const headEnd = scanner.scan(b, at + 1, limit, limits.maxFields);
  if (headEnd === NEED_MORE) return runOut;
  if (headEnd < 0) return bad(fieldFault(headEnd));
  const text = b.toString('latin1', start, headEnd);
  const fields = scanner.strings(text, start);
  let options = 0;
  for (let n = 0; n < scanner.count; n++) {
    if (scanner.kindOf(n) === CONNECTION) options |= connectionOptions(fields[2 * n + 1]!);
  }
  const isOld = minorDigit === 0;
  const head: ResponseHead = {
    status,
    reason: text.slice(reasonFrom - start, reasonTo - start),
    minor: isOld ? 0 : 1,
    fields,
    keepAlive: (options & CLOSE) === 0 && (!isOld || (options & KEEP_ALIVE) !== 0),
  };
  last?.keep(b, start, headEnd, { head, again: null });
  return { kind: 'head', end: headEnd, head };
}
