/**
 * The head of an HTTP/1.1 request: bytes in, one verdict out (RFC 9112 §2–6).
 *
 * An own parser instead of Node's, because a proxy must refuse every message whose length or host is in doubt, keep the
 * target and the fields byte for byte, and spend no more than a few µs on it.
 */
import {
  CONNECTION,
  CONTENT_LENGTH,
  EXPECT,
  FieldScanner,
  fieldFault,
  HOST,
  NEED_MORE,
  OTHER,
  TOO_MANY,
  TRANSFER_ENCODING,
  UPGRADE,
} from './http1-fields.ts';
import { CLOSE, connectionOptions, contentLength, transferCoding, UPGRADES } from './http1-framing.ts';
import { BYTE_CLASS, CR, LF, SP, TARGET, TOKEN } from './http1-syntax.ts';
import type { Framing, HeadLimits, RawFields, Repeated, RequestHead } from './message.ts';
import type { RepeatedSection } from './repeated-section.ts';
import { isAuthorityForm, isHost, splitAbsolute } from './request-target.ts';

export type HeadFaultCode =
  | 'bad_request'
  | 'headers_too_large'
  | 'uri_too_long'
  | 'not_supported'
  | 'upstream_protocol';

/**
 * `end` is the index after the empty line. After `bad` nothing more of the connection can be trusted: respond and
 * close. `detail` is fixed text, never bytes of the sender.
 */
export type ParseResult<T> =
  | { kind: 'head'; head: T; end: number }
  | { kind: 'incomplete' }
  | { kind: 'bad'; code: HeadFaultCode; detail: string };

/** Longer than any registered method; RFC 9112 §3 asks for 501 then. */
const MAX_METHOD_BYTES = 64;
const MAX_LEADING_EMPTY_LINES = 2;

/** The version up to the minor digit. */
const VERSION = 'HTTP/1.';

const SLASH = 0x2f;

interface Known {
  readonly head: RequestHead;
  /** Of that head, as they were received. */
  readonly fields: RawFields;
  readonly repeated: Repeated;
}

/** The fields of the last request on a connection, for its next one. */
export type LastFields = RepeatedSection<Known>;

const INCOMPLETE: { kind: 'incomplete' } = { kind: 'incomplete' };
const scanner = new FieldScanner();

function bad(detail: string, code: HeadFaultCode = 'bad_request'): ParseResult<never> {
  return { kind: 'bad', code, detail };
}

/**
 * Parses the request head at `b[start, end)`. Holds no state: call again with all bytes when more have come; the
 * verdict does not depend on how they were cut. Incomplete input over a limit is refused, so a sender can make the
 * caller hold at most `maxHeadBytes`. A caller that gets many small pieces need call again only when a piece holds a
 * line feed or the sum reaches `maxHeadBytes`. `last`: of the same connection; with it the verdict is the same, and
 * sooner.
 */
export function parseRequestHead(
  b: Buffer,
  start: number,
  end: number,
  limits: HeadLimits,
  last: LastFields | null = null,
): ParseResult<RequestHead> {
  const limit = Math.min(end, start + limits.maxHeadBytes);
  const isFull = limit - start >= limits.maxHeadBytes;
  const runOut = isFull ? bad('the head is larger than allowed', 'headers_too_large') : INCOMPLETE;
  let at = start;
  for (let skipped = 0; skipped < MAX_LEADING_EMPTY_LINES && at < limit && b[at] === CR; skipped++) {
    if (at + 1 >= limit) return runOut;
    if (b[at + 1] !== LF) return bad('a carriage return without a line feed');
    at += 2;
  }
  const methodFrom = at;
  while (at < limit && (BYTE_CLASS[b[at]!]! & TOKEN) !== 0) at++;
  const methodTo = at;
  if (methodTo - methodFrom > MAX_METHOD_BYTES) return bad('a method of unknown length', 'not_supported');
  if (at >= limit) return runOut;
  if (b[at] !== SP || methodTo === methodFrom)
    return bad('the request line does not begin with a method and a space');
  const targetFrom = ++at;
  while (at < limit && (BYTE_CLASS[b[at]!]! & TARGET) !== 0) at++;
  const targetTo = at;
  if (targetTo - targetFrom > limits.maxTargetBytes || (at >= limit && isFull)) {
    return bad('the request target is longer than allowed', 'uri_too_long');
  }
  if (at >= limit) return runOut;
  if (b[at] !== SP || targetTo === targetFrom)
    return bad('the request target is empty or holds a forbidden character');
  at++;
  for (let k = 0; k < VERSION.length; k++, at++) {
    if (at >= limit) return runOut;
    if (b[at] !== VERSION.charCodeAt(k)) return bad('the request line does not end with an HTTP/1 version');
  }
  if (at >= limit) return runOut;
  const minorDigit = b[at]! - 0x30;
  if (minorDigit < 0 || minorDigit > 9) return bad('the request line does not end with an HTTP/1 version');
  if (++at >= limit) return runOut;
  if (b[at] !== CR) return bad('the request line does not end with its version and CRLF');
  if (++at >= limit) return runOut;
  if (b[at] !== LF) return bad('a carriage return without a line feed');
  at++;
  const before =
    last === null || minorDigit === 0 || b[targetFrom] !== SLASH ? null : last.match(b, at, limit);
  if (last !== null && before !== null) {
    const line = b.toString('latin1', methodFrom, targetTo);
    const method = line.slice(0, methodTo - methodFrom);
    if (method !== 'CONNECT')
      return again(before, method, line.slice(targetFrom - methodFrom), at + last.length);
  }
  const headEnd = scanner.scan(b, at, limit, limits.maxFields);
  if (headEnd === NEED_MORE) return runOut;
  if (headEnd < 0)
    return bad(fieldFault(headEnd), headEnd === TOO_MANY ? 'headers_too_large' : 'bad_request');
  const text = b.toString('latin1', methodFrom, headEnd);
  const result = judge(
    text.slice(0, methodTo - methodFrom),
    text.slice(targetFrom - methodFrom, targetTo - methodFrom),
    minorDigit === 0 ? 0 : 1,
    scanner.strings(text, methodFrom),
    headEnd,
  );
  if (last !== null && result.kind === 'head' && result.head.minor === 1 && b[targetFrom] === SLASH)
    last.keep(b, at, headEnd, { head: result.head, fields: result.head.fields, repeated: { made: null } });
  return result;
}

