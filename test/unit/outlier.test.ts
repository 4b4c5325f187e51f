/** Whose answers stand out: only against those of the others, and only when there are enough of both. */
import { describe, expect, test } from '@jest/globals';
import { lacksMeasure, outlierAmong } from '../../sidecar/core/peers/outlier.ts';
import { EJECTION_MS } from '../../sidecar/core/peers/service-health.ts';
import { type Counted, Standing } from '../../sidecar/core/peers/standing.ts';
import { seeded } from '../support/meshes/peers.ts';
import { expectNamed } from '../support/runner/expectations.ts';

function standing(counts: Partial<Record<Counted, number>>, nowMs = 0): Standing {
  const made = new Standing();
  for (const [kind, count] of Object.entries(counts))
    for (let n = 0; n < count; n++) made.answered(kind as Counted, nowMs);
  return made;
}

const of = (own: Standing, kind: 'failed' | 'rejected', ...others: Standing[]): string | null =>
  outlierAmong(own, kind, [own, ...others], 0)?.text ?? null;

describe('a worker whose answers stand out', () => {
  test('client errors of one alone are its own; of all, the clients’', () => {
    const well = standing({ served: 40, rejected: 2 });
    expect(of(standing({ rejected: 8 }), 'rejected', well)).toBe(
      '100 % of its answers are client errors (4xx), and 5 % of those of the others',
    );
    expect(of(standing({ served: 10, rejected: 10 }), 'rejected', well)).toMatch(/^50 %/);
    const mistaken = standing({ served: 20, rejected: 30 });
    expectNamed(of(standing({ rejected: 20 }), 'rejected', mistaken), 'most clients are wrong').toBe(null);
    expectNamed(of(standing({ served: 40, rejected: 4 }), 'rejected', well), 'chance').toBe(null);
  });

  test('failures stand out by their share, though never five in a row', () => {
    const own = new Standing();
    for (let n = 0; n < 30; n++) own.answered(n % 3 === 0 ? 'failed' : 'served', 0);
    expect(own.health.isEjected(0)).toBe(false);
    expect(of(own, 'failed', standing({ served: 100 }))).toMatch(/^33 % of its answers are faults/);
    expectNamed(of(own, 'failed', standing({ served: 60, failed: 40 })), 'all are ill').toBe(null);
  });

  test('few answers, of it or of the others, say nothing', () => {
    expect(of(standing({ rejected: 4 }), 'rejected', standing({ served: 100 }))).toBe(null);
    expect(of(standing({ rejected: 50 }), 'rejected', standing({ served: 4 }))).toBe(null);
    expect(of(standing({ rejected: 50 }), 'rejected')).toBe(null);
  });

  test('one that may stand out lacks a measure while the others have fewer than five answers', () => {
    const lacks = (own: Standing, answers: number): boolean =>
      lacksMeasure(own, [own, standing({ served: answers })], 0);
    const suspicious = standing({ rejected: 50 });
    expect([lacks(suspicious, 0), lacks(suspicious, 4), lacks(suspicious, 5)]).toStrictEqual([
      true,
      true,
      false,
    ]);
    expect(lacks(standing({ served: 50 }), 0)).toBe(false);
  });

  test('equal workers are not told apart, whatever the share of errors: not once in 20,000 answers', () => {
    for (const share of [0.02, 0.1, 0.3, 0.6]) {
      const random = seeded(Math.round(share * 100));
      const all = Array.from({ length: 4 }, () => new Standing());
      let found = 0;
      for (let n = 0; n < 20_000; n++) {
        const own = all[Math.floor(random() * all.length)] as Standing;
        const isBad = random() < share;
        own.answered(isBad ? 'rejected' : 'served', n * 10);
        if (isBad && outlierAmong(own, 'rejected', all, n * 10) !== null) found++;
      }
      expectNamed(found, `${share}`).toBe(0);
    }
  });

  test('what was long ago fades', () => {
    const own = standing({ rejected: 16 });
    expect(own.total(0)).toBe(16);
    expect(own.total(60_000)).toBe(4);
    expect(own.total(86_400_000)).toBeLessThan(0.001);
    const later = standing({ rejected: 16 });
    later.answered('rejected', 60_000);
    expectNamed(later.total(60_000), 'what is new has not faded').toBe(5);
  });

  test('is left out for a time that good answers to others do not end; then one request decides', () => {
    const own = standing({ rejected: 8 });
    own.health.stoodOut({ of: 'rejected', text: 'alone' }, 0);
    own.answered('served', 1_000);
    expectNamed(own.health.isEjected(2_000), 'a good answer among bad ones').toBe(true);
    own.health.tried(EJECTION_MS);
    own.answered('rejected', EJECTION_MS);
    expectNamed(own.health.isEjected(EJECTION_MS + 1), 'as before').toBe(true);
    own.health.tried(3 * EJECTION_MS);
    own.answered('served', 3 * EJECTION_MS);
    expect([own.health.state.kind, own.health.outlier]).toStrictEqual(['closed', null]);
  });
});

describe('a worker that says how many it takes', () => {
  test('is full at that number for as long as it says, and for 30 s at most', () => {
    const own = new Standing();
    own.refusedAt(2, 0, 5_000);
    expect([own.isFull(1, 0), own.isFull(2, 0), own.isFull(2, 4_999), own.isFull(2, 5_000)]).toStrictEqual([
      false,
      true,
      true,
      false,
    ]);
    own.refusedAt(0, 0, 3_600_000);
    expect([own.fullForMs(0), own.fullAt(0), own.fullAt(30_000)]).toStrictEqual([30_000, 0, null]);
  });

  test('has room again once it serves more than that, begun since', () => {
    const own = new Standing();
    own.refusedAt(2, 100, 5_000);
    own.took(5, 50, 150);
    expectNamed(own.isFull(2, 200), 'begun before').toBe(true);
    own.took(1, 110, 150);
    expectNamed(own.isFull(2, 200), 'no more than it said').toBe(true);
    own.took(2, 110, 150);
    expect(own.isFull(2, 200)).toBe(false);
  });
});
