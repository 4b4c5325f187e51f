/** Lengths of time and amounts of data: text ↔ number, for any input. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { formatByteSize, formatDuration, parseByteSize, parseDuration } from '../../sidecar/core/amounts.ts';

test('a duration survives format and parse', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 10_000_000_000 }), (ms) => {
      assert.equal(parseDuration(formatDuration(ms)), ms);
    }),
  );
});

test('an amount of data survives format and parse', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 50 }), (bytes) => {
      assert.equal(parseByteSize(formatByteSize(bytes)), bytes);
    }),
  );
});

test('any text gives a safe whole number or null', () => {
  const alphabet = fc.constantFrom(...'0123456789.smhdKkMmGgiB -+e_');
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.string({ unit: alphabet })), (text) => {
      for (const value of [parseDuration(text), parseByteSize(text)]) {
        assert.ok(value === null || (Number.isSafeInteger(value) && value >= 0));
      }
    }),
  );
});

test('durations as people write them', () => {
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
  for (const [text, ms] of cases) assert.equal(parseDuration(text), ms, text);
});

test('amounts of data as people write them', () => {
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
  for (const [text, bytes] of cases) assert.equal(parseByteSize(text), bytes, text);
});
