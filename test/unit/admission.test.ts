/** Admission: slots, the queue, and who is turned away. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { type Acquired, Admission, type Slot } from '../../sidecar/core/worker/admission.ts';

function admission(changes: { concurrency?: number | null; queue?: number } = {}): Admission {
  return new Admission({ concurrency: 2, assumedConcurrency: 8, queue: 2, ...changes });
}

/** Acquires, and collects the slots that are granted later. */
function acquire(from: Admission, later: Slot[] = [], expectedQueue: number | null = null): Acquired {
  return from.acquire({ expectedQueue, sinceMs: 0, onGranted: (slot) => later.push(slot) });
}

function granted(acquired: Acquired): Slot {
  assert.equal(acquired.kind, 'granted');
  return acquired as Slot;
}

test('slots first, then the queue, then no more', () => {
  const slots = admission();
  const kinds = Array.from({ length: 5 }, () => acquire(slots)).map((each) => each.kind);
  assert.deepEqual(kinds, ['granted', 'granted', 'queued', 'queued', 'saturated']);
  assert.deepEqual([slots.inFlight, slots.queued, slots.load], [2, 2, 1]);
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
  assert.deepEqual(order, ['a', 'b']);
  assert.deepEqual([slots.inFlight, slots.queued], [2, 0]);
});

test('who leaves the queue is not called, and makes room', () => {
  const slots = admission({ concurrency: 1, queue: 1 });
  const held = granted(acquire(slots));
  const later: Slot[] = [];
  const waiting = acquire(slots, later);
  assert.equal(waiting.kind === 'queued' && waiting.cancel(), true);
  assert.equal(waiting.kind === 'queued' && waiting.cancel(), false);
  assert.equal(slots.queued, 0);
  assert.equal(acquire(slots, later).kind, 'queued');
  held.release(0, null);
  assert.equal(later.length, 1);
});

test('a cancel after the grant says so, and the slot is still to be released', () => {
  const slots = admission({ concurrency: 1 });
  const held = granted(acquire(slots));
  const later: Slot[] = [];
  const waiting = acquire(slots, later);
  held.release(0, null);
  assert.equal(waiting.kind === 'queued' && waiting.cancel(), false);
  assert.equal(slots.inFlight, 1);
  later[0]?.release(0, null);
  assert.equal(slots.inFlight, 0);
});

test('a slot is given back once', () => {
  const slots = admission();
  const held = granted(acquire(slots));
  held.release(0, 5);
  held.release(0, 5);
  assert.equal(slots.inFlight, 0);
});

test('a caller who expects a shorter queue is turned away at once', () => {
  const slots = admission({ concurrency: 1, queue: 10 });
  assert.equal(acquire(slots, [], 0).kind, 'granted');
  assert.deepEqual(acquire(slots, [], 0), { kind: 'saturated', reason: 'longer_than_expected' });
  assert.deepEqual(acquire(slots, [], 1).kind, 'queued');
  assert.deepEqual(acquire(slots, [], 1), { kind: 'saturated', reason: 'longer_than_expected' });
  assert.deepEqual(acquire(slots, [], 2).kind, 'queued');
  assert.deepEqual(acquire(slots, [], null).kind, 'queued');
});

test('without a limit everything is granted, and the load is of the assumed slots', () => {
  const slots = admission({ concurrency: null });
  for (let i = 0; i < 4; i += 1) granted(acquire(slots, [], 0));
  assert.deepEqual([slots.load, slots.concurrency], [0.5, 0]);
  for (let i = 0; i < 100; i += 1) granted(acquire(slots));
  assert.equal(slots.load, 1);
});

test('only what was served counts as service time', () => {
  const slots = admission();
  assert.equal(slots.serviceMs(0), null);
  granted(acquire(slots)).release(0, null);
  assert.equal(slots.serviceMs(0), null);
  for (const serviceMs of [900, 100, 150, 200]) granted(acquire(slots)).release(0, serviceMs);
  assert.equal(slots.serviceMs(0), null, 'a few, the first of them cold, say nothing yet');
  granted(acquire(slots)).release(0, 150);
  assert.equal(slots.serviceMs(0), 150);
  assert.equal(slots.serviceMs(120_000), null, 'a minute without a request: unknown again');
});

