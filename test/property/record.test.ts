/** Records: decoding never throws, and what is believed stays within its limits. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { decodeRecord, encodeRecord, RECORD_LIMITS } from '../../sidecar/core/peers/record.ts';
import { recordOf, SERVICE } from '../support/meshes/peers.ts';

const odd = fc.oneof(
  fc.constantFrom(null, undefined, Number.NaN, Number.POSITIVE_INFINITY, -1, '', '\u0000', '__proto__'),
  fc.anything({ withNullPrototype: true, withBigInt: true, withSparseArray: true }),
  fc.double(),
  fc.string(),
);

describe('any worker record', () => {
  test('anything at all is believed or refused, never thrown at', () => {
    fc.assert(fc.property(odd, (json) => expect(decodeRecord(json).kind).toMatch(/^(ok|bad)$/)));
  });

  test('an honest record with some fields replaced is refused, or believed within the limits', () => {
    const keys = Object.keys(recordOf(1));
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...keys), odd), (changes) => {
        const decoded = decodeRecord({ ...recordOf(1), ...changes });
        if (decoded.kind === 'bad') return;
        const { record } = decoded;
        expect(record.load).toBeGreaterThanOrEqual(0);
        expect(record.load).toBeLessThanOrEqual(1);
        expect(record.services.length).toBeLessThanOrEqual(RECORD_LIMITS.services);
        expect(Number.isSafeInteger(record.epoch)).toBe(true);
        expect(Number.isSafeInteger(record.seq)).toBe(true);
        expect(decodeRecord(JSON.parse(encodeRecord(record)))).toStrictEqual(decoded);
      }),
      { numRuns: 500 },
    );
  });

  test('any honest figures come back as they were', () => {
    const count = fc.integer({ min: 0, max: RECORD_LIMITS.requests });
    fc.assert(
      fc.property(
        count,
        count,
        count,
        fc.option(fc.double({ min: 0, max: 1e9, noNaN: true })),
        (a, b, c, ms) => {
          // JSON has no -0.
          const service_ms = ms === null ? null : ms + 0;
          const record = recordOf(1, {
            figures: { [SERVICE]: { in_flight: a, concurrency: b, queued: c, service_ms } },
          });
          expect(decodeRecord(JSON.parse(encodeRecord(record)))).toStrictEqual({ kind: 'ok', record });
        },
      ),
    );
  });
});
