/** Slots that services share, under any order of events, against a model that is too simple to be wrong. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Admission, type Slot } from '../../sidecar/core/worker/admission.ts';
import { Slots } from '../../sidecar/core/worker/slots.ts';

interface Step {
  readonly kind: 'acquire' | 'cancel' | 'release' | 'open' | 'close';
  /** Which of the services. */
  readonly of: number;
  readonly at: number;
  readonly sinceMs: number;
}

interface Waiting {
  readonly id: number;
  readonly of: number;
  readonly sinceMs: number;
  readonly cancel: () => boolean;
}

const SERVICES = 3;

const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom('acquire', 'acquire', 'acquire', 'release', 'cancel', 'open', 'close'),
  of: fc.nat({ max: SERVICES - 1 }),
  at: fc.nat({ max: 100 }),
  sinceMs: fc.nat({ max: 5 }),
});

/** What holds, waits and is open, in plain arrays. */
class Model {
  readonly concurrency: number;
  readonly queue: number;
  readonly #slots: Slots;
  readonly #services: readonly Admission[];
  readonly #held: { readonly id: number; readonly of: number; readonly slot: Slot }[] = [];
  readonly #open: number[] = [];
  #waiting: Waiting[] = [];
  #ids = 0;

  constructor(concurrency: number, queue: number) {
    this.concurrency = concurrency;
    this.queue = queue;
    this.#slots = new Slots(concurrency);
    const options = { concurrency, assumedConcurrency: 8, queue, slots: this.#slots };
    this.#services = Array.from({ length: SERVICES }, () => new Admission(options));
  }

  take({ kind, of, at, sinceMs }: Step): void {
    const admission = this.#services[of] as Admission;
    if (kind === 'acquire') this.#acquire(admission, of, sinceMs);
    else if (kind === 'cancel') this.#cancel(at);
    else if (kind === 'release') this.#release(at);
    else if (kind === 'open') {
      admission.opened();
      this.#open.push(of);
    } else if (this.#open.length > 0) {
      const [closing] = this.#open.splice(at % this.#open.length, 1);
      (this.#services[closing as number] as Admission).closed();
    }
    this.#compare();
  }

  finish(): void {
    while (this.#held.length > 0) this.#release(0);
    expect([this.#waiting, this.#slots.inFlight, this.#slots.queued]).toStrictEqual([[], 0, 0]);
  }

  #compare(): void {
    const waitingOldest = this.#waiting[0]?.sinceMs ?? null;
    for (const [of, { inFlight, queued, slots, longestSinceMs, load }] of this.#services.entries()) {
      const mine = (each: { readonly of: number }): boolean => each.of === of;
      expect([inFlight, queued]).toStrictEqual([
        this.#held.filter(mine).length,
        this.#waiting.filter(mine).length,
      ]);
      const all = [this.#held.length, this.#waiting.length, this.#open.length] as const;
      expect([slots.inFlight, slots.queued, slots.open]).toStrictEqual(all);
      expect(longestSinceMs).toBe(waitingOldest);
      expect(load).toBe(Math.min(1, (all[0] + all[1] + all[2]) / this.concurrency));
    }
    expect(this.#held.length).toBeLessThanOrEqual(this.concurrency);
  }

  #acquire(admission: Admission, of: number, sinceMs: number): void {
    const id = this.#ids++;
    const acquired = admission.acquire({
      sinceMs,
      expectedQueue: null,
      onGranted: (slot) => this.#held.push({ id, of, slot }),
    });
    if (this.#held.length < this.concurrency) {
      expect(acquired.kind).toBe('granted');
      if (acquired.kind === 'granted') this.#held.push({ id, of, slot: acquired });
    } else if (this.#waiting.filter((each) => each.of === of).length >= this.queue) {
      expect(acquired).toStrictEqual({ kind: 'saturated', reason: 'queue_full' });
    } else {
      const place = this.#waiting.filter((each) => each.sinceMs <= sinceMs).length;
      expect(acquired.kind === 'queued' && acquired.place).toBe(place + 1);
      if (acquired.kind === 'queued')
        this.#waiting.splice(place, 0, { id, of, sinceMs, cancel: acquired.cancel });
    }
  }

  #cancel(at: number): void {
    const [leaves] = this.#waiting.splice(at % Math.max(1, this.#waiting.length), 1);
    if (leaves !== undefined) expect([leaves.cancel(), leaves.cancel()]).toStrictEqual([true, false]);
  }

  #release(at: number): void {
    const [ends] = this.#held.splice(at % Math.max(1, this.#held.length), 1);
    if (ends === undefined) return;
    const next = this.#waiting.shift();
    expect([ends.slot.release(0, null), ends.slot.release(0, null)]).toStrictEqual([true, false]);
    if (next !== undefined) expect(this.#held.at(-1)?.id).toBe(next.id);
  }
}

describe('slots that services share, under any order of events', () => {
  test('nobody is lost, no slot is given twice, and each counts its own and all', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 3 }),
        fc.nat({ max: 6 }),
        fc.array(step, { maxLength: 150 }),
        (concurrency, queue, steps) => {
          const model = new Model(concurrency, queue);
          for (const each of steps) model.take(each);
          model.finish();
        },
      ),
      { numRuns: 300 },
    );
  });
});
