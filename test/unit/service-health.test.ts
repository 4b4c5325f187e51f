/** Health: ejection of peers, and routes that go down and come back. */
import { describe, expect, test } from '@jest/globals';
import { RouteHealth } from '../../sidecar/core/peers/route-health.ts';
import {
  EJECT_AFTER_FAILURES,
  EJECTION_MS,
  MAX_EJECTION_MS,
  ServiceHealth,
} from '../../sidecar/core/peers/service-health.ts';
import { expectNamed } from '../support/runner/expectations.ts';

function ejected(): ServiceHealth {
  const health = new ServiceHealth();
  for (let i = 0; i < EJECT_AFTER_FAILURES; i += 1) health.failed(0);
  return health;
}

describe('the health of peers and routes', () => {
  test('five failures in a row eject, four and a success do not', () => {
    const health = new ServiceHealth();
    for (let i = 0; i < 4; i += 1) health.failed(0);
    health.succeeded(0);
    for (let i = 0; i < 4; i += 1) health.failed(0);
    expect(health.isEjected(0)).toBe(false);
    health.failed(0);
    expect(health.isEjected(0)).toBe(true);
    expect(health.isEjected(EJECTION_MS - 1)).toBe(true);
  });

  test('after the ejection one real request decides; others wait for it', () => {
    const health = ejected();
    expect(health.isEjected(EJECTION_MS)).toBe(false);
    health.tried(EJECTION_MS);
    expect(health.state.kind).toBe('half_open');
    expect(health.isEjected(EJECTION_MS + 1)).toBe(true);
    health.succeeded(EJECTION_MS + 2);
    expect([health.state.kind, health.isEjected(EJECTION_MS + 2)]).toStrictEqual(['closed', false]);
  });

  test('a failed trial ejects for longer each time, up to a limit', () => {
    const health = ejected();
    let nowMs = EJECTION_MS;
    for (let n = 2; n <= 15; n += 1) {
      health.tried(nowMs);
      health.failed(nowMs);
      const lastsMs = Math.min(MAX_EJECTION_MS, n * EJECTION_MS);
      expectNamed(health.isEjected(nowMs + lastsMs - 1), `ejection ${n}`).toBe(true);
      nowMs += lastsMs;
      expectNamed(health.isEjected(nowMs), `ejection ${n}`).toBe(false);
    }
  });

  test('a trial whose client left is given back', () => {
    const health = ejected();
    health.tried(EJECTION_MS);
    health.abandoned(EJECTION_MS + 5);
    expect(health.isEjected(EJECTION_MS + 5)).toBe(false);
  });

  test('a trial that never ends does not bar for ever', () => {
    const health = ejected();
    health.tried(EJECTION_MS);
    expect(health.isEjected(EJECTION_MS + 60_000)).toBe(false);
  });

  test('a peer that was well for long starts at the short ejection again', () => {
    const health = ejected();
    health.tried(EJECTION_MS);
    health.failed(EJECTION_MS);
    health.succeeded(100_000);
    const laterMs = 100_000 + MAX_EJECTION_MS + 1;
    for (let i = 0; i < EJECT_AFTER_FAILURES; i += 1) health.failed(laterMs);
    expect(health.isEjected(laterMs + EJECTION_MS)).toBe(false);
  });

  test('a peer that recovers and fails again soon is ejected for longer than before', () => {
    const health = ejected();
    health.tried(EJECTION_MS);
    health.succeeded(EJECTION_MS);
    const againMs = EJECTION_MS + MAX_EJECTION_MS;
    for (let i = 0; i < EJECT_AFTER_FAILURES; i += 1) health.failed(againMs);
    expect(health.state).toStrictEqual({ kind: 'ejected', untilMs: againMs + 2 * EJECTION_MS });
  });

  test('requests that an ejected peer gets because nobody else is left are no trial: their failures prolong nothing', () => {
    const health = ejected();
    health.tried(EJECTION_MS - 1);
    expect(health.state).toStrictEqual({ kind: 'ejected', untilMs: EJECTION_MS });
    health.failed(EJECTION_MS - 1);
    expect(health.state).toStrictEqual({ kind: 'ejected', untilMs: EJECTION_MS });
    expect(health.isEjected(EJECTION_MS)).toBe(false);
  });

  test('a success of a request that an ejected peer got because nobody else was left ends the ejection', () => {
    const health = ejected();
    health.succeeded(1);
    expect([health.state.kind, health.consecutiveFailures]).toStrictEqual(['closed', 0]);
  });

  test('a route is down after one failure, and a probe is due a second later', () => {
    const route = new RouteHealth();
    route.failed(0);
    expect([route.state.kind, route.usable(999), route.probeDue(999)]).toStrictEqual(['down', false, false]);
    expect([route.usable(1_000), route.probeDue(1_000)]).toStrictEqual([false, true]);
    route.tried(1_000);
    expect([route.state.kind, route.probeDue(1_001)]).toStrictEqual(['probing', false]);
    route.succeeded(1_002);
    expect([route.isUp, route.usable(1_002)]).toStrictEqual([true, true]);
  });

  test('where no probe comes, a request tries the route after 30 s, then ever more rarely', () => {
    const route = new RouteHealth();
    route.failed(0);
    expect(route.usable(30_000)).toBe(true);
    route.tried(30_000);
    expect(route.usable(30_001)).toBe(false);
    route.failed(31_000);
    expect(route.usable(90_999)).toBe(false);
    expect(route.usable(91_000)).toBe(true);
  });

  test('the extra time is a moving average of sane measurements', () => {
    const route = new RouteHealth();
    for (const ms of [Number.NaN, -1, Number.POSITIVE_INFINITY]) route.measured(ms);
    expect(route.extraMs).toBeNaN();
    route.measured(50);
    expect(route.extraMs).toBe(50);
    route.measured(100);
    expect(route.extraMs).toBeGreaterThan(50);
    expect(route.extraMs).toBeLessThan(100);
  });

  test('one that has started anew is excused, and not again a moment later', () => {
    const health = new ServiceHealth();
    const failUntilEjected = (nowMs: number): void => {
      for (let n = 0; n < EJECT_AFTER_FAILURES; n += 1) health.failed(nowMs);
      expect(health.isEjected(nowMs)).toBe(true);
    };
    failUntilEjected(0);
    expect(health.reset(0)).toBe(true);
    expect(health.isEjected(0)).toBe(false);
    failUntilEjected(1_000);
    expect(health.reset(9_999)).toBe(false);
    expect(health.isEjected(9_999)).toBe(true);
    expect(health.reset(10_000)).toBe(true);
    expect(health.isEjected(10_000)).toBe(false);
  });
});
