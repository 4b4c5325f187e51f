/** The time in a header: 13 digits, or none. */
import { expect, test } from '@jest/globals';
import { timeText } from '../../sidecar/mesh/membership/auth-header.ts';

test('a clock that 13 digits cannot tell has no text', () => {
  const FIRST_MS = 1_000_000_000_000;
  const LAST_MS = 9_999_999_999_999;
  expect([timeText(FIRST_MS), timeText(LAST_MS + 0.9)]).toStrictEqual(['1000000000000', '9999999999999']);
  // The last but one is 13 characters long.
  for (const outsideMs of [FIRST_MS - 1, LAST_MS + 1, 0, -123_456_789_012, Number.NaN]) {
    expect(timeText(outsideMs)).toBe('');
  }
});
