/**
 * The head of an HTTP/1.1 message as text: the counterpart of the head parsers.
 *
 * Strings instead of buffers, because one `socket.write(text, 'latin1')` is the cheapest write there is. Nothing is
 * checked here: fields that were parsed are clean, and a value that comes from elsewhere (a record, a config) must pass
 * `isFieldValue` of http1-syntax before it is put into a field.
 */
import type { RawFields } from './message.ts';

/** `name: value CRLF` for each field from an index on, without the empty line. */
export function fieldLines(fields: RawFields, from = 0): string {
  let text = '';
  for (let i = from; i < fields.length; i += 2) text += `${fields[i]!}: ${fields[i + 1]!}\r\n`;
  return text;
}

/** Always HTTP/1.1: an intermediary sends its own version (RFC 9110 §2.5). Write it as latin1. */
export function encodeRequestHead(method: string, target: string, fields: RawFields): string {
  return `${method} ${target} HTTP/1.1\r\n${fieldLines(fields)}\r\n`;
}

/** Always HTTP/1.1, also to a client of HTTP/1.0 (RFC 9110 §6.2). Write it as latin1. */
export function encodeResponseHead(status: number, reason: string, fields: RawFields): string {
  return `HTTP/1.1 ${status} ${reason}\r\n${fieldLines(fields)}\r\n`;
}

/** Fields that are sent again and again, and their lines, which are made once, when they are first asked for. */
export class FieldLines {
  readonly fields: RawFields;
  #text: string | null = null;

  constructor(fields: RawFields) {
    this.fields = fields;
  }

  get text(): string {
    // In one piece: what is put together is made anew from its pieces each time.
    this.#text ??= Buffer.from(fieldLines(this.fields), 'latin1').toString('latin1');
    return this.#text;
  }
}
