/**
 * The four forms of a request target (RFC 9112 §3.2) and the authority inside them (RFC 3986 §3.2).
 *
 * Own code instead of `URL`, which rewrites what it reads (dot segments, percent-encoding, case): the target must reach
 * the worker byte for byte.
 */
import { isRegName } from './http1-syntax.ts';

export interface AbsoluteTarget {
  /** As received; compare without case. */
  readonly scheme: string;
  /** `host[:port]`, as received, checked; the host is never empty. */
  readonly authority: string;
  /** Path and query as received: '' or begins with `/` or `?`. */
  readonly rest: string;
}

/**
 * Whether `text` is `uri-host [":" port]` of RFC 9110 §7.2. An empty text is: a client without an authority sends
 * an empty Host. User information (`user@host`) is not (RFC 9110 §4.2.4).
 */
export function isHost(text: string): boolean {
  let hostEnd = text.length;
  if (text.charCodeAt(0) === 0x5b) {
    const close = text.indexOf(']');
    if (close === -1 || !isIpLiteral(text.slice(1, close))) return false;
    if (close + 1 === text.length) return true;
    if (text.charCodeAt(close + 1) !== 0x3a) return false;
    return isPort(text.slice(close + 2));
  }
  const colon = text.indexOf(':');
  if (colon !== -1) {
    if (!isPort(text.slice(colon + 1))) return false;
    hostEnd = colon;
  }
  if (hostEnd === 0) return text.length === 0;
  return isRegName(colon === -1 ? text : text.slice(0, hostEnd));
}

/** IPv6 by its characters alone: a wrong address is refused when it is used, and the brackets bound it here. */
function isIpLiteral(inside: string): boolean {
  if (inside.length < 2 || inside.length > 45) return false;
  for (let i = 0; i < inside.length; i++) {
    const unit = inside.charCodeAt(i);
    const isHex =
      (unit >= 0x30 && unit <= 0x3a) || (unit >= 0x41 && unit <= 0x46) || (unit >= 0x61 && unit <= 0x66);
    if (!isHex && unit !== 0x2e) return false;
  }
  return inside.includes(':');
}

/** `*DIGIT`, at most 65535; empty is allowed by the grammar (`example.com:`). */
function isPort(text: string): boolean {
  if (text.length > 5) return false;
  let port = 0;
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9) return false;
    port = port * 10 + digit;
  }
  return port <= 65_535;
}

/** Splits `scheme://authority[path][?query]`; null when it is not that. */
export function splitAbsolute(target: string): AbsoluteTarget | null {
  const colon = target.indexOf(':');
  if (colon < 1 || !isScheme(target, colon) || !target.startsWith('//', colon + 1)) return null;
  const from = colon + 3;
  let to = from;
  while (to < target.length && target[to] !== '/' && target[to] !== '?') to++;
  const authority = target.slice(from, to);
  if (authority === '' || !isHost(authority)) return null;
  return { scheme: target.slice(0, colon), authority, rest: target.slice(to) };
}

function isScheme(target: string, end: number): boolean {
  for (let i = 0; i < end; i++) {
    const unit = target.charCodeAt(i);
    const lower = unit | 0x20;
    if (lower >= 0x61 && lower <= 0x7a) continue;
    const isLater = (unit >= 0x30 && unit <= 0x39) || unit === 0x2b || unit === 0x2d || unit === 0x2e;
    if (i === 0 || !isLater) return false;
  }
  return true;
}

/** `host:port` of a CONNECT, both required (RFC 9112 §3.2.3). */
export function isAuthorityForm(target: string): boolean {
  const colon = target.lastIndexOf(':');
  return colon > 0 && colon < target.length - 1 && isHost(target);
}
