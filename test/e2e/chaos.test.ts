/**
 * A short chaos run with a fixed seed: what `npm run chaos` does for a minute, small enough for each build.
 *
 * All faults come from chaos/plan.ts; a promise that breaks is named with its number.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, expect, test } from '@jest/globals';
import { whyNoNetwork } from '../../chaos/network.ts';
import { type ChaosEvent, CUTS, FAULTS, planChaos } from '../../chaos/plan.ts';
import type { Kept } from '../../chaos/verdict.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { note } from '../support/runner/note.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { unlessInCi } from '../support/runner/test-unless.ts';

const CHAOS = join(import.meta.dirname, '../../chaos/command.ts');
const SEED = 11;
const SECONDS = 15;
const WORKERS = 4;

interface Result {
  readonly promises: readonly Kept[];
  readonly events: readonly ChaosEvent[];
  readonly text: string;
}

/** As from the command line, since it starts itself again in a network of its own. */
async function chaos(): Promise<Result> {
  const options = { seed: SEED, seconds: SECONDS, workers: WORKERS, apps: 1, settle: 0 };
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const child = spawn(process.execPath, [CHAOS, ...args, '--json'], { stdio: ['ignore', 'pipe', 'pipe'] });
  onTestEnd(() => child.kill('SIGKILL'));
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')]);
  note(err);
  expectNamed(out, 'it reported').not.toBe('');
  return JSON.parse(out) as Result;
}

describe('a chaos run', () => {
  test('fifteen seconds of chaos break no promise', async () => {
    const cannotCut = unlessInCi(whyNoNetwork());
    if (cannotCut !== null) note(`no host is parted from the others: ${cannotCut}`);
    const { events, promises, text } = await chaos();
    note(text);
    expect(promises.filter(({ isKept }) => !isKept)).toStrictEqual([]);
    expectNamed(events.length, 'faults did strike').toBeGreaterThanOrEqual(3);
    if (cannotCut === null)
      expectNamed(
        events.some(({ fault }) => CUTS.has(fault)),
        'a host was parted',
      ).toBe(true);
  });

  test('a plan is the same for the same seed, has every fault, and leaves a worker alone', () => {
    const plan = planChaos(1, 4, 600_000);
    expect(planChaos(1, 4, 600_000)).toStrictEqual(plan);
    expect(planChaos(2, 4, 600_000)).not.toStrictEqual(plan);
    expect(new Set(plan.map(({ fault }) => fault))).toStrictEqual(new Set(FAULTS));
    for (const { atMs } of plan) {
      const struck = plan.filter((event) => event.atMs <= atMs && atMs < event.atMs + event.lastsMs);
      expectNamed(
        new Set(struck.flatMap(({ targets }) => targets)).size,
        `at ${atMs} ms all are struck`,
      ).toBeLessThan(4);
    }
  });
});
