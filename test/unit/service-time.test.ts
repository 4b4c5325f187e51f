/** The service time: what noise must not move, what a change must, and what is known after a silence. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Random } from '../../bench/sim/random.ts';
import { ServiceTime } from '../../sidecar/core/worker/service-time.ts';

const MINUTE_MS = 60_000;

/** Known at 0 to be `serviceMs`. */
function known(serviceMs: number): ServiceTime {
  const time = new ServiceTime();
  for (let i = 0; i < 5; i += 1) time.add(serviceMs, 0);
  return time;
}

function idleAt(time: ServiceTime, nowMs: number): number | null {
  return time.valueAt(nowMs, false);
}

test('it begins with the median of the first five, so a cold one is no measure', () => {
  const time = new ServiceTime();
  for (const [index, sample] of [500, 30, 31, 29].entries()) {
    time.add(sample, index);
    assert.equal(time.valueAt(index, true), null, 'too few to tell');
  }
  time.add(32, 4);
  assert.equal(idleAt(time, 4), 31);
  time.add(37, 5);
  assert.equal(idleAt(time, 5), 32, 'the sixth weighs a sixth');
});

test('samples in the same instant all count, and one NaN poisons nothing', () => {
  const time = known(10);
  time.add(Number.NaN, 0);
  time.add(Number.POSITIVE_INFINITY, 0);
  for (const sample of [16, 10, 10]) time.add(sample, 0);
  assert.ok(Math.abs((idleAt(time, 0) ?? 0) - 10.75) < 1e-9);
});

test('heavy-tailed work moves it little: a sixth at most in nine of ten moments', () => {
  const random = new Random(3);
  const time = new ServiceTime();
  const deviations: number[] = [];
  for (let i = 0; i < 50_000; i += 1) {
    time.add(random.logNormal(100, 1, 2_000), i);
    if (i >= 1_000) deviations.push(Math.abs((idleAt(time, i) ?? 0) / 100 - 1));
  }
  deviations.sort((a, b) => a - b);
  assert.ok((deviations[Math.floor(0.9 * deviations.length)] ?? 1) < 1 / 6);
  assert.ok((deviations.at(-1) ?? 1) < 0.5, `never taken for a change: ${deviations.at(-1)}`);
});

test('a worker slowed to a tenth is known as such after a few requests, and again when it is quick', () => {
  const time = known(100);
  for (let i = 0; i < 200; i += 1) time.add(100, i);
  for (let i = 0; i < 8; i += 1) time.add(1_000, 200 + i);
  assert.ok((idleAt(time, 208) ?? 0) > 200, String(idleAt(time, 208)));
  for (let i = 0; i < 200; i += 1) time.add(1_000, 300 + i);
  for (let i = 0; i < 30; i += 1) time.add(100, 600 + i);
  assert.ok((idleAt(time, 630) ?? 1_000) < 400, String(idleAt(time, 630)));
});

test('after a minute without work it is unknown, and the first request that is like the others settles it', () => {
  const time = known(100);
  assert.equal(idleAt(time, MINUTE_MS), 100);
  assert.equal(idleAt(time, MINUTE_MS + 1), null);
  time.add(80, 2 * MINUTE_MS);
  assert.ok((idleAt(time, 2 * MINUTE_MS) ?? 0) > 90, 'the average goes on');
  assert.ok(idleAt(time, 4 * MINUTE_MS) !== null, 'the next silence is longer');
  assert.equal(idleAt(time, 4 * MINUTE_MS + 1), null);
});

test('the silence after which it is unknown grows to a quarter of an hour, no further', () => {
  const time = known(100);
  let nowMs = 0;
  for (let i = 0; i < 10; i += 1) {
    nowMs += 60 * MINUTE_MS;
    time.add(100, nowMs);
  }
  assert.equal(idleAt(time, nowMs + 16 * MINUTE_MS), 100);
  assert.equal(idleAt(time, nowMs + 16 * MINUTE_MS + 1), null);
});

test('a worker that was slow and is quick again is known as quick after three trials', () => {
  const time = known(1_000);
  for (const sample of [90, 120]) {
    time.add(sample, 2 * MINUTE_MS);
    assert.equal(idleAt(time, 2 * MINUTE_MS), null, 'still on trial: the next request may come');
  }
  time.add(100, 2 * MINUTE_MS);
  assert.equal(idleAt(time, 2 * MINUTE_MS), 100);
});

test('requests longer than the silence are known, and a busy worker is not forgotten', () => {
  const time = new ServiceTime();
  for (let i = 1; i <= 6; i += 1) time.add(2 * MINUTE_MS, i * 2 * MINUTE_MS);
  assert.equal(idleAt(time, 12 * MINUTE_MS), 2 * MINUTE_MS);
  assert.equal(time.valueAt(14 * MINUTE_MS, true), 2 * MINUTE_MS);
  assert.equal(idleAt(time, 14 * MINUTE_MS), null);
});
