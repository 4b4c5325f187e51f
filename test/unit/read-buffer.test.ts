import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ReadBuffer } from '../../sidecar/http/sockets/read-buffer.ts';

/** What net does: fills the buffer that it was given last, calls back, asks for the next one. */
function reads(read: ReadBuffer, pieces: readonly Buffer[]): void {
  const { buffer, callback } = read.onread;
  if (typeof buffer !== 'function') throw new Error('a function is wanted');
  let target = buffer();
  for (const piece of pieces) {
    for (let at = 0; at < piece.length; ) {
      const bytes = piece.copy(target, 0, at);
      callback(bytes, target);
      target = buffer();
      at += bytes;
    }
  }
}

describe('the read buffer of a socket', () => {
  test('what is kept is never written over, what is not is read into again', () => {
    const piece = fc.record({ bytes: fc.integer({ min: 1, max: 200_000 }), isKept: fc.boolean() });
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
        const read = new ReadBuffer();
        const kept: { chunk: Buffer; copy: Buffer }[] = [];
        let isKept = false;
        read.onChunk = (chunk) => {
          if (isKept) kept.push({ chunk, copy: Buffer.from(chunk) });
          return isKept;
        };
        pieces.forEach((each, index) => {
          isKept = each.isKept;
          reads(read, [Buffer.alloc(each.bytes, index + 1)]);
        });
        for (const { chunk, copy } of kept) expect(chunk).toStrictEqual(copy);
      }),
      { numRuns: 50 },
    );
  });

  test('it grows while reads fill it, and is small again after small ones', () => {
    const read = new ReadBuffer();
    const sizes: number[] = [];
    read.onChunk = (chunk) => {
      sizes.push(chunk.buffer.byteLength);
      return false;
    };
    reads(read, [Buffer.alloc(1_000_000)]);
    expect(Math.max(...sizes)).toBe(65_536);
    reads(
      read,
      Array.from({ length: 40 }, () => Buffer.alloc(10)),
    );
    expect(sizes.at(-1)).toBe(4_096);
  });
});
