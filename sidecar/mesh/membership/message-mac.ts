/**
 * The message MAC: which bytes of a request or response are authenticated, and how.
 *
 * BLAKE2b keyed (0.5 µs by sodium) instead of HMAC-SHA-256 (2 µs by node:crypto on the same machine), written into
 * buffers that are kept: this runs four times for each forwarded request.
 */
import { Buffer } from 'node:buffer';
import sodium from 'sodium-universal';
import { isTextOf, textOf } from './base64url.ts';

/** BLAKE2b-144: a MAC that fills its base64url characters, so that it has one spelling. */
const MAC_BYTES = 18;
export const MAC_CHARS = 24;

/** Texts up to a third of this need no allocation; most targets are far shorter. */
const SCRATCH_BYTES = 8192;

const scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
const output = Buffer.alloc(MAC_BYTES);

/** 24 characters of base64url. */
export function macOf(text: string, key: Buffer): string {
  return textOf(macBytes(text, key));
}

/** Compares in constant time with the MAC that `text` has. */
export function hasMac(text: string, key: Buffer, mac: string): boolean {
  return isTextOf(mac, macBytes(text, key));
}

/** Good until the next call. */
function macBytes(text: string, key: Buffer): Buffer {
  // UTF-8 takes at most 3 bytes for each unit of a string.
  const fits = text.length * 3 <= SCRATCH_BYTES;
  const input = fits ? scratch.subarray(0, scratch.write(text, 0)) : Buffer.from(text, 'utf8');
  sodium.crypto_generichash(output, input, key);
  return output;
}

/** Stands for a certificate in the text of a request: its hash. */
export function certTagOf(certBytes: Buffer): string {
  const hash = Buffer.alloc(MAC_BYTES);
  sodium.crypto_generichash(hash, certBytes);
  return hash.toString('base64url');
}

/** Time, nonce and tag have fixed lengths, method and service say theirs: no two requests give the same text. */
export function requestText(
  time: string,
  nonce: string,
  certTag: string,
  request: { readonly method: string; readonly target: string; readonly service: string },
): string {
  const { method, target, service } = request;
  return `${time}${nonce}${certTag}${method.length}:${method}${service.length}:${service}${target}`;
}

/** Nonce and time have fixed lengths. */
export function responseText(nonce: string, time: string, status: number): string {
  return `${nonce}${time}${status}`;
}
