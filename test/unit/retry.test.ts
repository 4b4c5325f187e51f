/** Retries: the table of what may be sent again, and the budget. */
import { describe, expect, test } from '@jest/globals';
import { mayRetry, RetryBudget, type Stage } from '../../sidecar/core/retry.ts';

const yes = { replayable: true, idempotencyKey: false, postOptIn: false, refusedOptIn: true };
const table: readonly (readonly [Stage, string, Partial<typeof yes>, boolean])[] = [
  ['not_sent', 'GET', {}, true],
  ['not_sent', 'POST', {}, true],
  ['not_sent', 'PATCH', {}, true],
  ['not_sent', 'BREW', {}, true],
  ['not_sent', 'POST', { replayable: false }, false],
  ['sent', 'GET', {}, true],
  ['sent', 'HEAD', {}, true],
  ['sent', 'OPTIONS', {}, true],
  ['sent', 'TRACE', {}, true],
  ['sent', 'PUT', {}, true],
  ['sent', 'DELETE', {}, true],
  ['sent', 'PUT', { replayable: false }, false],
  ['sent', 'POST', {}, false],
  ['sent', 'POST', { idempotencyKey: true }, false],
  ['sent', 'POST', { postOptIn: true }, false],
  ['sent', 'POST', { idempotencyKey: true, postOptIn: true }, true],
  ['sent', 'POST', { idempotencyKey: true, postOptIn: true, replayable: false }, false],
  ['sent', 'PATCH', { idempotencyKey: true, postOptIn: true }, true],
  ['sent', 'PATCH', {}, false],
  ['sent', 'BREW', { idempotencyKey: true, postOptIn: true }, false],
  ['sent', 'get', {}, false],
  ['refused', 'GET', {}, true],
  ['refused', 'POST', {}, true],
  ['refused', 'BREW', {}, true],
  ['refused', 'POST', { replayable: false }, false],
  ['refused', 'GET', { refusedOptIn: false }, false],
  ['begun', 'GET', {}, false],
  ['begun', 'POST', { idempotencyKey: true, postOptIn: true }, false],
];

describe('retrying a request', () => {
  for (const [stage, method, changes, allowed] of table) {
    test(`${method} ${stage} ${JSON.stringify(changes)}: ${allowed ? 'again' : 'never again'}`, () => {
      expect(mayRetry({ stage, method, ...yes, ...changes })).toBe(allowed);
    });
  }

  test('a budget gives its reserve, then a fifth of the requests', () => {
    const budget = new RetryBudget({ ratio: 0.2, perSecond: 10 });
    const take = (): number => {
      let taken = 0;
      while (budget.withdraw(0)) taken += 1;
      return taken;
    };
    expect(take()).toBe(10);
    for (let i = 0; i < 100; i += 1) budget.deposit(0);
    expect(take()).toBe(20);
    expect(budget.withdraw(0)).toBe(false);
  });

  test('the reserve comes back with time, and does not pile up', () => {
    const budget = new RetryBudget({ ratio: 0.2, perSecond: 10 });
    while (budget.withdraw(0));
    expect(budget.withdraw(99)).toBe(false);
    expect(budget.withdraw(100)).toBe(true);
    let taken = 0;
    while (budget.withdraw(1_000_000)) taken += 1;
    expect(taken).toBe(10);
  });

  test('a long quiet success does not save up for a storm', () => {
    const budget = new RetryBudget({ ratio: 0.2, perSecond: 0 });
    for (let i = 0; i < 1_000_000; i += 1) budget.deposit(i);
    let taken = 0;
    while (budget.withdraw(1_000_000)) taken += 1;
    expect(taken).toBe(200);
  });

  test('a clock that stands or goes back gives nothing', () => {
    const budget = new RetryBudget({ ratio: 0, perSecond: 1 });
    expect(budget.withdraw(5_000)).toBe(true);
    expect(budget.withdraw(1_000)).toBe(false);
  });
});
