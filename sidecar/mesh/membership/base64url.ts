/**
 * The characters of base64url, read and written without what Buffer does around it: a MAC and a counter are some bytes,
 * and this runs for each request.
 */
import { Buffer } from 'node:buffer';

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const CODES = Buffer.from(ALPHABET, 'latin1');
const VALUES = new Int8Array(128).fill(-1);
for (let i = 0; i < ALPHABET.length; i++) VALUES[ALPHABET.charCodeAt(i)] = i;

/** 0 to 63; -1 when the character there is not of the alphabet. */
export function digitAt(text: string, at: number): number {
  const code = text.charCodeAt(at);
  return code < 128 ? (VALUES[code] as number) : -1;
}

/** `value` from 0 to 63. */
export function digitFor(value: number): string {
  return ALPHABET[value] as string;
}

const scratch = Buffer.alloc(64);

/** Of at most 48 bytes, and a multiple of 3, so that each has one spelling. */
export function textOf(bytes: Uint8Array): string {
  let at = 0;
  for (let i = 0; i < bytes.length; i += 3, at += 4) {
    const three = (bytes[i]! << 16) | (bytes[i + 1]! << 8) | bytes[i + 2]!;
    scratch[at] = CODES[three >> 18]!;
    scratch[at + 1] = CODES[(three >> 12) & 63]!;
    scratch[at + 2] = CODES[(three >> 6) & 63]!;
    scratch[at + 3] = CODES[three & 63]!;
  }
  return scratch.toString('latin1', 0, at);
}

/**
 * Whether `text` is what `textOf(bytes)` is. Takes as long whatever the characters are, so that the time tells nothing
 * of how many were right.
 */
export function isTextOf(text: string, bytes: Uint8Array): boolean {
  if (text.length * 3 !== bytes.length * 4) return false;
  let difference = 0;
  for (let i = 0, at = 0; i < bytes.length; i += 3, at += 4) {
    const a = digitAt(text, at);
    const b = digitAt(text, at + 1);
    const c = digitAt(text, at + 2);
    const d = digitAt(text, at + 3);
    const three = (a << 18) | (b << 12) | (c << 6) | d;
    difference |= three ^ ((bytes[i]! << 16) | (bytes[i + 1]! << 8) | bytes[i + 2]!);
  }
  return difference === 0;
}