test('what a request took at a worker that failed meanwhile is no measure of the one that is back', () => {
  const slots = admission({ concurrency: 20 });
  const caught = Array.from({ length: 10 }, () => granted(acquire(slots)));
  for (const slot of caught.slice(5)) slot.release(10, 10);
  assert.equal(slots.serviceMs(10), 10);
  slots.workerFailed();
  assert.equal(slots.serviceMs(10), null);
  for (const slot of caught.slice(0, 5)) slot.release(5_000, 5_000);
  assert.deepEqual([slots.serviceMs(5_000), slots.inFlight], [null, 0]);
  for (const slot of Array.from({ length: 5 }, () => granted(acquire(slots)))) slot.release(5_010, 10);
  assert.equal(slots.serviceMs(5_010), 10);
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
  assert.throws(() => held.release(0, null), /waiter/);
  assert.deepEqual([slots.inFlight, slots.queued], [1, 0]);
  slot?.release(0, null);
  assert.equal(slots.inFlight, 0);
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
  assert.equal(come('a little older', 9_950).kind, 'saturated', 'nearly all who come are');
  assert.deepEqual(order, []);
  const moved = come('much older', 1_000);
  assert.deepEqual([moved.kind, moved.kind === 'queued' && moved.place], ['queued', 1]);
  assert.deepEqual([order, slots.queued], [['last displaced'], 2]);
  held.release(0, null);
  assert.deepEqual(order, ['last displaced', 'much older', 'first']);
  assert.deepEqual([slots.inFlight, slots.queued], [0, 0]);
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
  assert.deepEqual(
    order,
    Array.from({ length: 1_667 }, (_, i) => i * 3),
  );
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
  assert.equal(acquired.kind, 'queued');
  return acquired.kind === 'queued' ? acquired.place : Number.NaN;
}

function leave(acquired: Acquired | undefined): void {
  assert.equal(acquired?.kind === 'queued' && acquired.cancel(), true);
}

test('those under way longest go first, and equals as they came', () => {
  const { slots, order, wait, serve } = queueOf([30, 10, 20]);
  wait(20, '20 again');
  wait(10, '10 again');
  wait(5);
  while (slots.queued > 0) serve();
  assert.deepEqual(order, ['5', '10', '10 again', '20', '20 again', '30']);
});

test('the place counts those before it alone, not those who left nor the younger', () => {
  const { slots, order, waiting, wait, serve } = queueOf([10, 20, 30, 40]);
  assert.equal(placeOf(wait(25)), 3);
  leave(waiting[0]);
  leave(waiting[3]);
  assert.equal(placeOf(wait(27)), 3, 'after 20 and 25');
  assert.equal(placeOf(wait(1)), 1);
  assert.equal(placeOf(wait(99)), 6);
  assert.equal(slots.queued, 6);
  serve();
  assert.equal(placeOf(wait(2)), 1, 'who was served is not before it');
  while (slots.queued > 0) serve();
  assert.deepEqual(order, ['1', '2', '20', '25', '27', '30', '99']);
});

test('the expectation is of that place', () => {
  const { slots, wait } = queueOf([10, 20, 30]);
  assert.deepEqual(wait(40, '40', 3), { kind: 'saturated', reason: 'longer_than_expected' });
  assert.deepEqual(wait(10, '10', 1), { kind: 'saturated', reason: 'longer_than_expected' });
  assert.equal(slots.queued, 3, 'who is turned away does not wait');
  assert.equal(placeOf(wait(15, '15', 2)), 2);
  assert.equal(placeOf(wait(5, '5', 1)), 1);
  assert.deepEqual(wait(1, '1', 0), { kind: 'saturated', reason: 'longer_than_expected' }, 'no slot is free');
});

test('a full queue is full for the oldest too', () => {
  const { slots, wait, waiting } = queueOf([10, 20], 2);
  assert.deepEqual(wait(1), { kind: 'saturated', reason: 'queue_full' });
  assert.equal(slots.longestSinceMs, 10);
  leave(waiting[1]);
  assert.equal(placeOf(wait(1)), 1);
});

test('since when the first is under way, whoever leaves or is served', () => {
  const { slots, order, waiting, wait, serve } = queueOf([10, 20, 30, 40]);
  assert.equal(slots.longestSinceMs, 10);
  leave(waiting[1]);
  assert.equal(slots.longestSinceMs, 10);
  leave(waiting[0]);
  assert.equal(slots.longestSinceMs, 30);
  wait(25);
  assert.equal(slots.longestSinceMs, 25, 'where the front has moved on, an older one still comes before it');
  serve();
  assert.equal(slots.longestSinceMs, 30);
  leave(waiting[2]);
  leave(waiting[3]);
  assert.equal(slots.longestSinceMs, null);
  wait(50);
  assert.equal(slots.longestSinceMs, 50);
  serve();
  serve();
  assert.deepEqual([slots.longestSinceMs, slots.queued, slots.inFlight], [null, 0, 0]);
  assert.deepEqual(order, ['25', '50']);
  assert.equal(admission().longestSinceMs, null);
});
