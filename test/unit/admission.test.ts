/** Admission: slots, the queue, and who is turned away. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, test } from '@jest/globals';
import { type Acquired, Admission, type Slot } from '../../sidecar/core/worker/admission.ts';
import { expectNamed } from '../support/runner/expectations.ts';

function admission(changes: { concurrency?: number | null; queue?: number } = {}): Admission {
  return new Admission({ concurrency: 2, assumedConcurrency: 8, queue: 2, ...changes });
}

/** Acquires, and collects the slots that are granted later. */
function acquire(from: Admission, later: Slot[] = [], expectedQueue: number | null = null): Acquired {
  return from.acquire({ expectedQueue, sinceMs: 0, onGranted: (slot) => later.push(slot) });
}

/** What nobody holds any more is gone when it resolves. */
async function collectGarbage(): Promise<void> {
  // A WeakRef holds until the end of the turn in which it was made.
  await new Promise((resolve) => setImmediate(resolve));
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}

function granted(acquired: Acquired): Slot {
  expect(acquired.kind).toBe('granted');
  return acquired as Slot;
}

describe("a worker's slots and queue", () => {
  test('slots first, then the queue, then no more', () => {
    const slots = admission();
    const kinds = Array.from({ length: 5 }, () => acquire(slots)).map((each) => each.kind);
    expect(kinds).toStrictEqual(['granted', 'granted', 'queued', 'queued', 'saturated']);
    expect([slots.inFlight, slots.queued, slots.load]).toStrictEqual([2, 2, 1]);
  });

  test('the one who waited longest goes first', () => {
    const slots = admission();
    const first = granted(acquire(slots));
    const second = granted(acquire(slots));
    const order: string[] = [];
    slots.acquire({ expectedQueue: null, sinceMs: 0, onGranted: () => order.push('a') });
    slots.acquire({ expectedQueue: null, sinceMs: 0, onGranted: () => order.push('b') });
    first.release(0, 1);
    second.release(0, 1);
    expect(order).toStrictEqual(['a', 'b']);
    expect([slots.inFlight, slots.queued]).toStrictEqual([2, 0]);
  });

  test('who leaves the queue is not called, and makes room', () => {
    const slots = admission({ concurrency: 1, queue: 1 });
    const held = granted(acquire(slots));
    const later: Slot[] = [];
    const waiting = acquire(slots, later);
    expect(waiting.kind === 'queued' && waiting.cancel()).toBe(true);
    expect(waiting.kind === 'queued' && waiting.cancel()).toBe(false);
    expect(slots.queued).toBe(0);
    expect(acquire(slots, later).kind).toBe('queued');
    held.release(0, null);
    expect(later).toHaveLength(1);
  });

  test('a cancel after the grant says so, and the slot is still to be released', () => {
    const slots = admission({ concurrency: 1 });
    const held = granted(acquire(slots));
    const later: Slot[] = [];
    const waiting = acquire(slots, later);
    held.release(0, null);
    expect(waiting.kind === 'queued' && waiting.cancel()).toBe(false);
    expect(slots.inFlight).toBe(1);
    later[0]?.release(0, null);
    expect(slots.inFlight).toBe(0);
  });

  test('a slot is given back once', () => {
    const slots = admission();
    const held = granted(acquire(slots));
    held.release(0, 5);
    held.release(0, 5);
    expect(slots.inFlight).toBe(0);
  });

  test('a caller who expects a shorter queue is turned away at once', () => {
    const slots = admission({ concurrency: 1, queue: 10 });
    expect(acquire(slots, [], 0).kind).toBe('granted');
    expect(acquire(slots, [], 0)).toStrictEqual({ kind: 'saturated', reason: 'longer_than_expected' });
    expect(acquire(slots, [], 1).kind).toStrictEqual('queued');
    expect(acquire(slots, [], 1)).toStrictEqual({ kind: 'saturated', reason: 'longer_than_expected' });
    expect(acquire(slots, [], 2).kind).toStrictEqual('queued');
    expect(acquire(slots, [], null).kind).toStrictEqual('queued');
  });

  test('without a limit everything is granted, and the load is of the assumed slots', () => {
    const slots = admission({ concurrency: null });
    for (let i = 0; i < 4; i += 1) granted(acquire(slots, [], 0));
    expect([slots.load, slots.concurrency]).toStrictEqual([0.5, 0]);
    for (let i = 0; i < 100; i += 1) granted(acquire(slots));
    expect(slots.load).toBe(1);
  });

  test('only what was served counts as service time', () => {
    const slots = admission();
    expect(slots.serviceMs(0)).toBe(null);
    granted(acquire(slots)).release(0, null);
    expect(slots.serviceMs(0)).toBe(null);
    for (const serviceMs of [900, 100, 150, 200]) granted(acquire(slots)).release(0, serviceMs);
    expectNamed(slots.serviceMs(0), 'a few, the first of them cold, say nothing yet').toBe(null);
    granted(acquire(slots)).release(0, 150);
    expect(slots.serviceMs(0)).toBe(150);
    expectNamed(slots.serviceMs(120_000), 'a minute without a request: unknown again').toBe(null);
  });

  test('what a request took at a worker that failed meanwhile is no measure of the one that is back', () => {
    const slots = admission({ concurrency: 20 });
    const caught = Array.from({ length: 10 }, () => granted(acquire(slots)));
    for (const slot of caught.slice(5)) slot.release(10, 10);
    expect(slots.serviceMs(10)).toBe(10);
    slots.workerFailed();
    expect(slots.serviceMs(10)).toBe(null);
    for (const slot of caught.slice(0, 5)) slot.release(5_000, 5_000);
    expect([slots.serviceMs(5_000), slots.inFlight]).toStrictEqual([null, 0]);
    for (const slot of Array.from({ length: 5 }, () => granted(acquire(slots)))) slot.release(5_010, 10);
    expect(slots.serviceMs(5_010)).toBe(10);
  });

  test('a storm of cancels behind one who waits: those who left are not kept', async () => {
    const slots = admission({ concurrency: 1, queue: 1_000 });
    granted(acquire(slots));
    acquire(slots);
    const left: WeakRef<object>[] = [];
    for (let n = 0; n < 1_000; n++) {
      const onGranted = (): void => {};
      left.push(new WeakRef(onGranted));
      const waiting = slots.acquire({ expectedQueue: null, sinceMs: 0, onGranted });
      expect(waiting.kind === 'queued' && waiting.cancel()).toBe(true);
    }
    await collectGarbage();
    const kept = left.filter((each) => each.deref() !== undefined).length;
    expectNamed(kept, `${kept} of 1,000`).toBeLessThanOrEqual(100);
    expectNamed(slots.queued, 'the queue itself is still there').toBe(1);
  });

  test('a waiter that throws leaves the counts right', () => {
    const slots = admission({ concurrency: 1 });
    const held = granted(acquire(slots));
    let slot: Slot | undefined;
    slots.acquire({
      expectedQueue: null,
      sinceMs: 0,
      onGranted: (given) => {
        slot = given;
        throw new Error('waiter');
      },
    });
    expect(() => held.release(0, null)).toThrow(/waiter/);
    expect([slots.inFlight, slots.queued]).toStrictEqual([1, 0]);
    slot?.release(0, null);
    expect(slots.inFlight).toBe(0);
  });

  test('a full queue: who is under way for much longer takes the place of the last, who is told', () => {
    const slots = admission({ concurrency: 1, queue: 2 });
    const held = granted(acquire(slots));
    const order: string[] = [];
    const come = (name: string, sinceMs: number): Acquired =>
      slots.acquire({
        expectedQueue: null,
        sinceMs,
        onGranted: (slot) => {
          order.push(name);
          slot.release(0, null);
        },
        onDisplaced: () => order.push(`${name} displaced`),
      });
    come('first', 10_000);
    come('last', 10_001);
    expectNamed(come('a little older', 9_950).kind, 'nearly all who come are').toBe('saturated');
    expect(order).toStrictEqual([]);
    const moved = come('much older', 1_000);
    expect([moved.kind, moved.kind === 'queued' && moved.place]).toStrictEqual(['queued', 1]);
    expect([order, slots.queued]).toStrictEqual([['last displaced'], 2]);
    held.release(0, null);
    expect(order).toStrictEqual(['last displaced', 'much older', 'first']);
    expect([slots.inFlight, slots.queued]).toStrictEqual([0, 0]);
  });

  test('a storm of arrivals and cancels keeps the order', () => {
    const slots = admission({ concurrency: 1, queue: 10_000 });
    let held: Slot = granted(acquire(slots));
    const order: number[] = [];
    const waiting: Acquired[] = [];
    for (let i = 0; i < 5_000; i += 1) {
      waiting.push(
        slots.acquire({
          expectedQueue: null,
          sinceMs: 0,
          onGranted: (slot) => {
            order.push(i);
            held = slot;
          },
        }),
      );
    }
    for (const [i, each] of waiting.entries()) if (i % 3 !== 0 && each.kind === 'queued') each.cancel();
    while (slots.queued > 0) held.release(0, null);
    expect(order).toStrictEqual(Array.from({ length: 1_667 }, (_, i) => i * 3));
  });

  /** All slots taken, and one waiter per age; `order` fills with the ages as they are served. */
  function queueOf(agesSinceMs: readonly number[], queue = 100) {
    const slots = admission({ concurrency: 1, queue });
    const order: string[] = [];
    let held: Slot = granted(acquire(slots));
    const wait = (sinceMs: number, name = String(sinceMs), expectedQueue: number | null = null): Acquired =>
      slots.acquire({
        sinceMs,
        expectedQueue,
        onGranted: (slot) => {
          order.push(name);
          held = slot;
        },
      });
    const waiting = agesSinceMs.map((sinceMs) => wait(sinceMs));
    return { slots, order, waiting, wait, serve: () => held.release(0, null) };
  }

  function placeOf(acquired: Acquired): number {
    expect(acquired.kind).toBe('queued');
    return acquired.kind === 'queued' ? acquired.place : Number.NaN;
  }

  function leave(acquired: Acquired | undefined): void {
    expect(acquired?.kind === 'queued' && acquired.cancel()).toBe(true);
  }

  test('those under way longest go first, and equals as they came', () => {
    const { slots, order, wait, serve } = queueOf([30, 10, 20]);
    wait(20, '20 again');
    wait(10, '10 again');
    wait(5);
    while (slots.queued > 0) serve();
    expect(order).toStrictEqual(['5', '10', '10 again', '20', '20 again', '30']);
  });

  test('the place counts those before it alone, not those who left nor the younger', () => {
    const { slots, order, waiting, wait, serve } = queueOf([10, 20, 30, 40]);
    expect(placeOf(wait(25))).toBe(3);
    leave(waiting[0]);
    leave(waiting[3]);
    expectNamed(placeOf(wait(27)), 'after 20 and 25').toBe(3);
    expect(placeOf(wait(1))).toBe(1);
    expect(placeOf(wait(99))).toBe(6);
    expect(slots.queued).toBe(6);
    serve();
    expectNamed(placeOf(wait(2)), 'who was served is not before it').toBe(1);
    while (slots.queued > 0) serve();
    expect(order).toStrictEqual(['1', '2', '20', '25', '27', '30', '99']);
  });

  test('the expectation is of that place', () => {
    const { slots, wait } = queueOf([10, 20, 30]);
    expect(wait(40, '40', 3)).toStrictEqual({ kind: 'saturated', reason: 'longer_than_expected' });
    expect(wait(10, '10', 1)).toStrictEqual({ kind: 'saturated', reason: 'longer_than_expected' });
    expectNamed(slots.queued, 'who is turned away does not wait').toBe(3);
    expect(placeOf(wait(15, '15', 2))).toBe(2);
    expect(placeOf(wait(5, '5', 1))).toBe(1);
    expectNamed(wait(1, '1', 0), 'no slot is free').toStrictEqual({
      kind: 'saturated',
      reason: 'longer_than_expected',
    });
  });

  test('a full queue is full for the oldest too', () => {
    const { slots, wait, waiting } = queueOf([10, 20], 2);
    expect(wait(1)).toStrictEqual({ kind: 'saturated', reason: 'queue_full' });
    expect(slots.longestSinceMs).toBe(10);
    leave(waiting[1]);
    expect(placeOf(wait(1))).toBe(1);
  });

  test('since when the first is under way, whoever leaves or is served', () => {
    const { slots, order, waiting, wait, serve } = queueOf([10, 20, 30, 40]);
    expect(slots.longestSinceMs).toBe(10);
    leave(waiting[1]);
    expect(slots.longestSinceMs).toBe(10);
    leave(waiting[0]);
    expect(slots.longestSinceMs).toBe(30);
    wait(25);
    expectNamed(
      slots.longestSinceMs,
      'where the front has moved on, an older one still comes before it',
    ).toBe(25);
    serve();
    expect(slots.longestSinceMs).toBe(30);
    leave(waiting[2]);
    leave(waiting[3]);
    expect(slots.longestSinceMs).toBe(null);
    wait(50);
    expect(slots.longestSinceMs).toBe(50);
    serve();
    serve();
    expect([slots.longestSinceMs, slots.queued, slots.inFlight]).toStrictEqual([null, 0, 0]);
    expect(order).toStrictEqual(['25', '50']);
    expect(admission().longestSinceMs).toBe(null);
  });
});
