/** The median agrees with sorting, for any numbers. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { medianInPlace, selectInPlace } from '../../sidecar/core/balancing/median.ts';

const numbers = fc.array(fc.oneof(fc.double({ noNaN: true }), fc.integer({ min: 0, max: 3 })), {
  minLength: 1,
  maxLength: 200,
});

describe('the median of any numbers', () => {
  test('each rank is what sorting would put there', () => {
    fc.assert(
      fc.property(numbers, fc.nat(), (values, n) => {
        const rank = n % values.length;
        const sorted = Float64Array.from(values).sort();
        // `+ 0`: a median may be either zero, and `toBe` would tell -0 from 0.
        const selected = selectInPlace(Float64Array.from(values), values.length, rank);
        expect(selected + 0).toBe((sorted[rank] ?? Number.NaN) + 0);
      }),
      { numRuns: 500 },
    );
  });

  test('of none there is no median, and what lies beyond the count is not looked at', () => {
    expect(medianInPlace(new Float64Array(4), 0)).toBeNaN();
    expect(medianInPlace(Float64Array.from([3, 1, 2, -9, -9]), 3)).toBe(2);
  });
});
