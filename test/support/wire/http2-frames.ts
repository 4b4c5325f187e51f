/**
 * HTTP/2 frames as bytes (RFC 9113 §4 and §6), for tests that say what no library would send.
 *
 * Field blocks are literals without indexing and without Huffman (RFC 7541 §6.2.2), which every decoder takes; blocks
 * that come in are not decoded.
 */

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

export const DATA = 0;
export const HEADERS = 1;
export const PRIORITY = 2;
export const RST_STREAM = 3;
export const SETTINGS = 4;
export const PING = 6;
export const GOAWAY = 7;
const WINDOW_UPDATE = 8;
export const CONTINUATION = 9;

export const END_STREAM = 1;
export const ACK = 1;
export const END_HEADERS = 4;

export const NO_ERROR = 0;
export const PROTOCOL_ERROR = 1;
export const INTERNAL_ERROR = 2;
export const REFUSED_STREAM = 7;
export const CANCEL = 8;
export const ENHANCE_YOUR_CALM = 11;

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export function frame(type: number, flags: number, stream: number, payload: Buffer | string = ''): Buffer {
  const body = typeof payload === 'string' ? Buffer.from(payload, 'latin1') : payload;
  const head = Buffer.alloc(9);
  head.writeUIntBE(body.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, body]);
}

/** The first whole frame of `bytes`; null while it is not there. */
export function readFrame(bytes: Buffer): { readonly frame: Frame; readonly length: number } | null {
  if (bytes.length < 9) return null;
  const length = 9 + bytes.readUIntBE(0, 3);
  if (bytes.length < length) return null;
  const stream = bytes.readUInt32BE(5) & 0x7fffffff;
  const payload = Buffer.from(bytes.subarray(9, length));
  return { frame: { type: bytes[3] as number, flags: bytes[4] as number, stream, payload }, length };
}

function hpackLength(length: number): Buffer {
  if (length < 127) return Buffer.from([length]);
  const octets = [127];
  let rest = length - 127;
  for (; rest >= 128; rest = Math.floor(rest / 128)) octets.push((rest % 128) + 128);
  octets.push(rest);
  return Buffer.from(octets);
}

function hpackText(text: string): Buffer {
  return Buffer.concat([hpackLength(text.length), Buffer.from(text, 'latin1')]);
}

/** Flat `[name, value, …]` → a field block. */
export function fieldBlock(fields: readonly string[]): Buffer {
  const parts: Buffer[] = [];
  for (let i = 0; i < fields.length; i += 2) {
    parts.push(Buffer.from([0]), hpackText(fields[i] as string), hpackText(fields[i + 1] as string));
  }
  return Buffer.concat(parts);
}

export function headers(stream: number, fields: readonly string[], flags: number): Buffer {
  return frame(HEADERS, flags | END_HEADERS, stream, fieldBlock(fields));
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function reset(stream: number, code: number): Buffer {
  return frame(RST_STREAM, 0, stream, word(code));
}

export function goaway(lastStream: number, code: number): Buffer {
  return frame(GOAWAY, 0, 0, Buffer.concat([word(lastStream), word(code)]));
}

export function settings(values: Readonly<Record<number, number>> = {}): Buffer {
  const parts = Object.entries(values).map(([id, value]) => {
    const entry = Buffer.alloc(6);
    entry.writeUInt16BE(Number(id), 0);
    entry.writeUInt32BE(value, 2);
    return entry;
  });
  return frame(SETTINGS, 0, 0, Buffer.concat(parts));
}

export function settingsAck(): Buffer {
  return frame(SETTINGS, ACK, 0);
}

export function windowUpdate(stream: number, bytes: number): Buffer {
  return frame(WINDOW_UPDATE, 0, stream, word(bytes));
}
