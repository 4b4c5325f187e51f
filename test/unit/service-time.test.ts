/** The service time: what noise must not move, what a change must, and what is known after a silence. */
import { describe, expect, test } from '@jest/globals';
import { ServiceTime } from '../../sidecar/core/worker/service-time.ts';
import { Random } from '../../sim/random.ts';
import { expectNamed } from '../support/runner/expectations.ts';

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

describe('the service time of a peer', () => {
  test('it begins with the median of the first five, so a cold one is no measure', () => {
    const time = new ServiceTime();
    for (const [index, sample] of [500, 30, 31, 29].entries()) {
      time.add(sample, index);
      expectNamed(time.valueAt(index, true), 'too few to tell').toBe(null);
    }
    time.add(32, 4);
    expect(idleAt(time, 4)).toBe(31);
    time.add(37, 5);
    expectNamed(idleAt(time, 5), 'the sixth weighs a sixth').toBe(32);
  });

  test('samples in the same instant all count, and one NaN poisons nothing', () => {
    const time = known(10);
    time.add(Number.NaN, 0);
    time.add(Number.POSITIVE_INFINITY, 0);
    for (const sample of [16, 10, 10]) time.add(sample, 0);
    expect(Math.abs((idleAt(time, 0) ?? 0) - 10.75)).toBeLessThan(1e-9);
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
    expect(deviations[Math.floor(0.9 * deviations.length)] ?? 1).toBeLessThan(1 / 6);
    expectNamed(deviations.at(-1) ?? 1, `never taken for a change: ${deviations.at(-1)}`).toBeLessThan(0.5);
  });

  test('a worker slowed to a tenth is known as such after a few requests, and again when it is quick', () => {
    const time = known(100);
    for (let i = 0; i < 200; i += 1) time.add(100, i);
    for (let i = 0; i < 8; i += 1) time.add(1_000, 200 + i);
    expectNamed(idleAt(time, 208) ?? 0, String(idleAt(time, 208))).toBeGreaterThan(200);
    for (let i = 0; i < 200; i += 1) time.add(1_000, 300 + i);
    for (let i = 0; i < 30; i += 1) time.add(100, 600 + i);
    expectNamed(idleAt(time, 630) ?? 1_000, String(idleAt(time, 630))).toBeLessThan(400);
  });

  test('after a minute without work it is unknown, and the first request that is like the others settles it', () => {
    const time = known(100);
    expect(idleAt(time, MINUTE_MS)).toBe(100);
    expect(idleAt(time, MINUTE_MS + 1)).toBe(null);
    time.add(80, 2 * MINUTE_MS);
    expectNamed(idleAt(time, 2 * MINUTE_MS) ?? 0, 'the average goes on').toBeGreaterThan(90);
    expectNamed(idleAt(time, 4 * MINUTE_MS), 'the next silence is longer').not.toBe(null);
    expect(idleAt(time, 4 * MINUTE_MS + 1)).toBe(null);
  });

  test('the silence after which it is unknown grows to a quarter of an hour, no further', () => {
    const time = known(100);
    let nowMs = 0;
    for (let i = 0; i < 10; i += 1) {
      nowMs += 60 * MINUTE_MS;
      time.add(100, nowMs);
    }
    expect(idleAt(time, nowMs + 16 * MINUTE_MS)).toBe(100);
    expect(idleAt(time, nowMs + 16 * MINUTE_MS + 1)).toBe(null);
  });

  test('a worker that was slow and is quick again is known as quick after three trials', () => {
    const time = known(1_000);
    for (const sample of [90, 120]) {
      time.add(sample, 2 * MINUTE_MS);
      expectNamed(idleAt(time, 2 * MINUTE_MS), 'still on trial: the next request may come').toBe(null);
    }
    time.add(100, 2 * MINUTE_MS);
    expect(idleAt(time, 2 * MINUTE_MS)).toBe(100);
  });

  test('a trial that is not quick ends the row: after the next silence it takes three again', () => {
    const time = known(1_000);
    for (const sample of [90, 120, 900]) time.add(sample, 2 * MINUTE_MS);
    expect(idleAt(time, 2 * MINUTE_MS)).toBeGreaterThan(900);
    for (const sample of [90, 120]) {
      time.add(sample, 6 * MINUTE_MS);
      expect(idleAt(time, 6 * MINUTE_MS)).toBe(null);
    }
    time.add(100, 6 * MINUTE_MS);
    expect(idleAt(time, 6 * MINUTE_MS)).toBe(100);
  });

  test('requests longer than the silence are known, and a busy worker is not forgotten', () => {
    const time = new ServiceTime();
    for (let i = 1; i <= 6; i += 1) time.add(2 * MINUTE_MS, i * 2 * MINUTE_MS);
    expect(idleAt(time, 12 * MINUTE_MS)).toBe(2 * MINUTE_MS);
    expect(time.valueAt(14 * MINUTE_MS, true)).toBe(2 * MINUTE_MS);
    expect(idleAt(time, 14 * MINUTE_MS)).toBe(null);
  });
});
