/**
 * Frames of the WebSocket protocol (RFC 6455 §5) by hand, so that tests choose every bit of them.
 *
 *
 */
import { createHash } from 'node:crypto';

export const OPCODES = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;
export type Opcode = keyof typeof OPCODES;

export interface Frame {
  readonly opcode: Opcode;
  readonly isLast: boolean;
  readonly payload: Buffer;
}

/** `mask`: four bytes for a frame of a client, null for one of a server. */
export function encodeFrame(frame: Frame, mask: Buffer | null): Buffer {
  const { length } = frame.payload;
  const sizeBytes = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const head = Buffer.alloc(2 + sizeBytes);
  head[0] = (frame.isLast ? 0x80 : 0) | OPCODES[frame.opcode];
  head[1] = (mask === null ? 0 : 0x80) | (sizeBytes === 0 ? length : sizeBytes === 2 ? 126 : 127);
  if (sizeBytes === 2) head.writeUInt16BE(length, 2);
  else if (sizeBytes === 8) head.writeBigUInt64BE(BigInt(length), 2);
  if (mask === null) return Buffer.concat([head, frame.payload]);
  const masked = frame.payload.map((byte, i) => byte ^ (mask[i % 4] as number));
  return Buffer.concat([head, mask, masked]);
}

/** The first frame and where it ends; null when it is not whole. */
export function decodeFrame(bytes: Buffer): { frame: Frame; end: number } | null {
  if (bytes.length < 2) return null;
  const first = bytes[0] as number;
  const second = bytes[1] as number;
  const short = second & 0x7f;
  let at = short < 126 ? 2 : short === 126 ? 4 : 10;
  if (bytes.length < at + 4) {
    if (bytes.length < at || (second & 0x80) !== 0) return null;
  }
  const length =
    short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
  const mask = (second & 0x80) === 0 ? null : bytes.subarray(at, at + 4);
  if (mask !== null) at += 4;
  if (bytes.length < at + length) return null;
  const raw = bytes.subarray(at, at + length);
  const payload = Buffer.from(mask === null ? raw : raw.map((byte, i) => byte ^ (mask[i % 4] as number)));
  const names = Object.keys(OPCODES) as Opcode[];
  const opcode = names.find((name) => OPCODES[name] === (first & 0x0f));
  if (opcode === undefined) throw new Error('no opcode of RFC 6455');
  return { frame: { opcode, isLast: (first & 0x80) !== 0, payload }, end: at + length };
}

/** Value of Sec-WebSocket-Accept (RFC 6455 §4.2.2). */
export function acceptOf(key: string): string {
  return createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
}
