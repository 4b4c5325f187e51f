/**
 * The kept baseline of `--quick`: what a change costs is told against it.
 *
 * It holds ratios and bytes alone, and so says something on another machine than that of which it was made.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { keyOf, reachedGoals } from './goals.ts';
import type { Summary } from './summary.ts';

export interface Baseline {
  readonly node: string;
  readonly figures: Readonly<Record<string, number>>;
}

const FILE = fileURLToPath(new URL('./baseline.json', import.meta.url));
const KEPT_DIGITS = 4;

/** null without one. */
export function readBaseline(): Baseline | null {
  try {
    return JSON.parse(readFileSync(FILE, 'utf8')) as Baseline;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/** Returns the path of the file. */
export function writeBaseline(summary: Summary): string {
  const figures = Object.fromEntries(
    reachedGoals(summary).map(({ goal, value }) => [keyOf(goal), Number(value.toPrecision(KEPT_DIGITS))]),
  );
  const baseline: Baseline = { node: process.versions.node, figures };
  writeFileSync(FILE, `${JSON.stringify(baseline, null, 2)}\n`);
  return FILE;
}
