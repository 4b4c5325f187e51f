/** What an answer of a worker means, by its status and its gRPC status, and how long a refusal holds. */
import { describe, expect, test } from '@jest/globals';
import { type Answer, answerAtEnd, answerOf, refusalMs } from '../../sidecar/core/http/answer.ts';
import { expectNamed } from '../support/runner/expectations.ts';

const grpc = (code: number, bodyBytes: number | null = 0) =>
  answerOf({
    status: 200,
    fields: ['content-type', 'application/grpc', 'grpc-status', `${code}`],
    bodyBytes,
  });
const plain = (status: number, ...fields: string[]) => answerOf({ status, fields, bodyBytes: null });

describe('the meaning of an answer', () => {
  test('below 400 it is served; 429, and 503 with a time, are refusals; what else is wrong is told apart', () => {
    const kinds: readonly (readonly [Answer, readonly number[]])[] = [
      ['served', [200, 204, 206, 301, 304, 399]],
      ['refused', [429]],
      ['rejected', [400, 401, 403, 404, 413, 422, 451, 499]],
      ['failed', [500, 501, 502, 503, 504, 599, 600, 999]],
    ];
    for (const [kind, all] of kinds)
      for (const status of all) expectNamed(plain(status), `${status}`).toBe(kind);
    expect(plain(503, 'Retry-After', '5')).toBe('refused');
    expectNamed(plain(500, 'Retry-After', '5'), 'no word of capacity').toBe('failed');
  });

  test('gRPC: a status in the head is all there is; by a message, or in trailers, it is no refusal any more', () => {
    expect([0, 8, 14].map((code) => grpc(code))).toStrictEqual(['served', 'refused', 'refused']);
    expect([2, 13, 15].map((code) => grpc(code))).toStrictEqual(['failed', 'failed', 'failed']);
    for (const code of [1, 3, 4, 5, 6, 7, 9, 10, 11, 12, 16])
      expectNamed(grpc(code), `${code}`).toBe('rejected');
    expectNamed(grpc(14, null), 'a body follows').toBe('served');
    expect([0, 8, 13, 14, 5].map((code) => answerAtEnd(['grpc-status', `${code}`]))).toStrictEqual([
      'served',
      'failed',
      'failed',
      'failed',
      'rejected',
    ]);
    expectNamed(answerAtEnd(['x-sum', '1']), 'not of gRPC').toBe('served');
  });

  test('a refusal holds for the time that it names, in any of its forms, within bounds; else for a second', () => {
    const now = Date.parse('Wed, 21 Oct 2015 07:28:00 GMT');
    const cases: readonly (readonly [string[], number])[] = [
      [[], 1_000],
      [['Retry-After', '3'], 3_000],
      [['retry-after', ' 3 '], 3_000],
      [['Retry-After', '0'], 100],
      [['Retry-After', '86400'], 30_000],
      [['Retry-After', '99999999999999999999'], 1_000],
      [['Retry-After', '-5'], 100],
      [['Retry-After', 'soon'], 1_000],
      [['Retry-After', ''], 1_000],
      [['Retry-After', 'Wed, 21 Oct 2015 07:28:07 GMT'], 7_000],
      [['Retry-After', 'Wed, 21 Oct 2015 07:00:00 GMT'], 100],
      [['Retry-After', '3', 'retry-after-ms', '250'], 250],
      [['grpc-retry-pushback-ms', '1500'], 1_500],
    ];
    for (const [fields, ms] of cases) expectNamed(refusalMs(fields, now), fields.join(' ')).toBe(ms);
  });
});
