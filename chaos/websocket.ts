/**
 * As much of RFC 6455 as an echo needs: the accept key, and text frames under 64 KiB, both ways.
 *
 * By hand, since a library on both ends would hide what a proxy did to the bytes between. It must not know sockets.
 */
import { createHash } from 'node:crypto';

// RFC 6455 §1.3.
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const TEXT = 0x81;
export const CLOSE = Buffer.from([0x88, 0x80, 0, 0, 0, 0]);

export function acceptKey(key: string): string {
  return createHash('sha1').update(`${key}${GUID}`).digest('base64');
}

/** One text frame; `mask` is null for a server's. */
export function encodeFrame(text: string, mask: Buffer | null): Buffer {
  const payload = Buffer.from(text);
  const isLong = payload.length > 125;
  const head = Buffer.alloc(isLong ? 4 : 2);
  head[0] = TEXT;
  head[1] = (isLong ? 126 : payload.length) | (mask === null ? 0 : 0x80);
  if (isLong) head.writeUInt16BE(payload.length, 2);
  if (mask === null) return Buffer.concat([head, payload]);
  return Buffer.concat([head, mask, masked(payload, mask)]);
}

/** The whole text frames in `bytes`, whether a close frame is among them, and what is left of an unfinished one. */
export function decodeFrames(bytes: Buffer): { messages: string[]; isClosed: boolean; left: Buffer } {
  const messages: string[] = [];
  let at = 0;
  for (;;) {
    const first = bytes[at];
    const second = bytes[at + 1];
    if (first === undefined || second === undefined) break;
    const short = second & 0x7f;
    const lengthBytes = short === 126 ? 2 : 0;
    const maskBytes = second & 0x80 ? 4 : 0;
    const payloadAt = at + 2 + lengthBytes + maskBytes;
    if (bytes.length < payloadAt) break;
    const length = lengthBytes === 0 ? short : bytes.readUInt16BE(at + 2);
    if (bytes.length < payloadAt + length) break;
    if ((first & 0x0f) === 8) return { messages, isClosed: true, left: Buffer.alloc(0) };
    const payload = bytes.subarray(payloadAt, payloadAt + length);
    const mask = bytes.subarray(payloadAt - maskBytes, payloadAt);
    messages.push((maskBytes === 0 ? payload : masked(payload, mask)).toString('utf8'));
    at = payloadAt + length;
  }
  return { messages, isClosed: false, left: Buffer.from(bytes.subarray(at)) };
}

function masked(payload: Buffer, mask: Buffer): Buffer {
  return Buffer.from(payload.map((byte, i) => byte ^ (mask[i & 3] as number)));
}
