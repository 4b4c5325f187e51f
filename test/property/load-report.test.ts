/** Reports: no header value throws, and every number that comes out of one is finite and in bounds. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { encodeReport, parseReport } from '../../sidecar/core/peers/load-report.ts';
import { decodePeerState, encodePeerState } from '../../sidecar/core/peers/peer-state.ts';
import { RECORD_LIMITS, WORKER_STATES } from '../../sidecar/core/peers/record.ts';
import { loadInOrca } from '../../sidecar/core/worker/orca.ts';
import { expectNamed } from '../support/runner/expectations.ts';

const number = fc.oneof(
  fc.nat().map(String),
  fc.double().map(String),
  fc.constantFrom('NaN', '-1', '1e999', '', ' 1 ', '0x1', '1.', '999999999999999'),
);
const text = fc.oneof(
  fc.string(),
  fc.array(number, { minLength: 11, maxLength: 11 }).map((parts) => parts.join(',')),
  fc.array(number, { maxLength: 13 }).map((parts) => parts.join(',')),
);
const orca = fc.oneof(
  fc.string(),
  fc
    .array(fc.tuple(fc.constantFrom('application_utilization', 'cpu_utilization'), number))
    .map((parts) => `TEXT ${parts.map(([name, value]) => `${name}=${value}`).join(',')}`),
  fc.json().map((json) => `JSON ${json}`),
);

describe('any load report', () => {
  test('a header value never throws, and gives bounded numbers', () => {
    fc.assert(
      fc.property(text, (value) => {
        for (const [key, said] of Object.entries(parseReport(value) ?? {})) {
          if (typeof said !== 'number') continue;
          const isTime = key === 'serviceMs' || key === 'oldestMs';
          const max = key === 'load' ? 1 : isTime ? RECORD_LIMITS.serviceMs : Number.MAX_SAFE_INTEGER;
          expectNamed(said, `${key}=${said}`).toBeGreaterThanOrEqual(0);
          expectNamed(said, `${key}=${said}`).toBeLessThanOrEqual(max);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  test("a worker's own word never throws, and is a ratio or nothing", () => {
    fc.assert(
      fc.property(orca, (value) => {
        const load = loadInOrca(value);
        expectNamed(load === null || (load >= 0 && load <= 1), `${load}`).toBe(true);
      }),
      { numRuns: 1_000 },
    );
  });

  test('a decimal number is read as JavaScript reads it', () => {
    const digits = fc.stringMatching(/^\d{1,9}(\.\d{0,6})?$/);
    fc.assert(
      fc.property(digits, (said) => {
        const { serviceMs } = parseReport(`1,0,0,0,0,0,1,${said},,1,1`) ?? {};
        expect(serviceMs).toBe(Number(said));
      }),
      { numRuns: 1_000 },
    );
  });

  test('a state body never throws', () => {
    fc.assert(fc.property(fc.anything(), (json) => void decodePeerState(json)));
    fc.assert(
      fc.property(
        fc.jsonValue(),
        (services) => void decodePeerState({ epoch: 1, seq: 1, state: 'ready', services }),
      ),
    );
  });

  const counted = fc.nat({ max: RECORD_LIMITS.requests });
  const time = fc.option(fc.double({ min: 0, max: RECORD_LIMITS.serviceMs, noNaN: true }));
  const report = fc
    .record(
      {
        epoch: fc.nat(),
        seq: fc.nat(),
        state: fc.constantFrom(...WORKER_STATES),
        load: fc.double({ min: 0, max: 1, noNaN: true }),
        service: fc.constant('a'),
        inFlight: counted,
        queued: counted,
        concurrency: counted,
        serviceMs: time,
        mine: counted,
        activeCallers: counted,
        oldestMs: time,
        full: fc.option(fc.record({ at: counted, forMs: fc.nat({ max: 30_000 }) })),
      },
      { noNullPrototype: true },
    )
    .map(({ full, ...said }) => ({ ...said, fullAt: full?.at ?? null, fullForMs: full?.forMs ?? 0 }));

  test('what a sidecar says comes out as it went in: exactly of the state, to half a ms of the header', () => {
    fc.assert(
      fc.property(report, (said) => {
        expect(decodePeerState(JSON.parse(JSON.stringify(encodePeerState([said]))))).toStrictEqual([said]);
        const { serviceMs, oldestMs, load, service: _, ...exact } = said;
        const {
          serviceMs: service,
          oldestMs: oldest,
          load: rounded,
          ...rest
        } = parseReport(encodeReport(said)) ?? {};
        expect(rest).toStrictEqual(exact);
        expect(Math.abs((rounded ?? -1) - load)).toBeLessThanOrEqual(0.0005);
        expectNamed(isNear(service, serviceMs), `${service} ${oldest}`).toBe(true);
        expectNamed(isNear(oldest, oldestMs), `${service} ${oldest}`).toBe(true);
      }),
    );
  });
});

function isNear(heard: number | null | undefined, said: number | null): boolean {
  if (typeof heard !== 'number' || said === null) return heard === said;
  return Math.abs(heard - said) <= 0.5;
}
