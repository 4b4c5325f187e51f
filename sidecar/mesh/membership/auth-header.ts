/**
 * The `sidecar-auth` header: its text, read and written.
 *
 * `v1.<certificate>.<time>.<nonce>.<mac>` on a request, `v1.<time>.<mac>` on a response; certificate, nonce and MAC in
 * base64url. All but the certificate have a fixed length, so reading is slicing from the end: no splitting, no regular
 * expression, on a header that comes with every request and from anyone.
 */
import { Buffer } from 'node:buffer';
import sodium from 'sodium-universal';
import { MAX_CERTIFICATE_BYTES } from '../../core/peers/certificate.ts';
import { digitAt, digitFor } from './base64url.ts';
import { MAC_CHARS } from './message-mac.ts';

/** Unix ms: 13 digits from 2001 to 2286. */
const TIME_CHARS = 13;

/** Half of a nonce: 48 bits. */
export const HALF_CHARS = 8;
const NONCE_CHARS = 2 * HALF_CHARS;
const TAIL_CHARS = 1 + TIME_CHARS + 1 + NONCE_CHARS + 1 + MAC_CHARS;
const VERSION = 'v1.';
const MAX_CERT_CHARS = Math.ceil((MAX_CERTIFICATE_BYTES * 4) / 3);

/** No longer header is looked at. */
const MAX_AUTH_CHARS = VERSION.length + MAX_CERT_CHARS + TAIL_CHARS;

export interface RequestStamp {
  /** The certificate as it stands in the header; the characters are not checked. */
  readonly cert: string;
  /** Unix ms, as digits and as a number. */
  readonly time: string;
  readonly timeMs: number;
  /** Session and counter, 8 characters of base64url each. */
  readonly nonce: string;
  readonly counter: number;
  /** 24 characters, not checked. */
  readonly mac: string;
}

/** Null for anything but a well-formed version 1 header. Never throws. */
export function readRequestHeader(header: string): RequestStamp | null {
  const certEnd = header.length - TAIL_CHARS;
  if (certEnd <= VERSION.length || header.length > MAX_AUTH_CHARS || !header.startsWith(VERSION)) return null;
  const timeAt = certEnd + 1;
  const nonceAt = timeAt + TIME_CHARS + 1;
  const macAt = nonceAt + NONCE_CHARS + 1;
  const dot = 0x2e;
  if (
    header.charCodeAt(certEnd) !== dot ||
    header.charCodeAt(nonceAt - 1) !== dot ||
    header.charCodeAt(macAt - 1) !== dot
  ) {
    return null;
  }
  const time = header.slice(timeAt, timeAt + TIME_CHARS);
  const timeMs = readDigits(time);
  const nonce = header.slice(nonceAt, nonceAt + NONCE_CHARS);
  const session = readHalf(nonce, 0);
  const counter = readHalf(nonce, HALF_CHARS);
  if (timeMs < 0 || session < 0 || counter < 0) return null;
  return {
    cert: header.slice(VERSION.length, certEnd),
    time,
    timeMs,
    nonce,
    counter,
    mac: header.slice(macAt),
  };
}

export function writeRequestHeader(cert: string, time: string, nonce: string, mac: string): string {
  return `${VERSION}${cert}.${time}.${nonce}.${mac}`;
}

export interface ResponseStamp {
  /** Unix ms by the clock of the one who answers, as digits and as a number. */
  readonly time: string;
  readonly timeMs: number;
  /** 24 characters, not checked. */
  readonly mac: string;
}

/** Null for anything but a well-formed version 1 header. Never throws. */
export function readResponseHeader(header: string): ResponseStamp | null {
  const timeEnd = VERSION.length + TIME_CHARS;
  if (header.length !== timeEnd + 1 + MAC_CHARS || !header.startsWith(VERSION)) return null;
  const time = header.slice(VERSION.length, timeEnd);
  const timeMs = readDigits(time);
  if (timeMs < 0 || header[timeEnd] !== '.') return null;
  return { time, timeMs, mac: header.slice(timeEnd + 1) };
}

export function writeResponseHeader(time: string, mac: string): string {
  return `${VERSION}${time}.${mac}`;
}

/** For a clock that no header can tell. */
export const NO_TIME = '0'.repeat(TIME_CHARS);

let lastTimeMs = Number.NaN;
let lastTimeText = '';

/** Time of a header; '' when the clock is outside of what 13 digits can say. */
export function timeText(nowMs: number): string {
  const wholeMs = Math.floor(nowMs);
  if (wholeMs !== lastTimeMs) {
    const text = String(wholeMs);
    lastTimeMs = wholeMs;
    lastTimeText = text.length === TIME_CHARS && readDigits(text) >= 0 ? text : '';
  }
  return lastTimeText;
}

export function isNonce(text: string): boolean {
  return counterOf(text) >= 0;
}

/** The counter in a nonce; -1 when it is none. */
export function counterOf(nonce: string): number {
  return nonce.length === NONCE_CHARS && readHalf(nonce, 0) >= 0 ? readHalf(nonce, HALF_CHARS) : -1;
}

/** All characters but the last of the counter that was written last, and what they say. */
let lastHigh = 0;
let lastHighText = 'A'.repeat(HALF_CHARS - 1);

/** 8 characters of base64url, big-endian, for a whole number below 2⁴⁸. */
export function writeHalf(value: number): string {
  const high = Math.floor(value / 64);
  if (high !== lastHigh) {
    let text = '';
    for (let rest = high, i = 1; i < HALF_CHARS; i++) {
      text = digitFor(rest % 64) + text;
      rest = Math.floor(rest / 64);
    }
    lastHigh = high;
    lastHighText = text;
  }
  return lastHighText + digitFor(value % 64);
}

/** -1 when a character is not of the alphabet. */
function readHalf(text: string, from: number): number {
  let value = 0;
  for (let i = from; i < from + HALF_CHARS; i++) {
    const digit = digitAt(text, i);
    if (digit < 0) return -1;
    value = value * 64 + digit;
  }
  return value;
}

/** -1 when a character is not a digit. */
function readDigits(text: string): number {
  let value = 0;
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}

/** The first half of nonces: tells the lives of one worker key apart, by 48 random bits. */
export function newSession(): string {
  const bytes = Buffer.alloc(6);
  sodium.randombytes_buf(bytes);
  return bytes.toString('base64url');
}