/** The same fields say the same, for any method and path: both are asked for `CONNECT` and other forms alone. */
function again(
  { head: before, fields, repeated }: Known,
  method: string,
  target: string,
  end: number,
): ParseResult<RequestHead> {
  const { framing, keepAlive, upgrade, expectContinue, host } = before;
  const head: RequestHead = {
    method,
    target,
    minor: 1,
    fields,
    framing,
    keepAlive,
    upgrade,
    expectContinue,
    host,
    repeated,
  };
  return { kind: 'head', end, head };
}

/** What only the whole head can tell: host, framing, connection. The scanner still holds the kinds of these fields. */
function judge(
  method: string,
  target: string,
  minor: 0 | 1,
  fields: RawFields,
  end: number,
): ParseResult<RequestHead> {
  let host: string | null = null;
  let bytes = -1;
  let coding: string | null = null;
  let options = 0;
  let upgrade = '';
  let expectContinue = false;
  for (let n = 0; n < scanner.count; n++) {
    const kind = scanner.kindOf(n);
    if (kind === OTHER) continue;
    const value = fields[2 * n + 1]!;
    if (kind === HOST) {
      if (host !== null) return bad('more than one Host');
      if (!isHost(value)) return bad('a Host that is not a host and an optional port');
      host = value;
    } else if (kind === CONNECTION) {
      options |= connectionOptions(value);
    } else if (kind === CONTENT_LENGTH) {
      if (bytes !== -1) return bad('more than one Content-Length');
      bytes = contentLength(value);
      if (bytes === -1) return bad('a Content-Length that is not one number');
    } else if (kind === TRANSFER_ENCODING) {
      coding = coding === null ? value : `${coding},${value}`;
    } else if (kind === UPGRADE) {
      upgrade = upgrade === '' ? value : `${upgrade}, ${value}`;
    } else if (kind === EXPECT) {
      expectContinue ||= minor === 1 && value.toLowerCase() === '100-continue';
    }
  }
  if (host === null && minor === 1) return bad('no Host');
  let framing: Framing = { kind: 'none' };
  if (coding !== null) {
    if (bytes !== -1) return bad('both Content-Length and Transfer-Encoding');
    if (minor === 0) return bad('Transfer-Encoding in an HTTP/1.0 request');
    const verdict = transferCoding(coding);
    if (verdict === 'unsupported') return bad('a transfer coding other than chunked', 'not_supported');
    if (verdict === 'bad') return bad('a Transfer-Encoding that does not end the message with chunked');
    framing = { kind: 'chunked' };
  } else if (bytes !== -1) {
    framing = { kind: 'length', bytes };
  }
  const authority = authorityOf(method, target, host ?? '');
  if (authority === null) return bad('a request target that does not fit the method');
  const isUpgrade = minor === 1 && (options & UPGRADES) !== 0 && upgrade !== '';
  return {
    kind: 'head',
    end,
    head: {
      method,
      target,
      minor,
      fields,
      framing,
      keepAlive: minor === 1 && (options & CLOSE) === 0,
      upgrade: isUpgrade ? upgrade : null,
      expectContinue,
      host: authority,
    },
  };
}

/** The effective host of a target, or null where the form and the method do not go together (RFC 9112 §3.2). */
function authorityOf(method: string, target: string, host: string): string | null {
  if (method === 'CONNECT') return isAuthorityForm(target) ? target : null;
  if (target.charCodeAt(0) === 0x2f) return host;
  if (target === '*') return method === 'OPTIONS' ? host : null;
  return splitAbsolute(target)?.authority ?? null;
}
