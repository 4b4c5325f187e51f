/** "Did you mean": distances behave, and suggestions are close. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { editDistance, nearestWord } from '../../sidecar/core/nearest-word.ts';
import { expectNamed } from '../support/runner/expectations.ts';

describe('the nearest word', () => {
  test('distance is symmetric, zero for equal words, and bounded by the longer one', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 20 }), fc.string({ maxLength: 20 }), (a, b) => {
        const distance = editDistance(a, b);
        expect(distance).toBe(editDistance(b, a));
        expect(distance === 0).toBe(a === b);
        expect(distance).toBeLessThanOrEqual(Math.max(a.length, b.length));
        expect(distance).toBeGreaterThanOrEqual(Math.abs(a.length - b.length));
      }),
    );
  });

  test('a slip finds its word, noise finds none', () => {
    const known = ['peers', 'stats', 'doctor', 'explain'];
    expect(nearestWord('stast', known)).toBe('stats');
    expect(nearestWord('docter', known)).toBe('doctor');
    expect(nearestWord('PEER', known)).toBe('peers');
    expect(nearestWord('xyzzy', known)).toBe(null);
    expect(nearestWord('', known)).toBe(null);
    expect(nearestWord('x'.repeat(10_000), known)).toBe(null);
  });

  test('an end before the end changes no response', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 9 });
    fc.assert(
      fc.property(letters, letters, fc.integer({ min: 1, max: 6 }), (a, b, enough) => {
        expect(editDistance(a, b, enough)).toBe(Math.min(enough, editDistance(a, b)));
      }),
      { numRuns: 2_000 },
    );
  });

  test('a thousand known words cost no more than a hundred', () => {
    let looked = 0;
    const words = function* (count: number, make: (n: number) => string): Generator<string> {
      for (let n = 0; n < count; n++) {
        looked++;
        yield make(n);
      }
    };
    expect(
      nearestWord(
        'b'.repeat(12),
        words(1_000, (n) => `a${String(n).padStart(11, '0')}`),
      ),
    ).toBe(null);
    expect(looked).toBe(101);
    looked = 0;
    const near = [...words(999, (n) => 'x'.repeat(30 + (n % 30))), 'doctor'];
    expectNamed(nearestWord('docter', near), 'those of another length are passed over').toBe('doctor');
  });
});
