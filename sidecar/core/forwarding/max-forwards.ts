/**
 * Max-Forwards (RFC 9110 §7.6.2): how many more times an OPTIONS or TRACE may be forwarded.
 *
 * Every sidecar is a hop and counts itself, so that a sender can ask each one on the way in turn. Other methods carry
 * the field unread.
 */
import { without } from '../http/headers.ts';
import { fieldLines } from '../http/http1-encode.ts';
import type { RawFields, RequestHead } from '../http/message.ts';
import { isSidecarHeader } from './sidecar-headers.ts';

/** The largest value that is sent on; a larger one becomes this. */
const MAX_HOPS = 999_999_999;

export type Hops =
  | { readonly kind: 'unlimited' }
  | { readonly kind: 'left'; readonly count: number }
  /** Not one decimal number: whoever guesses here may forward for ever. */
  | { readonly kind: 'bad' };

const UNLIMITED: Hops = { kind: 'unlimited' };

function isCounted(method: string): boolean {
  return method === 'OPTIONS' || method === 'TRACE';
}

function isMaxForwards(name: string): boolean {
  return name.length === 12 && name.toLowerCase() === 'max-forwards';
}

/** How often the request may be forwarded, by us and all after us; 0: whoever reads this is its last recipient. */
export function hopsOf(method: string, fields: RawFields): Hops {
  if (!isCounted(method)) return UNLIMITED;
  let value: string | null = null;
  for (let i = 0; i < fields.length; i += 2) {
    if (!isMaxForwards(fields[i]!)) continue;
    if (value !== null) return { kind: 'bad' };
    value = fields[i + 1]!;
  }
  if (value === null) return UNLIMITED;
  return /^\d+$/.test(value) ? { kind: 'left', count: Math.min(Number(value), MAX_HOPS) } : { kind: 'bad' };
}

/** Counts this hop in the fields for the next one, where anything is counted. Only for what may be forwarded. */
export function countHop(method: string, fields: RawFields): void {
  const hops = hopsOf(method, fields);
  if (hops.kind !== 'left') return;
  const count = String(Math.max(0, hops.count - 1));
  for (let i = 0; i < fields.length; i += 2) if (isMaxForwards(fields[i]!)) fields[i + 1] = count;
}

const SECRET: ReadonlySet<string> = new Set(['authorization', 'proxy-authorization', 'cookie', 'cookie2']);

function isSecret(lowerName: string): boolean {
  return SECRET.has(lowerName) || isSidecarHeader(lowerName) || /token|secret|api-?key/.test(lowerName);
}

/** The head without its secrets, in the form of HTTP/1.1 whatever it came in. */
export function traceContent(head: RequestHead): Buffer {
  const fields = without(head.fields, isSecret);
  const line = `${head.method} ${head.target} HTTP/1.${head.minor}`;
  return Buffer.from(`${line}\r\n${fieldLines(fields)}\r\n`, 'latin1');
}
