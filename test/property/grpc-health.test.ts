/** Answers of a worker's health service under any bytes: none throws, and a status is found among whatever fields. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { encodeHealthCheck, parseHealthCheck } from '../../sidecar/core/http/grpc-health.ts';
import { parseHealthAsk } from '../../sidecar/core/worker/health-ask.ts';

function framed(message: readonly number[]): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, Buffer.from(message)]);
}

/** A field that this program does not know, of any kind. */
const otherField = fc.oneof(
  fc.nat({ max: 127 }).map((value) => [0x10, value]),
  fc.uint8Array({ minLength: 8, maxLength: 8 }).map((bytes) => [0x19, ...bytes]),
  fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => [0x25, ...bytes]),
  fc.uint8Array({ maxLength: 100 }).map((bytes) => [0x2a, bytes.length, ...bytes]),
);

describe('an answer of grpc.health.v1, whatever it is', () => {
  test('any bytes are a status or none', () => {
    const bytes = fc.uint8Array({ maxLength: 64 });
    fc.assert(
      fc.property(
        fc.oneof(
          bytes.map(Buffer.from),
          bytes.map((message) => framed([...message])),
        ),
        (body) => {
          expect([null, 'UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN']).toContain(
            parseHealthCheck(body),
          );
        },
      ),
      { numRuns: 1_000 },
    );
  });

  test('the status is found behind and before any other fields, and lost with any cut', () => {
    const others = fc.array(otherField, { maxLength: 4 });
    fc.assert(
      fc.property(others, others, fc.nat(), (before, after, cut) => {
        const body = framed([...before.flat(), 8, 1, ...after.flat()]);
        expect(parseHealthCheck(body)).toBe('SERVING');
        expect(parseHealthCheck(body.subarray(0, cut % body.length))).toBe(null);
      }),
    );
  });

  test('a request carries its name as it is', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[A-Za-z0-9_.-]{1,200}$/), (name) => {
        const ask = parseHealthAsk(`grpc:${name}`);
        expect(ask).toStrictEqual({ kind: 'grpc', service: name, isRequired: true });
        const frame = encodeHealthCheck(name);
        expect(frame.readUInt32BE(1)).toBe(frame.length - 5);
        expect(frame.toString('latin1').endsWith(name)).toBe(true);
      }),
    );
  });

  test('any text is an ask or none', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const ask = parseHealthAsk(text);
        if (ask?.kind === 'get') expect(text).toBe(ask.path);
      }),
    );
  });
});
