/** Retries, whatever comes: what was sent is never sent twice without leave, and a storm stays within its budget. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  mayRetry,
  RetryBudget,
  type RetryQuestion,
  type Stage,
  whyNoRetry,
} from '../../sidecar/core/retry.ts';
import { expectNamed } from '../support/runner/expectations.ts';

const STAGES: readonly Stage[] = ['not_sent', 'sent', 'begun'];
const IDEMPOTENT = ['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'];

const question: fc.Arbitrary<RetryQuestion> = fc.record({
  stage: fc.constantFrom(...STAGES, 'refused' as const),
  method: fc.oneof(fc.constantFrom(...IDEMPOTENT, 'POST', 'PATCH', 'post', 'QUERY'), fc.string()),
  replayable: fc.boolean(),
  idempotencyKey: fc.boolean(),
  postOptIn: fc.boolean(),
  refusedOptIn: fc.boolean(),
});

describe('retries of any request', () => {
  test('what may have been done is done again only by leave: of its method, or of app and service both', () => {
    fc.assert(
      fc.property(question, (q) => {
        if (q.stage !== 'sent' || !mayRetry(q)) return true;
        return IDEMPOTENT.includes(q.method) || (q.idempotencyKey && q.postOptIn);
      }),
    );
  });

  test('nothing is sent again once its response has begun, or without its whole body', () => {
    fc.assert(
      fc.property(question, (q) => {
        expect(mayRetry({ ...q, stage: 'begun' })).toBe(false);
        expect(mayRetry({ ...q, replayable: false })).toBe(false);
      }),
    );
  });

  test('the further a request has come, the less may be done; the more is granted, the more', () => {
    fc.assert(
      fc.property(question, (q) => {
        const allowed = STAGES.map((stage) => mayRetry({ ...q, stage }));
        expect(allowed).toStrictEqual([...allowed].sort().reverse());
        for (const grant of ['replayable', 'idempotencyKey', 'postOptIn', 'refusedOptIn'] as const) {
          if (mayRetry({ ...q, [grant]: false })) expect(mayRetry({ ...q, [grant]: true })).toBe(true);
        }
      }),
    );
  });

  test('a reason is given exactly when it is not sent again', () => {
    fc.assert(fc.property(question, (q) => mayRetry(q) === (whyNoRetry(q) === null)));
  });

  test('what the reason names would have helped', () => {
    fc.assert(
      fc.property(question, (q) => {
        const reason = whyNoRetry(q) ?? '';
        if (reason.includes('retries.replay')) expect(mayRetry({ ...q, replayable: true })).toBe(true);
        if (reason.includes('retries.refused'))
          expect(mayRetry({ ...q, refusedOptIn: true, replayable: true })).toBe(true);
        if (reason.includes('retries.post'))
          expect(mayRetry({ ...q, replayable: true, idempotencyKey: true, postOptIn: true })).toBe(true);
      }),
    );
  });

  test('there are never more retries than a share of the requests and so many a second, whatever the clock does', () => {
    const step = fc.record({
      passesMs: fc.integer({ min: -50, max: 2_000 }),
      requests: fc.nat(40),
      asks: fc.nat(40),
    });
    const options = { ratio: fc.constantFrom(0, 0.1, 0.2, 1), perSecond: fc.constantFrom(0, 1, 10) };
    fc.assert(
      fc.property(fc.record(options), fc.array(step, { maxLength: 60 }), ({ ratio, perSecond }, steps) => {
        const budget = new RetryBudget({ ratio, perSecond });
        let nowMs = 0;
        let [earliestMs, latestMs] = [0, 0];
        let requests = 0;
        let retries = 0;
        for (const { asks, passesMs, requests: more } of steps) {
          nowMs += passesMs;
          earliestMs = Math.min(earliestMs, nowMs);
          latestMs = Math.max(latestMs, nowMs);
          for (let i = 0; i < more; i++) budget.deposit(nowMs);
          requests += more;
          for (let i = 0; i < asks; i++) if (budget.withdraw(nowMs)) retries += 1;
          const most = ratio * requests + perSecond * (1 + (latestMs - earliestMs) / 1_000);
          expectNamed(retries, `${retries} retries where ${most} are allowed`).toBeLessThanOrEqual(
            most + 1e-6,
          );
        }
      }),
    );
  });
});
