/** Admission: slots, the queue, and who is turned away. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { type Acquired, Admission, type Slot } from '../../sidecar/core/admission.ts';

function admission(changes: { concurrency?: number | null; queue?: number } = {}): Admission {
  return new Admission({ concurrency: 2, assumedConcurrency: 8, queue: 2, ...changes });
}

/** Acquires, and collects the slots that are granted later. */
function acquire(from: Admission, later: Slot[] = [], expectedQueue: number | null = null): Acquired {
  return from.acquire({ expectedQueue, onGranted: (slot) => later.push(slot) });
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
  slots.acquire({ expectedQueue: null, onGranted: () => order.push('a') });
  slots.acquire({ expectedQueue: null, onGranted: () => order.push('b') });
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

test('a storm of arrivals and cancels keeps the order', () => {
  const slots = admission({ concurrency: 1, queue: 10_000 });
  let held: Slot = granted(acquire(slots));
  const order: number[] = [];
  const waiting: Acquired[] = [];
  for (let i = 0; i < 5_000; i += 1) {
    waiting.push(
      slots.acquire({
        expectedQueue: null,
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
