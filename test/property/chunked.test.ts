import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ChunkedDecoder, type ChunkedStep, encodeChunk, lastChunk } from '../../sidecar/core/http/chunked.ts';
import { anyBytes, chunkedBody, plainFields } from '../support/generators/http-bytes.ts';

const bodyBytes = fc.oneof(
  chunkedBody.map((text) => Buffer.from(text, 'latin1')),
  anyBytes,
);

/** Feeds the bytes in pieces of the sizes given, over and over, each from a buffer that is wiped afterwards. */
function decode(bytes: Buffer, pieceSizes: readonly number[]): { step: ChunkedStep; data: string } {
  const decoder = new ChunkedDecoder();
  let data = '';
  let step: ChunkedStep = { kind: 'more' };
  for (let at = 0, n = 0; at < bytes.length && step.kind === 'more'; n++) {
    const end = Math.min(bytes.length, at + pieceSizes[n % pieceSizes.length]!);
    const piece = Buffer.from(bytes.subarray(at, end));
    step = decoder.feed(piece, 0, piece.length, (slice) => {
      data += slice.toString('latin1');
    });
    piece.fill(0);
    if (step.kind === 'done') return { step: { ...step, end: at + step.end }, data };
    at = end;
  }
  return { step, data };
}

const sizes = fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 5 });

describe('chunked content in pieces of any size', () => {
  test('the cuts between pieces change nothing', () => {
    fc.assert(
      fc.property(bodyBytes, sizes, (bytes, pieceSizes) => {
        const whole = decode(bytes, [bytes.length || 1]);
        expect(decode(bytes, pieceSizes)).toStrictEqual(whole);
        expect(decode(bytes, [1])).toStrictEqual(whole);
      }),
      { numRuns: 1000 },
    );
  });

  test('what is encoded is decoded to the same, and ends where it ends', () => {
    const pieces = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 6 });
    fc.assert(
      fc.property(pieces, plainFields, anyBytes, sizes, (parts, trailers, after, pieceSizes) => {
        const chunks = parts.map((part) => encodeChunk(Buffer.from(part)));
        const message = Buffer.concat([...chunks, lastChunk(trailers)]);
        const { step, data } = decode(Buffer.concat([message, after]), pieceSizes);
        expect(step).toStrictEqual({ kind: 'done', end: message.length, trailers });
        expect(data).toBe(Buffer.concat(parts).toString('latin1'));
      }),
      { numRuns: 500 },
    );
  });
});
