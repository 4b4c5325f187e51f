/**
 * The field section of an HTTP/1.1 message: from its bytes to names and values, strictly.
 *
 * The scanner walks the bytes once and only notes offsets; strings are cut from one latin1 copy when the section is
 * complete, because ten small copies cost more than the whole scan. Headers, trailers, requests and responses share it.
 */
import { BYTE_CLASS, COLON, CR, HTAB, LF, SP, TOKEN, VALUE } from './http1-syntax.ts';
import type { RawFields } from './message.ts';

/** The fields that the head parsers look into, by `FieldScanner.kindOf`. */
export const OTHER = 0;
export const HOST = 1;
export const CONTENT_LENGTH = 2;
export const TRANSFER_ENCODING = 3;
export const CONNECTION = 4;
export const UPGRADE = 5;
export const EXPECT = 6;

/** A result of `scan`: the section goes on after the bytes given. */
export const NEED_MORE = 0;

/** A result of `scan`: more fields than allowed. */
export const TOO_MANY = -1;
const FOLDED = -2;
const SPACE_BEFORE_COLON = -3;
const NO_NAME = -4;
const BAD_NAME = -5;
const BAD_VALUE = -6;
const BARE_CR = -7;
const BARE_LF = -8;

const FAULTS: Readonly<Record<number, string>> = {
  [TOO_MANY]: 'more header fields than allowed',
  [FOLDED]: 'a line that begins with white space (obs-fold)',
  [SPACE_BEFORE_COLON]: 'white space between a field name and its colon',
  [NO_NAME]: 'a field without a name',
  [BAD_NAME]: 'a character that a field name cannot hold',
  [BAD_VALUE]: 'a control character in a field value',
  [BARE_CR]: 'a carriage return without a line feed',
  [BARE_LF]: 'a line feed without a carriage return',
};

/** The words for a negative result of `scan`. */
export function fieldFault(result: number): string {
  return FAULTS[result] ?? 'a malformed field';
}

const OFFSETS_PER_FIELD = 4;
const INITIAL_FIELDS = 64;

/** Scans one section at a time; what it noted is valid until the next `scan`. */
export class FieldScanner {
  /** Fields of the last complete section. */
  count = 0;
  #offsets = new Int32Array(INITIAL_FIELDS * OFFSETS_PER_FIELD);
  #kinds = new Uint8Array(INITIAL_FIELDS);

  /**
   * Reads `b[from, limit)` as field lines and the empty line that ends them.
   *
   * @returns the index after that empty line, NEED_MORE, or a negative fault (see `fieldFault`). A fault is found at
   *   the first byte that cannot belong to a valid section, however the bytes arrive.
   */
  scan(b: Buffer, from: number, limit: number, maxFields: number): number {
    const classes = BYTE_CLASS;
    let at = from;
    let n = 0;
    for (;;) {
      if (at >= limit) return NEED_MORE;
      const first = b[at]!;
      if ((classes[first]! & TOKEN) === 0) {
        if (first !== CR) return lineFault(first);
        if (at + 1 >= limit) return NEED_MORE;
        if (b[at + 1] !== LF) return BARE_CR;
        this.count = n;
        return at + 2;
      }
      if (n === maxFields) return TOO_MANY;
      const nameFrom = at;
      do at++;
      while (at < limit && (classes[b[at]!]! & TOKEN) !== 0);
      if (at >= limit) return NEED_MORE;
      if (b[at] !== COLON) return nameFault(b[at]!);
      const nameTo = at;
      do at++;
      while (at < limit && (b[at] === SP || b[at] === HTAB));
      const valueFrom = at;
      while (at < limit && (classes[b[at]!]! & VALUE) !== 0) at++;
      if (at >= limit) return NEED_MORE;
      if (b[at] !== CR) return b[at] === LF ? BARE_LF : BAD_VALUE;
      if (at + 1 >= limit) return NEED_MORE;
      if (b[at + 1] !== LF) return BARE_CR;
      let valueTo = at;
      while (valueTo > valueFrom && (b[valueTo - 1] === SP || b[valueTo - 1] === HTAB)) valueTo--;
      this.#note(n++, b, nameFrom, nameTo, valueFrom, valueTo);
      at += 2;
    }
  }

  kindOf(index: number): number {
    return this.#kinds[index]!;
  }

  /** Cuts the fields of the last section from `text`, the latin1 form of the bytes from index `base` on. */
  strings(text: string, base: number): RawFields {
    const fields: RawFields = [];
    const offsets = this.#offsets;
    const end = this.count * OFFSETS_PER_FIELD;
    for (let k = 0; k < end; k += OFFSETS_PER_FIELD) {
      fields.push(
        text.slice(offsets[k]! - base, offsets[k + 1]! - base),
        text.slice(offsets[k + 2]! - base, offsets[k + 3]! - base),
      );
    }
    return fields;
  }

  #note(n: number, b: Buffer, nameFrom: number, nameTo: number, valueFrom: number, valueTo: number): void {
    if (n === this.#kinds.length) this.#grow();
    const k = n * OFFSETS_PER_FIELD;
    const offsets = this.#offsets;
    offsets[k] = nameFrom;
    offsets[k + 1] = nameTo;
    offsets[k + 2] = valueFrom;
    offsets[k + 3] = valueTo;
    this.#kinds[n] = kindOfName(b, nameFrom, nameTo - nameFrom);
  }

  #grow(): void {
    const offsets = new Int32Array(this.#offsets.length * 2);
    offsets.set(this.#offsets);
    this.#offsets = offsets;
    const kinds = new Uint8Array(this.#kinds.length * 2);
    kinds.set(this.#kinds);
    this.#kinds = kinds;
  }
}

function lineFault(first: number): number {
  if (first === SP || first === HTAB) return FOLDED;
  if (first === LF) return BARE_LF;
  return first === COLON ? NO_NAME : BAD_NAME;
}

function nameFault(found: number): number {
  return found === SP || found === HTAB ? SPACE_BEFORE_COLON : BAD_NAME;
}

function kindOfName(b: Buffer, from: number, length: number): number {
  switch (length) {
    case 4:
      return isName(b, from, 'host') ? HOST : OTHER;
    case 6:
      return isName(b, from, 'expect') ? EXPECT : OTHER;
    case 7:
      return isName(b, from, 'upgrade') ? UPGRADE : OTHER;
    case 10:
      return isName(b, from, 'connection') ? CONNECTION : OTHER;
    case 14:
      return isName(b, from, 'content-length') ? CONTENT_LENGTH : OTHER;
    case 17:
      return isName(b, from, 'transfer-encoding') ? TRANSFER_ENCODING : OTHER;
    default:
      return OTHER;
  }
}

/** The bytes are token characters, so setting bit 0x20 folds the case and maps nothing else onto a letter or `-`. */
function isName(b: Buffer, from: number, lowerName: string): boolean {
  for (let k = 0; k < lowerName.length; k++) {
    if ((b[from + k]! | 0x20) !== lowerName.charCodeAt(k)) return false;
  }
  return true;
}
