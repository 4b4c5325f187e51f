/**
 * A short chaos run with a fixed seed: what `npm run chaos` does for a minute, small enough for each build.
 *
 * All faults come from bench/chaos/plan.ts; a promise that breaks is named with its number.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import test, { type TestContext } from 'node:test';
import { whyNoNetwork } from '../../bench/chaos/network.ts';
import { type ChaosEvent, CUTS, FAULTS, planChaos } from '../../bench/chaos/plan.ts';
import type { Kept } from '../../bench/chaos/verdict.ts';
import { skipUnless } from '../support/needs.ts';

const CHAOS = join(import.meta.dirname, '../../bench/chaos.ts');
const SEED = 11;
const SECONDS = 15;
const WORKERS = 4;

interface Result {
  readonly promises: readonly Kept[];
  readonly events: readonly ChaosEvent[];
  readonly text: string;
}

/** As from the command line, since it starts itself again in a network of its own. */
async function chaos(t: TestContext): Promise<Result> {
  const options = { seed: SEED, seconds: SECONDS, workers: WORKERS, apps: 1, settle: 0 };
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const child = spawn(process.execPath, [CHAOS, ...args, '--json'], { stdio: ['ignore', 'pipe', 'pipe'] });
  t.after(() => child.kill('SIGKILL'));
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')]);
  t.diagnostic(err);
  assert.notEqual(out, '', 'it reported');
  return JSON.parse(out) as Result;
}

test('fifteen seconds of chaos break no promise', async (t) => {
  const cannotCut = skipUnless(whyNoNetwork());
  if (cannotCut !== false) t.diagnostic(`no host is parted from the others: ${cannotCut}`);
  const { events, promises, text } = await chaos(t);
  t.diagnostic(text);
  assert.deepEqual(
    promises.filter(({ isKept }) => !isKept),
    [],
  );
  assert.ok(events.length >= 3, 'faults did strike');
  if (cannotCut === false)
    assert.ok(
      events.some(({ fault }) => CUTS.has(fault)),
      'a host was parted',
    );
});

test('a plan is the same for the same seed, has every fault, and leaves a worker alone', () => {
  const plan = planChaos(1, 4, 600_000);
  assert.deepEqual(planChaos(1, 4, 600_000), plan);
  assert.notDeepEqual(planChaos(2, 4, 600_000), plan);
  assert.deepEqual(new Set(plan.map(({ fault }) => fault)), new Set(FAULTS));
  for (const { atMs } of plan) {
    const struck = plan.filter((event) => event.atMs <= atMs && atMs < event.atMs + event.lastsMs);
    assert.ok(new Set(struck.flatMap(({ targets }) => targets)).size < 4, `at ${atMs} ms all are struck`);
  }
});
