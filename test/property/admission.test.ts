/** Admission against a model that is too simple to be wrong: an array of those who wait, sorted by age. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Admission, type Slot } from '../../sidecar/core/worker/admission.ts';
import { expectNamed } from '../support/runner/expectations.ts';

type Step =
  | { readonly kind: 'acquire'; readonly sinceMs: number; readonly expectedQueue: number | null }
  | { readonly kind: 'cancel'; readonly at: number }
  | { readonly kind: 'release'; readonly at: number };

/** Few different ages, so that equals are common. */
const sinceMs = fc.oneof(fc.integer({ min: 0, max: 5 }), fc.double({ min: -1e6, max: 1e6, noNaN: true }));
const at = fc.nat({ max: 1_000 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('acquire' as const),
      sinceMs,
      expectedQueue: fc.option(fc.nat({ max: 12 }), { freq: 2 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('cancel' as const), at }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('release' as const), at }) },
);

interface Waiting {
  readonly id: number;
  readonly sinceMs: number;
  readonly cancel: () => boolean;
}

class Model {
  readonly admission: Admission;
  readonly #concurrency: number;
  readonly #queue: number;
  #ids = 0;
  /** Under way longest first, equals as they came. */
  #waiting: Waiting[] = [];
  readonly #held = new Map<number, Slot>();
  /** Those who have left the queue by either way. */
  readonly #left: Waiting[] = [];
  /** Whom the admission has called, in its order. */
  readonly #called: number[] = [];

  constructor(concurrency: number, queue: number) {
    this.#concurrency = concurrency;
    this.#queue = queue;
    this.admission = new Admission({ concurrency, assumedConcurrency: 8, queue });
  }

  take(step: Step): void {
    if (step.kind === 'acquire') this.#acquire(step);
    else if (step.kind === 'cancel') this.#cancel(step.at);
    else this.#release(step.at);
    const { admission } = this;
    expect([admission.inFlight, admission.queued, admission.longestSinceMs]).toStrictEqual([
      this.#held.size,
      this.#waiting.length,
      this.#waiting[0]?.sinceMs ?? null,
    ]);
  }

  /** Nobody is lost: each who waits gets a slot in the end. */
  finish(): void {
    while (this.#held.size > 0) this.take({ kind: 'release', at: 0 });
    expect(this.#waiting).toHaveLength(0);
    for (const { cancel } of this.#left)
      expectNamed(cancel(), 'who is not in the queue cannot leave').toBe(false);
  }

  #acquire({ sinceMs, expectedQueue }: Extract<Step, { kind: 'acquire' }>): void {
    const id = this.#ids++;
    const place = this.#waiting.filter((each) => each.sinceMs <= sinceMs).length + 1;
    const acquired = this.admission.acquire({
      sinceMs,
      expectedQueue,
      onGranted: (slot) => {
        this.#called.push(id);
        this.#held.set(id, slot);
      },
    });
    if (this.#held.size < this.#concurrency) {
      expect(acquired.kind).toBe('granted');
      if (acquired.kind === 'granted') this.#held.set(id, acquired);
    } else if (this.#waiting.length >= this.#queue) {
      expect(acquired).toStrictEqual({ kind: 'saturated', reason: 'queue_full' });
    } else if (expectedQueue !== null && place > expectedQueue) {
      expect(acquired).toStrictEqual({ kind: 'saturated', reason: 'longer_than_expected' });
    } else {
      expect(acquired.kind === 'queued' && acquired.place).toBe(place);
      if (acquired.kind !== 'queued') return;
      this.#waiting.splice(place - 1, 0, { id, sinceMs, cancel: acquired.cancel });
    }
  }

  #cancel(at: number): void {
    const index = at % Math.max(1, this.#waiting.length);
    const [leaves] = this.#waiting.splice(index, 1);
    if (leaves === undefined) return;
    expect(leaves.cancel()).toBe(true);
    this.#left.push(leaves);
  }

  #release(at: number): void {
    const ids = [...this.#held.keys()];
    const id = ids[at % Math.max(1, ids.length)];
    if (id === undefined) return;
    const slot = this.#held.get(id) as Slot;
    this.#held.delete(id);
    const next = this.#waiting.shift();
    const before = this.#called.length;
    slot.release(0, null);
    slot.release(0, null);
    expect(this.#called.slice(before)).toStrictEqual(next === undefined ? [] : [next.id]);
    if (next !== undefined) this.#left.push(next);
  }
}

describe("a worker's queue under any order of events", () => {
  test('grants, places and counts are those of a sorted array', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4 }),
        fc.nat({ max: 20 }),
        fc.array(step, { maxLength: 200 }),
        (concurrency, queue, steps) => {
          const model = new Model(concurrency, queue);
          for (const each of steps) model.take(each);
          model.finish();
        },
      ),
      { numRuns: 500 },
    );
  });

  test('also where so many come and go that what they leave behind is cleared away', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 1_000, maxLength: 1_500 }), (steps) => {
        const model = new Model(2, 300);
        for (let i = 0; i < 250; i += 1)
          model.take({ kind: 'acquire', sinceMs: i % 50, expectedQueue: null });
        for (const each of steps) model.take(each);
        model.finish();
      }),
      { numRuns: 20 },
    );
  });
});
