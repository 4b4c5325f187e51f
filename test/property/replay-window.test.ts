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

  test('requests that a jump has passed by are accepted when they come late, once, as far as the window reaches', () => {
    const W = WINDOW_COUNTERS;
    for (const jump of [1, 2, 3, 31, 32, 33, W - 1, W, W + 1, 2 * W, 2 * W + 5]) {
      const window = new ReplayWindow(NONE);
      // All counters of a whole window are seen, so that each place of it has been used before.
      for (let counter = 0; counter < W; counter += 1) window.accept('s', counter, 1);
      const top = W - 1 + jump;
      expectNamed(window.accept('s', top, 1), `a jump of ${jump}`).toBe(true);
      const refused: number[] = [];
      const twice: number[] = [];
      for (let late = Math.max(W, top - W + 1); late < top; late += 1) {
        if (!window.accept('s', late, 1)) refused.push(late);
        if (window.accept('s', late, 1)) twice.push(late);
      }
      expectNamed([refused, twice], `a jump of ${jump}`).toStrictEqual([[], []]);
      for (const old of [top, W - 1, top - W]) {
        expectNamed(window.accept('s', old, 1), `${old} after a jump of ${jump}`).toBe(false);
      }
    }
  });

  test('a long row of requests in order, and one in pairs that change places, is accepted whole', () => {
    const inOrder = new ReplayWindow(NONE);
    const inPairs = new ReplayWindow(NONE);
    let refused = 0;
    for (let counter = 0; counter < 3 * WINDOW_COUNTERS; counter += 1) {
      if (!inOrder.accept('s', counter, 1)) refused += 1;
      if (!inPairs.accept('s', counter ^ 1, 1)) refused += 1;
    }
    expect(refused).toBe(0);
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

  test('the life that has been silent for the longest is forgotten, and what is refused displaces nobody', () => {
    const window = new ReplayWindow(100);
    expect(window.newestMs).toBe(100);
    for (const [session, signedMs] of [
      ['b', 300],
      ['a', 200],
      ['d', 500],
      ['c', 400],
    ] as const)
      expect(window.accept(session, 0, signedMs)).toBe(true);
    expect(window.accept('old', 0, 100)).toBe(false);
    expect(window.accept('a', 1, 150)).toBe(true);
    expect(window.accept('e', 0, 600)).toBe(true);
    for (const session of ['b', 'c', 'd', 'e']) expect(window.accept(session, 1, 150)).toBe(true);
    expect(window.accept('a', 2, 199)).toBe(false);
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
