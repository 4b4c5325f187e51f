/** Health: ejection of peers, and routes that go down and come back. */
import assert from 'node:assert/strict';
import test from 'node:test';
import {
  EJECT_AFTER_FAILURES,
  EJECTION_MS,
  MAX_EJECTION_MS,
  PeerHealth,
} from '../../sidecar/core/peers/peer-health.ts';
import { RouteHealth } from '../../sidecar/core/peers/route-health.ts';

function ejected(): PeerHealth {
  const health = new PeerHealth();
  for (let i = 0; i < EJECT_AFTER_FAILURES; i += 1) health.failed(0);
  return health;
}

test('five failures in a row eject, four and a success do not', () => {
  const health = new PeerHealth();
  for (let i = 0; i < 4; i += 1) health.failed(0);
  health.succeeded(0);
  for (let i = 0; i < 4; i += 1) health.failed(0);
  assert.equal(health.isEjected(0), false);
  health.failed(0);
  assert.equal(health.isEjected(0), true);
  assert.equal(health.isEjected(EJECTION_MS - 1), true);
});

test('after the ejection one real request decides; others wait for it', () => {
  const health = ejected();
  assert.equal(health.isEjected(EJECTION_MS), false);
  health.tried(EJECTION_MS);
  assert.equal(health.state.kind, 'half_open');
  assert.equal(health.isEjected(EJECTION_MS + 1), true);
  health.succeeded(EJECTION_MS + 2);
  assert.deepEqual([health.state.kind, health.isEjected(EJECTION_MS + 2)], ['closed', false]);
});

test('a failed trial ejects for longer each time, up to a limit', () => {
  const health = ejected();
  let nowMs = EJECTION_MS;
  for (let n = 2; n <= 15; n += 1) {
    health.tried(nowMs);
    health.failed(nowMs);
    const lastsMs = Math.min(MAX_EJECTION_MS, n * EJECTION_MS);
    assert.equal(health.isEjected(nowMs + lastsMs - 1), true, `ejection ${n}`);
    nowMs += lastsMs;
    assert.equal(health.isEjected(nowMs), false, `ejection ${n}`);
  }
});

test('a trial whose client left is given back', () => {
  const health = ejected();
  health.tried(EJECTION_MS);
  health.abandoned(EJECTION_MS + 5);
  assert.equal(health.isEjected(EJECTION_MS + 5), false);
});

test('a trial that never ends does not bar for ever', () => {
  const health = ejected();
  health.tried(EJECTION_MS);
  assert.equal(health.isEjected(EJECTION_MS + 60_000), false);
});

test('a peer that was well for long starts at the short ejection again', () => {
  const health = ejected();
  health.tried(EJECTION_MS);
  health.failed(EJECTION_MS);
  health.succeeded(100_000);
  const laterMs = 100_000 + MAX_EJECTION_MS + 1;
  for (let i = 0; i < EJECT_AFTER_FAILURES; i += 1) health.failed(laterMs);
  assert.equal(health.isEjected(laterMs + EJECTION_MS), false);
});

test('a route is down after one failure, and a probe is due a second later', () => {
  const route = new RouteHealth();
  route.failed(0);
  assert.deepEqual([route.state.kind, route.usable(999), route.probeDue(999)], ['down', false, false]);
  assert.deepEqual([route.usable(1_000), route.probeDue(1_000)], [false, true]);
  route.tried(1_000);
  assert.deepEqual([route.state.kind, route.probeDue(1_001)], ['probing', false]);
  route.succeeded(1_002);
  assert.deepEqual([route.isUp, route.usable(1_002)], [true, true]);
});

test('where no probe comes, a request tries the route after 30 s, then ever more rarely', () => {
  const route = new RouteHealth();
  route.failed(0);
  assert.equal(route.usable(30_000), true);
  route.tried(30_000);
  assert.equal(route.usable(30_001), false);
  route.failed(31_000);
  assert.equal(route.usable(90_999), false);
  assert.equal(route.usable(91_000), true);
});

test('the extra time is a moving average of sane measurements', () => {
  const route = new RouteHealth();
  for (const ms of [Number.NaN, -1, Number.POSITIVE_INFINITY]) route.measured(ms);
  assert.ok(Number.isNaN(route.extraMs));
  route.measured(50);
  assert.equal(route.extraMs, 50);
  route.measured(100);
  assert.ok(route.extraMs > 50 && route.extraMs < 100);
});

test('one that has started anew is excused, and not again a moment later', () => {
  const health = new PeerHealth();
  const failUntilEjected = (nowMs: number): void => {
    for (let n = 0; n < EJECT_AFTER_FAILURES; n += 1) health.failed(nowMs);
    assert.ok(health.isEjected(nowMs));
  };
  failUntilEjected(0);
  assert.ok(health.reset(0));
  assert.ok(!health.isEjected(0));
  failUntilEjected(1_000);
  assert.ok(!health.reset(9_999));
  assert.ok(health.isEjected(9_999));
  assert.ok(health.reset(10_000));
  assert.ok(!health.isEjected(10_000));
});
