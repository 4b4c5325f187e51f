/** Lengths of time and amounts of data: text ↔ number, for any input. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { formatByteSize, formatDuration, parseByteSize, parseDuration } from '../../sidecar/core/amounts.ts';
import { expectNamed } from '../support/runner/expectations.ts';

describe('any duration or amount of data', () => {
  test('a duration survives format and parse', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 10_000_000_000 }), (ms) => {
        expect(parseDuration(formatDuration(ms))).toBe(ms);
      }),
    );
  });

  test('an amount of data survives format and parse', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 50 }), (bytes) => {
        expect(parseByteSize(formatByteSize(bytes))).toBe(bytes);
      }),
    );
  });

  test('any text gives a safe whole number or null', () => {
    const alphabet = fc.constantFrom(...'0123456789.smhdKkMmGgiB -+e_');
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.string({ unit: alphabet })), (text) => {
        for (const value of [parseDuration(text), parseByteSize(text)]) {
          expect(value === null || (Number.isSafeInteger(value) && value >= 0)).toBe(true);
        }
      }),
    );
  });

  test('durations are read as people write them', () => {
    const cases: [string, number | null][] = [
      ['0', 0],
      ['500ms', 500],
      ['60s', 60_000],
      ['1.5m', 90_000],
      ['1h30m', 5_400_000],
      ['1d', 86_400_000],
      ['60', null],
      ['30s5m', null],
      ['1s1s', null],
      ['-1s', null],
      ['1e3s', null],
      ['', null],
      ['s', null],
      ['60 s', null],
      ['60S', null],
      [`${'9'.repeat(30)}d`, null],
    ];
    for (const [text, ms] of cases) expectNamed(parseDuration(text), text).toBe(ms);
  });

  test('amounts of data are read as people write them', () => {
    const cases: [string, number | null][] = [
      ['65536', 65_536],
      ['64KiB', 65_536],
      ['64 kib', 65_536],
      ['1.5MB', 1_500_000],
      ['2GiB', 2 ** 31],
      ['64K', null],
      ['0.3B', null],
      ['1 constructor', null],
      ['-1', null],
      ['', null],
    ];
    for (const [text, bytes] of cases) expectNamed(parseByteSize(text), text).toBe(bytes);
  });
});
