/** Reports: no header value throws, and every number that comes out of one is finite and in bounds. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { RECORD_LIMITS } from '../../sidecar/core/record.ts';
import { parseOrca } from '../../sidecar/core/report.ts';
import { decodeState } from '../../sidecar/core/state-report.ts';

const name = fc.constantFrom(
  'application_utilization',
  'cpu_utilization',
  'named_metrics.in_flight',
  'named_metrics.service_ms',
  'named_metrics.sharers',
  'named_metrics.sidecar_epoch',
  'named_metrics.sidecar_seq',
  'named_metrics.sidecar_state',
);
const number = fc.oneof(
  fc.double().map(String),
  fc.constantFrom('NaN', '-Infinity', '1e999', '-0', '', ' 1 ', '0x1'),
);
const text = fc.oneof(
  fc.string(),
  fc.array(fc.tuple(name, number).map(([n, v]) => `${n}=${v}`)).map((parts) => `TEXT ${parts.join(',')}`),
  fc.json().map((json) => `JSON ${json}`),
);

test('a header value never throws, and gives bounded numbers', () => {
  fc.assert(
    fc.property(text, (value) => {
      for (const [key, said] of Object.entries(parseOrca(value) ?? {})) {
        if (typeof said !== 'number') continue;
        const max =
          key === 'load' ? 1 : key === 'serviceMs' ? RECORD_LIMITS.serviceMs : Number.MAX_SAFE_INTEGER;
        assert.ok(said >= 0 && said <= max, `${key}=${said}`);
      }
    }),
    { numRuns: 1_000 },
  );
});

test('a state body never throws', () => {
  fc.assert(fc.property(fc.anything(), (json) => void decodeState(json)));
  fc.assert(
    fc.property(
      fc.jsonValue(),
      (services) => void decodeState({ epoch: 1, seq: 1, state: 'ready', services }),
    ),
  );
});
