/**
 * Where an HTTP/1.1 message ends, and whether its connection goes on (RFC 9112 §6, §9).
 *
 * Apart from the head parsers, because requests, responses and forwarding must judge these values by the same rules:
 * every request-smuggling bug is two parties that judge them differently.
 */
import { trimOws } from './http1-syntax.ts';
import type { Framing, RawFields } from './message.ts';

/** Longest Content-Length taken: 15 digits, about 900 TiB, always a safe integer. */
const MAX_LENGTH_DIGITS = 15;

/**
 * Reads `1*DIGIT` (RFC 9110 §8.6).
 *
 * @returns the length in bytes, or -1 for anything else: signs, hexadecimal, a list (also of equal numbers), nothing.
 */
export function contentLength(value: string): number {
  if (value.length === 0 || value.length > MAX_LENGTH_DIGITS) return -1;
  let bytes = 0;
  for (let i = 0; i < value.length; i++) {
    const digit = value.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9) return -1;
    bytes = bytes * 10 + digit;
  }
  return bytes;
}

/**
 * Judges the joined values of Transfer-Encoding: `unsupported` where the length is certain but another coding is
 * applied under `chunked` (501), `bad` where the length cannot be known (RFC 9112 §6.3: 400).
 */
export function transferCoding(joined: string): 'chunked' | 'unsupported' | 'bad' {
  if (joined === 'chunked') return 'chunked';
  const codings = joined.toLowerCase().split(',');
  const last = codings.length - 1;
  for (let i = 0; i <= last; i++) {
    const coding = trimOws(codings[i]!);
    if (coding === '' || coding === 'identity' || (coding === 'chunked') !== (i === last)) return 'bad';
  }
  return last === 0 ? 'chunked' : 'unsupported';
}

export const CLOSE = 1;
export const KEEP_ALIVE = 2;
export const UPGRADES = 4;

/** The options of one Connection value that matter here, as bits. */
export function connectionOptions(value: string): number {
  switch (value) {
    case 'keep-alive':
      return KEEP_ALIVE;
    case 'close':
      return CLOSE;
    case 'Upgrade':
      return UPGRADES;
    default:
  }
  let bits = 0;
  for (const element of value.toLowerCase().split(',')) {
    const option = trimOws(element);
    if (option === 'close') bits |= CLOSE;
    else if (option === 'keep-alive') bits |= KEEP_ALIVE;
    else if (option === 'upgrade') bits |= UPGRADES;
  }
  return bits;
}

/** Whether a byte of body may come. */
export function hasBody(framing: Framing): boolean {
  return framing.kind === 'length' ? framing.bytes > 0 : framing.kind !== 'none';
}

/**
 * Framing of a response (RFC 9112 §6.3), from its own fields and the request's method.
 *
 * Stricter than the RFC where that allows a guess. These are `bad`: Content-Length beside Transfer-Encoding, a repeated
 * Content-Length, another coding than `chunked`, a 1xx or 204 that announces content. After `close`, whatever the head
 * said, the connection cannot be used again.
 */
export function responseFraming(
  head: { status: number; minor: 0 | 1; fields: RawFields },
  requestMethod: string,
): Framing | { kind: 'bad'; detail: string } {
  const { status, fields } = head;
  if (requestMethod === 'CONNECT' && status >= 200 && status < 300) return { kind: 'none' };
  let bytes = -1;
  let coding: string | null = null;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!;
    if (name.length === 14 && name.toLowerCase() === 'content-length') {
      if (bytes !== -1) return { kind: 'bad', detail: 'more than one Content-Length' };
      bytes = contentLength(fields[i + 1]!);
      if (bytes === -1) return { kind: 'bad', detail: 'a Content-Length that is not one number' };
    } else if (name.length === 17 && name.toLowerCase() === 'transfer-encoding') {
      coding = coding === null ? fields[i + 1]! : `${coding},${fields[i + 1]!}`;
    }
  }
  if (coding !== null) {
    if (bytes !== -1) return { kind: 'bad', detail: 'both Content-Length and Transfer-Encoding' };
    if (head.minor === 0) return { kind: 'bad', detail: 'Transfer-Encoding in an HTTP/1.0 response' };
    if (transferCoding(coding) !== 'chunked') {
      return { kind: 'bad', detail: 'a Transfer-Encoding other than chunked' };
    }
  }
  if (status < 200 || status === 204) {
    if (coding !== null || bytes > 0) return { kind: 'bad', detail: `content announced by a ${status}` };
    return { kind: 'none' };
  }
  if (status === 304 || requestMethod === 'HEAD') return { kind: 'none' };
  if (coding !== null) return { kind: 'chunked' };
  return bytes === -1 ? { kind: 'close' } : { kind: 'length', bytes };
}
