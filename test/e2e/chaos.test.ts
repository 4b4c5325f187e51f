/**
 * A short chaos run with a fixed seed: what `npm run chaos` does for a minute, small enough for each build.
 *
 * All faults come from bench/chaos/plan.ts; a promise that breaks is named with its number.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { FAULTS, planChaos } from '../../bench/chaos/plan.ts';
import { runChaos } from '../../bench/chaos/run.ts';
import { describe, judge } from '../../bench/chaos/verdict.ts';

test('fifteen seconds of chaos break no promise', async (t) => {
  const options = { seed: 7, seconds: 15, workers: 4, apps: 1, settleMs: 0 };
  const report = await runChaos({ ...options, say: (line) => t.diagnostic(line) });
  const promises = judge(report);
  t.diagnostic(describe(report, promises));
  assert.deepEqual(
    promises.filter(({ isKept }) => !isKept),
    [],
  );
  assert.ok(report.events.length >= 3, 'faults did strike');
});

test('a plan is the same for the same seed, has every fault, and leaves a worker alone', () => {
  const plan = planChaos(1, 4, 600_000);
  assert.deepEqual(planChaos(1, 4, 600_000), plan);
  assert.notDeepEqual(planChaos(2, 4, 600_000), plan);
  assert.deepEqual(new Set(plan.map(({ fault }) => fault)), new Set(FAULTS));
  for (const { atMs } of plan) {
    const struck = plan.filter(
      (event) => event.fault !== 'kill_bootstrap' && event.atMs <= atMs && atMs < event.atMs + event.lastsMs,
    );
    assert.ok(new Set(struck.map(({ target }) => target)).size < 4, `at ${atMs} ms all are struck`);
  }
});
