/** The text of a MAC is base64url, and only the very text of the same bytes is taken for it. */
import { Buffer } from 'node:buffer';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { isTextOf, textOf } from '../../sidecar/mesh/membership/base64url.ts';

const LENGTHS = [3, 6, 18, 30];
const bytes = fc
  .constantFrom(...LENGTHS)
  .chain((length) => fc.uint8Array({ minLength: length, maxLength: length }));

describe('bytes as base64url', () => {
  test('the text is that of Buffer, and is taken for its bytes', () => {
    fc.assert(
      fc.property(bytes, (given) => {
        const text = Buffer.from(given).toString('base64url');
        expect(textOf(given)).toBe(text);
        expect(isTextOf(text, given)).toBe(true);
      }),
    );
  });

  test('a text that differs in one character, whichever, is not taken', () => {
    const character = fc.oneof(
      fc.string({ minLength: 1, maxLength: 1 }),
      fc.constantFrom('+', '/', '=', 'Ł'),
    );
    fc.assert(
      fc.property(bytes, fc.nat(), character, (given, n, other) => {
        const text = textOf(given);
        const at = n % text.length;
        const changed = text.slice(0, at) + other + text.slice(at + 1);
        expect(isTextOf(changed, given)).toBe(changed === text);
        expect(isTextOf(text.slice(1), given)).toBe(false);
        expect(isTextOf(`${text}A`, given)).toBe(false);
      }),
      { numRuns: 1_000 },
    );
  });
});
