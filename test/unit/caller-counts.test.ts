/** Who calls a service: counts of each, and how many share it over a while. */
import { describe, expect, test } from '@jest/globals';
import { ACTIVE_CALLER_WINDOW_MS, CallerCounts } from '../../sidecar/core/worker/caller-counts.ts';
import { expectNamed } from '../support/runner/expectations.ts';

describe('the callers of a service', () => {
  test('requests are counted for each caller', () => {
    const callers = new CallerCounts();
    callers.began('a');
    callers.began('a');
    callers.began('b');
    expect([callers.outstandingOf('a'), callers.outstandingOf('b')]).toStrictEqual([2, 1]);
    callers.ended('a', 0);
    expect([callers.outstandingOf('a'), callers.outstandingOf('c')]).toStrictEqual([1, 0]);
  });

  test('a caller shares from its first request until a while after its last', () => {
    const callers = new CallerCounts();
    expectNamed(callers.activeCallers(0), 'never less than one').toBe(1);
    callers.began('a');
    callers.began('b');
    expect(callers.activeCallers(0)).toBe(2);
    callers.ended('b', 100);
    expect(callers.activeCallers(100 + ACTIVE_CALLER_WINDOW_MS - 1)).toBe(2);
    expect(callers.activeCallers(100 + ACTIVE_CALLER_WINDOW_MS)).toBe(1);
    expectNamed(callers.activeCallers(1e9), 'a still has one here').toBe(1);
  });

  test('one that comes back is counted once, and from its last end', () => {
    const callers = new CallerCounts();
    for (const endMs of [0, 1_000, 2_000]) {
      callers.began('a');
      expect(callers.activeCallers(endMs)).toBe(1);
      callers.ended('a', endMs);
    }
    callers.began('b');
    callers.ended('b', 2_000);
    expect(callers.activeCallers(2_000)).toBe(2);
    expect(callers.activeCallers(2_000 + ACTIVE_CALLER_WINDOW_MS - 1)).toBe(2);
  });

  test('an end without a beginning changes nothing', () => {
    const callers = new CallerCounts();
    callers.ended('a', 0);
    expect([callers.activeCallers(0), callers.outstandingOf('a')]).toStrictEqual([1, 0]);
  });

  test('callers without end cost bounded memory', () => {
    const callers = new CallerCounts();
    for (let i = 0; i < 10_000; i++) {
      callers.began(`caller ${i}`);
      callers.ended(`caller ${i}`, 0);
    }
    expect(callers.activeCallers(0)).toBe(4_096);
  });
});
