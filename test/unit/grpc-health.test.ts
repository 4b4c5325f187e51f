/** What is asked and read of `grpc.health.v1`, byte by byte, and what a hostile worker may answer. */
import { describe, expect, test } from '@jest/globals';
import { encodeHealthCheck, parseHealthCheck } from '../../sidecar/core/http/grpc-health.ts';
import { askText, below, parseHealthAsk } from '../../sidecar/core/worker/health-ask.ts';
import { expectNamed } from '../support/runner/expectations.ts';

function framed(...message: number[]): Buffer {
  return Buffer.from([0, 0, 0, 0, message.length, ...message]);
}

describe('the messages of grpc.health.v1', () => {
  test('the request names the service, or none for the whole server', () => {
    expect([...encodeHealthCheck('')]).toStrictEqual([0, 0, 0, 0, 0]);
    expect([...encodeHealthCheck('ab')]).toStrictEqual([0, 0, 0, 0, 4, 0x0a, 2, 0x61, 0x62]);
    const long = encodeHealthCheck('x'.repeat(200));
    expect([...long.subarray(0, 8)]).toStrictEqual([0, 0, 0, 0, 203, 0x0a, 0xc8, 0x01]);
    expect(long).toHaveLength(208);
  });

  for (const [what, body, status] of [
    ['an empty message', framed(), 'UNKNOWN'],
    ['SERVING', framed(8, 1), 'SERVING'],
    ['NOT_SERVING', framed(8, 2), 'NOT_SERVING'],
    ['SERVICE_UNKNOWN', framed(8, 3), 'SERVICE_UNKNOWN'],
    ['a status of a later version', framed(8, 9), 'UNKNOWN'],
    ['a status beyond any', framed(8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1), 'UNKNOWN'],
    ['the last of two', framed(8, 1, 8, 2), 'NOT_SERVING'],
    [
      'fields of other kinds beside it',
      framed(0x12, 1, 8, 8, 1, 0x1d, 0, 0, 0, 0, 0x21, 0, 0, 0, 0, 0, 0, 0, 0),
      'SERVING',
    ],
  ] as const) {
    test(`${what} is ${status}`, () => {
      expect(parseHealthCheck(body)).toBe(status);
    });
  }

  test('what is cut off, compressed or no message is none', () => {
    for (const bytes of [
      [],
      [0, 0, 0, 0],
      [1, 0, 0, 0, 2, 8, 1],
      [0, 0, 0, 0, 3, 8, 1],
      [0, 0, 0, 0, 1, 8, 1],
      [0, 0xff, 0xff, 0xff, 0xff, 8, 1],
      [0, 0, 0, 0, 1, 8],
      [0, 0, 0, 0, 2, 8, 0x80],
      [0, 0, 0, 0, 2, 0x0a, 5],
      [0, 0, 0, 0, 2, 0x0b, 1],
      [0, 0, 0, 0, 2, 0x00, 1],
      [0, 0, 0, 0, 2, 0x09, 1],
      [0, 0, 0, 0, 12, 8, ...Array<number>(11).fill(0x80)],
    ])
      expectNamed(parseHealthCheck(Buffer.from(bytes)), String(bytes)).toBe(null);
  });
});

describe('what a worker is asked for its health', () => {
  for (const [text, ask, words] of [
    ['none', { kind: 'connect' }, 'a connection'],
    ['/health?full=1', { kind: 'get', path: '/health?full=1' }, 'GET /health?full=1'],
    ['grpc', { kind: 'grpc', service: '', isRequired: true }, 'grpc.health.v1'],
    ['grpc:a.B', { kind: 'grpc', service: 'a.B', isRequired: true }, 'grpc.health.v1 for a.B'],
  ] as const) {
    test(`${text} is taken`, () => {
      expect(parseHealthAsk(text)).toStrictEqual(ask);
      expect(askText(ask)).toBe(words);
    });
  }

  test('anything else is none', () => {
    for (const text of [
      '',
      'health',
      'NONE',
      'grpc:',
      'grpc:a b',
      'grpc:/x',
      'grpcs',
      '/a b',
      '/a#b',
      '/ä',
      '/a\r\nb',
      `/${'x'.repeat(2_048)}`,
    ])
      expectNamed(parseHealthAsk(text), text).toBe(null);
  });

  test('a path is below the base path of the worker, and nothing else changes', () => {
    expect(below('/base', { kind: 'get', path: '/health' })).toStrictEqual({
      kind: 'get',
      path: '/base/health',
    });
    expect(below('/base', { kind: 'connect' })).toStrictEqual({ kind: 'connect' });
  });
});
