/**
 * Which tests reach which mutant, and how long each takes: measured once for each test file.
 *
 * Kept in the folder for temporary files under what it depends on, the sources and all that the test file imports, so
 * that a changed test is measured alone.
 */
import { createHash } from 'node:crypto';
import { existsSync, globSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ImportGraph } from './import-graph.ts';
import { runJest } from './run-jest.ts';

type Hits = readonly (readonly [id: number, count: number])[];

export interface MeasuredTest {
  readonly name: string;
  readonly ms: number;
  readonly hasFailed: boolean;
  readonly hits: Hits;
}

export interface MeasuredFile {
  /** All of it, with loading. */
  readonly ms: number;
  readonly tests: readonly MeasuredTest[];
  /** Reached by no test in particular, and so perhaps by any. */
  readonly shared: Hits;
  /** It failed, and no test of it did: it can judge nothing. */
  readonly isBroken: boolean;
}

export type Reach = ReadonlyMap<string, MeasuredFile>;

const CACHE = join(tmpdir(), 'dht-sidecar-reach');
const PROGRAM = 'scripts/mutate/{environment,jest.config}.mjs';
const LIMIT_MS = 300_000;
const BROKEN: MeasuredFile = { ms: 0, tests: [], shared: [], isBroken: true };

const contentOf = (glob: string, cwd: string): string[] =>
  globSync(glob, { cwd })
    .sort()
    .flatMap((path) => [path, readFileSync(join(cwd, path), 'utf8')]);

export async function measureReach(
  files: readonly string[],
  graph: ImportGraph,
  tree: string,
  mutants: number,
  say: (text: string) => void,
): Promise<Reach> {
  mkdirSync(CACHE, { recursive: true });
  const base = createHash('sha256');
  for (const glob of ['sidecar/**/*.ts', PROGRAM])
    for (const text of contentOf(glob, tree)) base.update(`${text}\0`);
  const sources = base.digest('hex');
  const reach = new Map<string, MeasuredFile>();
  for (const file of files) {
    const key = createHash('sha256')
      .update(`${sources}${graph.fingerprint(file)}`)
      .digest('hex');
    const kept = join(CACHE, `${key}.json`);
    if (!existsSync(kept)) {
      const measured = await measure(file, tree, mutants);
      const failed = measured.tests.filter(({ hasFailed }) => hasFailed).length;
      const complaint = measured.isBroken
        ? ', cannot judge'
        : failed > 0
          ? `, ${failed} fail and judge nothing`
          : '';
      say(
        `measured ${file}: ${measured.tests.length} tests, ${(measured.ms / 1000).toFixed(1)} s${complaint}`,
      );
      writeFileSync(`${kept}.${process.pid}`, JSON.stringify(measured));
      renameSync(`${kept}.${process.pid}`, kept);
    }
    reach.set(file, JSON.parse(readFileSync(kept, 'utf8')));
  }
  return reach;
}

/** Once more where it failed: that may have been chance. */
async function measure(file: string, tree: string, mutants: number): Promise<MeasuredFile> {
  const first = await measureOnce(file, tree, mutants);
  const isClean = !first.isBroken && first.tests.every(({ hasFailed }) => !hasFailed);
  return isClean ? first : measureOnce(file, tree, mutants);
}

async function measureOnce(file: string, tree: string, mutants: number): Promise<MeasuredFile> {
  const plan = { active: null, mutants, hitLimit: 0, files: { [file]: null } };
  const outcome = await runJest(tree, plan, LIMIT_MS);
  const told = outcome.told(`${file.replaceAll('/', '-')}.json`) as Omit<MeasuredFile, 'isBroken'> | null;
  outcome.end();
  if (told === null) return BROKEN;
  const hasFailedTest = told.tests.some(({ hasFailed }) => hasFailed);
  return { ...told, isBroken: !outcome.hasPassed && !hasFailedTest };
}
