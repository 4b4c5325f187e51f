/** The queue of several callers: whatever one of them claims, the others get their turn; alone it is a queue by age. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { FairQueue, type Waiter } from '../../sidecar/core/worker/fair-queue.ts';

const OWNER = {};

function waiterOf(caller: string, sinceMs: number): Waiter {
  return { caller, sinceMs, owner: OWNER, isWaiting: true, grant: () => {}, onDisplaced: () => {} };
}

describe('a queue of several callers', () => {
  test('a caller that always claims to be the oldest gets its share and no more, however many it sends', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 12 }),
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 30 }),
        (tolerance, honest, flood) => {
          const queue = new FairQueue(tolerance);
          const served = new Map<string, number>();
          let nowMs = 0;
          const waits = (caller: string): void =>
            queue.add(waiterOf(caller, caller === 'liar' ? nowMs - 120_000 : nowMs));
          for (let i = 0; i < flood; i += 1) waits('liar');
          for (let i = 0; i < honest; i += 1) waits(`honest-${i}`);
          const rounds = 100 * (honest + 1);
          for (let round = 0; round < rounds; round += 1) {
            nowMs += 10;
            const { caller } = queue.shift() as Waiter;
            served.set(caller, (served.get(caller) ?? 0) + 1);
            waits(caller);
          }
          for (const [, count] of served) expect(Math.abs(count - 100)).toBeLessThanOrEqual(tolerance + 1);
          expect(served.size).toBe(honest + 1);
        },
      ),
      { numRuns: 200 },
    );
  });

  test('who was away waits for no more than the tolerance, and who has saved nothing up keeps nobody out', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 12 }), fc.integer({ min: 0, max: 200 }), (tolerance, before) => {
        const queue = new FairQueue(tolerance);
        for (let i = 0; i < before + 200; i += 1) queue.add(waiterOf('liar', -120_000));
        for (let i = 0; i < before; i += 1) queue.shift();
        queue.add(waiterOf('new', 0));
        const place = queue.placeOf('new', -1);
        let turn = 1;
        while ((queue.shift() as Waiter).caller !== 'new') turn += 1;
        expect(turn).toBeLessThanOrEqual(tolerance + 2);
        expect(place).toBeLessThanOrEqual(tolerance + 2);
        for (let i = 0; i < 50; i += 1) queue.add(waiterOf('new', 1));
        const next = Array.from({ length: 2 * tolerance + 4 }, () => queue.shift()?.caller);
        expect(next).toContain('liar');
      }),
    );
  });

  test('callers of equal shares are served by age, as in one queue for all', () => {
    const ages = fc.uniqueArray(fc.integer({ min: 0, max: 10_000 }), { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(ages, fc.integer({ min: 1, max: 4 }), (sinceMs, callers) => {
        const queue = new FairQueue(1_000);
        for (const [at, since] of sinceMs.entries()) {
          const place = queue.placeOf(`caller-${at % callers}`, since);
          expect(place).toBe(1 + sinceMs.slice(0, at).filter((other) => other <= since).length);
          queue.add(waiterOf(`caller-${at % callers}`, since));
        }
        const order = sinceMs.map(() => queue.shift()?.sinceMs);
        expect(order).toStrictEqual([...sinceMs].sort((a, b) => a - b));
        expect([queue.size, queue.first, queue.shift()]).toStrictEqual([0, null, undefined]);
      }),
    );
  });

  test('in a full queue the greediest makes room, and nobody for one that has as many itself', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 0, max: 20 }), (liars, honest) => {
        const queue = new FairQueue(4);
        for (let i = 0; i < liars; i += 1) queue.add(waiterOf('liar', -120_000));
        for (let i = 0; i < honest; i += 1) queue.add(waiterOf('honest', i));
        const forHonest = queue.displacedBy('honest', honest, OWNER);
        expect(forHonest?.caller).toBe(liars > honest + 1 ? 'liar' : undefined);
        const forLiar = queue.displacedBy('liar', -120_000, OWNER);
        expect(forLiar?.caller).toBe(honest > 0 && honest >= liars ? 'honest' : undefined);
        expect(queue.displacedBy('liar', -120_000, {})).toBeNull();
      }),
    );
  });

  test('who has left is served nobody’s slot, and leaves once', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(3), fc.nat(5)), { maxLength: 60 }),
        fc.func(fc.boolean()),
        (who, leaves) => {
          const queue = new FairQueue(3);
          const waiters = who.map(([caller, since]) => waiterOf(`caller-${caller}`, since));
          for (const each of waiters) queue.add(each);
          const stay = waiters.filter((each, at) => !(leaves(at) && queue.remove(each)));
          for (const each of waiters) if (!stay.includes(each)) expect(queue.remove(each)).toBe(false);
          expect(queue.size).toBe(stay.length);
          const served = stay.map(() => queue.shift());
          expect(new Set(served)).toStrictEqual(new Set(stay));
          expect(queue.shift()).toBeUndefined();
        },
      ),
    );
  });
});
