/** The median agrees with sorting, for any numbers. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { medianInPlace, selectInPlace } from '../../sidecar/core/balancing/median.ts';

const numbers = fc.array(fc.oneof(fc.double({ noNaN: true }), fc.integer({ min: 0, max: 3 })), {
  minLength: 1,
  maxLength: 200,
});

test('each rank is what sorting would put there', () => {
  fc.assert(
    fc.property(numbers, fc.nat(), (values, n) => {
      const rank = n % values.length;
      const sorted = Float64Array.from(values).sort();
      // -0 and 0 are equal here.
      assert.ok(selectInPlace(Float64Array.from(values), values.length, rank) === sorted[rank]);
    }),
    { numRuns: 500 },
  );
});

test('of none there is no median, and what lies beyond the count is not looked at', () => {
  assert.ok(Number.isNaN(medianInPlace(new Float64Array(4), 0)));
  assert.equal(medianInPlace(Float64Array.from([3, 1, 2, -9, -9]), 3), 2);
});
