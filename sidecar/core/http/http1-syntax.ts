/**
 * The byte classes of HTTP/1.1: which octets a token, a field value, a request target and a host may hold.
 *
 * One table read by index instead of regular expressions, because every byte of every head goes through it.
 */

/** tchar of RFC 9110 §5.6.2: methods and field names. */
export const TOKEN = 1;

/** Octets of a field value, RFC 9110 §5.5: VCHAR, SP, HTAB and obs-text. */
export const VALUE = 2;

/**
 * Octets of a request target: visible ASCII without `#`. RFC 3986 forbids a few of these (`{ } | \ ^ " < >` and
 * the back-tick) that clients do send in queries; they cannot move the end of the target, so they pass untouched.
 * A fragment or an octet over 0x7E is refused: recipients disagree about both.
 */
export const TARGET = 4;

/** Octets of a reg-name, RFC 3986 §3.2.2: unreserved, sub-delims and `%`. */
const REG_NAME = 8;

export const HTAB = 9;
export const LF = 10;
export const CR = 13;
export const SP = 32;
export const COLON = 58;

const ALPHANUMERIC = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

function mark(table: Uint8Array, octets: string, bit: number): void {
  for (let i = 0; i < octets.length; i++) {
    const octet = octets.charCodeAt(i);
    table[octet] = table[octet]! | bit;
  }
}

function buildByteClasses(): Uint8Array {
  const table = new Uint8Array(256);
  mark(table, `!#$%&'*+-.^_\`|~${ALPHANUMERIC}`, TOKEN);
  mark(table, `-._~!$&'()*+,;=%${ALPHANUMERIC}`, REG_NAME);
  table[HTAB] = VALUE;
  for (let octet = 0x20; octet < 0x100; octet++) if (octet !== 0x7f) table[octet] = table[octet]! | VALUE;
  for (let octet = 0x21; octet < 0x7f; octet++) if (octet !== 0x23) table[octet] = table[octet]! | TARGET;
  return table;
}

/** Octet → the classes it belongs to, as bits. */
export const BYTE_CLASS: Uint8Array = buildByteClasses();

function buildHexValues(): Int8Array {
  const table = new Int8Array(256).fill(-1);
  for (let digit = 0; digit < 10; digit++) table[0x30 + digit] = digit;
  for (let digit = 10; digit < 16; digit++) {
    table[0x41 + digit - 10] = digit;
    table[0x61 + digit - 10] = digit;
  }
  return table;
}

/** Octet → value of a hexadecimal digit, -1 for any other octet. */
export const HEX_VALUE: Int8Array = buildHexValues();

function isAllOf(text: string, bit: number): boolean {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit > 0xff || (BYTE_CLASS[unit]! & bit) === 0) return false;
  }
  return true;
}

export function isToken(text: string): boolean {
  return text.length > 0 && isAllOf(text, TOKEN);
}

/** Also false for code units over 0xFF: written as latin1 they lose their high byte, and U+010A becomes a line feed. */
export function isFieldValue(text: string): boolean {
  return isAllOf(text, VALUE);
}

export function isRegName(text: string): boolean {
  if (!isAllOf(text, REG_NAME)) return false;
  for (let at = text.indexOf('%'); at !== -1; at = text.indexOf('%', at + 1)) {
    if (!isHexDigit(text, at + 1) || !isHexDigit(text, at + 2)) return false;
  }
  return true;
}

function isHexDigit(text: string, at: number): boolean {
  return at < text.length && HEX_VALUE[text.charCodeAt(at) & 0xff]! >= 0;
}

/** Removes only SP and HTAB at both ends; `trim()` would also take U+00A0, which is obs-text here. */
export function trimOws(text: string): string {
  let from = 0;
  let to = text.length;
  while (from < to && isOws(text.charCodeAt(from))) from++;
  while (to > from && isOws(text.charCodeAt(to - 1))) to--;
  return from === 0 && to === text.length ? text : text.slice(from, to);
}

function isOws(unit: number): boolean {
  return unit === SP || unit === HTAB;
}
