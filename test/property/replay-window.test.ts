import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ReplayWindow, WINDOW_COUNTERS } from '../../sidecar/mesh/membership/replay-window.ts';
import { expectNamed } from '../support/runner/expectations.ts';

const NONE = Number.NEGATIVE_INFINITY;

describe('the replay window under any order of requests', () => {
  test('no counter is accepted twice, and none within the window is refused once', () => {
    const step = fc.oneof(
      fc.nat({ max: 200 }),
      fc.nat({ max: 3 * WINDOW_COUNTERS }),
      fc.nat({ max: 2 ** 48 - 1 }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (counters) => {
        const window = new ReplayWindow(NONE);
        const seen = new Set<number>();
        let top = -1;
        for (const counter of counters) {
          const expected = !seen.has(counter) && counter > top - WINDOW_COUNTERS;
          expect(window.accept('s', counter, 1)).toBe(expected);
          if (expected) seen.add(counter);
          top = Math.max(top, counter);
        }
      }),
    );
  });

  test('nothing is accepted twice, however many lives a caller has and in whatever order', () => {
    const request = fc.record({
      session: fc.nat({ max: 9 }),
      counter: fc.nat({ max: 20 }),
      signedMs: fc.nat({ max: 50 }),
    });
    fc.assert(
      fc.property(fc.array(request, { maxLength: 200 }), (requests) => {
        // A request is signed once: its time belongs to it.
        const signedAt = new Map<string, number>();
        const accepted = new Set<string>();
        const window = new ReplayWindow(NONE);
        for (const { session, counter, signedMs } of requests) {
          const name = `${session}/${counter}`;
          const time = signedAt.get(name) ?? signedMs;
          signedAt.set(name, time);
          if (!window.accept(`${session}`, counter, time)) continue;
          expectNamed(accepted.has(name), `${name} twice`).toBe(false);
          accepted.add(name);
          expect(window.newestMs).toBeGreaterThanOrEqual(time);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test('a new life of a caller is accepted at once, also in a crash loop', () => {
    const window = new ReplayWindow(NONE);
    for (let life = 0; life < 50; life++) expect(window.accept(`life ${life}`, 0, 1000 + life)).toBe(true);
  });

  test('behind the floor only sessions go on that were known before it rose', () => {
    const window = new ReplayWindow(NONE);
    for (const [session, signedMs] of [
      ['known', 200],
      ['a', 100],
      ['b', 300],
      ['c', 300],
      ['d', 300],
    ] as const)
      expect(window.accept(session, 0, signedMs)).toBe(true);
    expect(window.accept('known', 1, 99)).toBe(true);
    expect(window.accept('e', 0, 100)).toBe(false);
    expect(window.newestMs).toBe(300);
  });

  test('what a session had accepted before it was forgotten is not accepted once it is known again', () => {
    const restarted = new ReplayWindow(100);
    expect(restarted.accept('s', 1, 101)).toBe(true);
    expect(restarted.accept('s', 0, 99)).toBe(false);
    const crowded = new ReplayWindow(NONE);
    expect(crowded.accept('s', 20, 0)).toBe(true);
    for (const life of ['a', 'b', 'c', 'd']) expect(crowded.accept(life, 0, 1)).toBe(true);
    expect(crowded.accept('s', 0, 2)).toBe(true);
    expect(crowded.accept('s', 20, 0)).toBe(false);
  });
});
