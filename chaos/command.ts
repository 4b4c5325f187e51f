/**
 * `npm run chaos -- --seconds 60 --seed 1`: a fleet of real sidecars and workers under constant mixed load, while a
 * seeded plan kills, suspends, drains, slows, parts and breaks them. Exit code 1 when a promise was broken.
 *
 * It starts itself again in a network of its own, where packets can be dropped; where that is not to be had it says
 * so, and no host is parted. What it compares with: nothing; it counts what must be zero. `--json` prints the counts
 * for machines.
 */
import { parseArgs } from 'node:util';
import { isInOwnNetwork, runInOwnNetwork, whyNoNetwork } from './network.ts';
import { runChaos } from './run.ts';
import { KINDS } from './tally.ts';
import { describe, judge } from './verdict.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: '1' },
    workers: { type: 'string', default: '5' },
    apps: { type: 'string', default: '2' },
    // Kept connections close after a minute.
    settle: { type: 'string', default: '70' },
    json: { type: 'boolean', default: false },
  },
});

function count(name: 'seconds' | 'seed' | 'workers' | 'apps' | 'settle', least: number): number {
  const value = Number(values[name]);
  if (!Number.isInteger(value) || value < least)
    throw new Error(`--${name} must be a whole number from ${least}`);
  return value;
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

async function run(): Promise<number> {
  const report = await runChaos({
    seconds: count('seconds', 5),
    seed: count('seed', 0),
    workers: count('workers', 2),
    apps: count('apps', 1),
    settleMs: count('settle', 0) * 1_000,
    say,
  });
  const promises = judge(report);
  const { tally } = report;
  const counts = Object.fromEntries(
    KINDS.map((kind) => [
      kind,
      Object.fromEntries(
        (['ok', 'failed', 'cut', 'truncated', 'stuck'] as const).map((end) => [end, tally.count(kind, end)]),
      ),
    ]),
  );
  const text = describe(report, promises);
  if (values.json) {
    const { crashes, events } = report;
    process.stdout.write(`${JSON.stringify({ promises, counts, events, crashes, text }, null, 2)}\n`);
  } else process.stdout.write(text);
  return promises.every(({ isKept }) => isKept) ? 0 : 1;
}

const missing = isInOwnNetwork() ? null : whyNoNetwork();
if (missing !== null) say(`no host will be parted from the others: ${missing}`);
process.exitCode = missing === null && !isInOwnNetwork() ? await runInOwnNetwork() : await run();
