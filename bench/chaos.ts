/**
 * `npm run chaos -- --seconds 60 --seed 1`: a fleet of real sidecars and workers under constant mixed load, while a
 * seeded plan kills, suspends, drains, slows and breaks them. Exit code 1 when a promise was broken.
 *
 * What it compares with: nothing; it counts what must be zero. `--json` prints the counts for machines.
 */
import { parseArgs } from 'node:util';
import { runChaos } from './chaos/run.ts';
import { KINDS } from './chaos/tally.ts';
import { describe, judge } from './chaos/verdict.ts';

/** Kept connections close after a minute. */
const SETTLE_MS = 70_000;

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: '1' },
    workers: { type: 'string', default: '5' },
    apps: { type: 'string', default: '2' },
    json: { type: 'boolean', default: false },
  },
});

function count(name: 'seconds' | 'seed' | 'workers' | 'apps', least: number): number {
  const value = Number(values[name]);
  if (!Number.isInteger(value) || value < least)
    throw new Error(`--${name} must be a whole number from ${least}`);
  return value;
}

const report = await runChaos({
  seconds: count('seconds', 5),
  seed: count('seed', 0),
  workers: count('workers', 2),
  apps: count('apps', 1),
  settleMs: SETTLE_MS,
  say: (line) => process.stderr.write(`${line}\n`),
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
process.stdout.write(
  values.json
    ? `${JSON.stringify({ promises, counts, events: report.events, crashes: report.crashes }, null, 2)}\n`
    : describe(report, promises),
);
process.exitCode = promises.every(({ isKept }) => isKept) ? 0 : 1;
