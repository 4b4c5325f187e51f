/** Who calls a service: counts of each, and how many share it over a while. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { ACTIVE_CALLER_WINDOW_MS, CallerCounts } from '../../sidecar/core/worker/caller-counts.ts';

test('requests are counted for each caller', () => {
  const callers = new CallerCounts();
  callers.began('a');
  callers.began('a');
  callers.began('b');
  assert.deepEqual([callers.outstandingOf('a'), callers.outstandingOf('b')], [2, 1]);
  callers.ended('a', 0);
  assert.deepEqual([callers.outstandingOf('a'), callers.outstandingOf('c')], [1, 0]);
});

test('a caller shares from its first request until a while after its last', () => {
  const callers = new CallerCounts();
  assert.equal(callers.activeCallers(0), 1, 'never less than one');
  callers.began('a');
  callers.began('b');
  assert.equal(callers.activeCallers(0), 2);
  callers.ended('b', 100);
  assert.equal(callers.activeCallers(100 + ACTIVE_CALLER_WINDOW_MS - 1), 2);
  assert.equal(callers.activeCallers(100 + ACTIVE_CALLER_WINDOW_MS), 1);
  assert.equal(callers.activeCallers(1e9), 1, 'a still has one here');
});

test('one that comes back is counted once, and from its last end', () => {
  const callers = new CallerCounts();
  for (const endMs of [0, 1_000, 2_000]) {
    callers.began('a');
    assert.equal(callers.activeCallers(endMs), 1);
    callers.ended('a', endMs);
  }
  callers.began('b');
  callers.ended('b', 2_000);
  assert.equal(callers.activeCallers(2_000), 2);
  assert.equal(callers.activeCallers(2_000 + ACTIVE_CALLER_WINDOW_MS - 1), 2);
});

test('an end without a beginning changes nothing', () => {
  const callers = new CallerCounts();
  callers.ended('a', 0);
  assert.deepEqual([callers.activeCallers(0), callers.outstandingOf('a')], [1, 0]);
});

test('callers without end cost bounded memory', () => {
  const callers = new CallerCounts();
  for (let i = 0; i < 10_000; i++) {
    callers.began(`caller ${i}`);
    callers.ended(`caller ${i}`, 0);
  }
  assert.equal(callers.activeCallers(0), 4_096);
});
