/** Records: decoding never throws, and what is believed stays within its limits. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { decodeRecord, encodeRecord, RECORD_LIMITS } from '../../sidecar/core/peers/record.ts';
import { recordOf, SERVICE } from '../support/peers.ts';

const odd = fc.oneof(
  fc.constantFrom(null, undefined, Number.NaN, Number.POSITIVE_INFINITY, -1, '', '\u0000', '__proto__'),
  fc.anything({ withNullPrototype: true, withBigInt: true, withSparseArray: true }),
  fc.double(),
  fc.string(),
);

test('anything at all is answered', () => {
  fc.assert(fc.property(odd, (json) => assert.match(decodeRecord(json).kind, /^(ok|bad)$/)));
});

test('an honest record with some fields replaced is refused, or believed within the limits', () => {
  const keys = Object.keys(recordOf(1));
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...keys), odd), (changes) => {
      const decoded = decodeRecord({ ...recordOf(1), ...changes });
      if (decoded.kind === 'bad') return;
      const { record } = decoded;
      assert.ok(record.load >= 0 && record.load <= 1);
      assert.ok(record.services.length <= RECORD_LIMITS.services);
      assert.ok(Number.isSafeInteger(record.epoch) && Number.isSafeInteger(record.seq));
      assert.deepEqual(decodeRecord(JSON.parse(encodeRecord(record))), decoded);
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
        assert.deepEqual(decodeRecord(JSON.parse(encodeRecord(record))), { kind: 'ok', record });
      },
    ),
  );
});
