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
