/**
 * How many faults of the rules would the tests notice? `npm run mutate`.
 *
 * Draws mutants of core, proxy and mesh/membership by a seed, has each judged by the tests that reach it, and prints
 * who survived and a table by folder. Fails where fewer than 90 % are caught.
 *
 * Options: --sample 200 --seed 1 --files 'sidecar/core/**' --only <key>,<key> --jobs 2 --list
 */
import { existsSync, globSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, matchesGlob } from 'node:path';
import { parseArgs } from 'node:util';
import { compilingOf } from './compiling.ts';
import { withoutEquivalents } from './equivalents.ts';
import { ImportGraph } from './import-graph.ts';
import { copyTree, temporaryFolder } from './instrumented-tree.ts';
import { Judge, type Verdict } from './judge.ts';
import { areaOf, type Mutant, makeMutants, shuffled } from './mutants.ts';
import { Nearness } from './nearness.ts';
import { measureReach } from './reach.ts';
import { mutantText, tableText } from './report.ts';
import type { Failure } from './run-jest.ts';

const TESTS = 'test/{unit,property,integration}/**/*.test.ts';
const LAST_CATCHES = join(tmpdir(), 'dht-sidecar-last-catches.json');
const MIN_SHARE = 0.9;

const { values } = parseArgs({
  options: {
    sample: { type: 'string', default: '200' },
    seed: { type: 'string', default: '1' },
    files: { type: 'string', default: 'sidecar/**' },
    only: { type: 'string' },
    jobs: { type: 'string', default: '2' },
    list: { type: 'boolean', default: false },
  },
});

const made = await makeMutants();
const { rest, stale } = withoutEquivalents(made.mutants);
for (const { file, after } of stale)
  console.error(`equivalents.ts names a mutant that is none: ${file}: ${after}`);
if (stale.length > 0) process.exit(2);

const folder = temporaryFolder();
const sample = chosen(rest);
if (sample.length === 0) {
  console.error('no mutant is chosen');
  process.exit(2);
}
if (values.list) for (const mutant of sample) console.log(mutantText(mutant));
else process.exitCode = (await judgeAll(sample)) ? 0 : 1;

function chosen(mutants: readonly Mutant[]): readonly Mutant[] {
  const keys = values.only?.split(',');
  if (keys !== undefined) return mutants.filter(({ key }) => keys.includes(key));
  const inFiles = mutants.filter(({ file }) => matchesGlob(file, values.files));
  return compilingOf(shuffled(inFiles, values.seed), Number(values.sample), join(folder, 'compiling'));
}

async function judgeAll(mutants: readonly Mutant[]): Promise<boolean> {
  const tree = join(folder, 'tree');
  copyTree(tree, made);
  const graph = new ImportGraph(tree);
  const mutated = new Set(mutants.map(({ file }) => file));
  const tests = globSync(TESTS, { cwd: tree })
    .sort()
    .filter((test) => [...graph.distances(test).keys()].some((file) => mutated.has(file)));
  const count = made.mutants.length === 0 ? 0 : Math.max(...made.mutants.map(({ id }) => id)) + 1;
  const reach = await measureReach(tests, graph, tree, count, (text) => console.log(text));
  const lastCatch = new Map<string, Failure>(
    existsSync(LAST_CATCHES) ? JSON.parse(readFileSync(LAST_CATCHES, 'utf8')) : [],
  );
  const judge = new Judge(tree, count, reach, new Nearness(graph, made.mutants, reach), lastCatch);

  const verdicts = new Map<Mutant, Verdict>();
  const waiting = [...mutants];
  const work = async (): Promise<void> => {
    for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
      const verdict = await judge.judge(mutant);
      verdicts.set(mutant, verdict);
      writeFileSync(LAST_CATCHES, JSON.stringify([...lastCatch]));
      if (verdict.kind === 'survived') console.log(mutantText(mutant, verdict));
      if (verdicts.size % 20 === 0) console.log(`${verdicts.size} of ${mutants.length} judged`);
    }
  };
  await Promise.all(Array.from({ length: Number(values.jobs) }, work));

  console.log(tableText([...verdicts].map(([mutant, { kind }]) => [areaOf(mutant), kind === 'caught'])));
  const caught = [...verdicts.values()].filter(({ kind }) => kind === 'caught').length;
  return caught >= MIN_SHARE * verdicts.size;
}
