/** "Did you mean": distances behave, and suggestions are close. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { editDistance, nearestWord } from '../../sidecar/core/nearest-word.ts';

test('distance is symmetric, zero for equal words, and bounded by the longer one', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 20 }), fc.string({ maxLength: 20 }), (a, b) => {
      const distance = editDistance(a, b);
      assert.equal(distance, editDistance(b, a));
      assert.equal(distance === 0, a === b);
      assert.ok(distance <= Math.max(a.length, b.length));
      assert.ok(distance >= Math.abs(a.length - b.length));
    }),
  );
});

test('a slip finds its word, noise finds none', () => {
  const known = ['peers', 'stats', 'doctor', 'explain'];
  assert.equal(nearestWord('stast', known), 'stats');
  assert.equal(nearestWord('docter', known), 'doctor');
  assert.equal(nearestWord('PEER', known), 'peers');
  assert.equal(nearestWord('xyzzy', known), null);
  assert.equal(nearestWord('', known), null);
  assert.equal(nearestWord('x'.repeat(10_000), known), null);
});

test('an end before the end changes no response', () => {
  const letters = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 9 });
  fc.assert(
    fc.property(letters, letters, fc.integer({ min: 1, max: 6 }), (a, b, enough) => {
      assert.equal(editDistance(a, b, enough), Math.min(enough, editDistance(a, b)));
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
  assert.equal(
    nearestWord(
      'b'.repeat(12),
      words(1_000, (n) => `a${String(n).padStart(11, '0')}`),
    ),
    null,
  );
  assert.equal(looked, 101);
  looked = 0;
  const near = [...words(999, (n) => 'x'.repeat(30 + (n % 30))), 'doctor'];
  assert.equal(nearestWord('docter', near), 'doctor', 'those of another length are passed over');
});
