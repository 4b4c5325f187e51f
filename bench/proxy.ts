/**
 * What a hop costs: `npm run bench:proxy`. Sidecars, nginx, HAProxy and http-proxy side by side before the same origin,
 * as one hop and as two, beside the direct way.
 *
 * Rounds are interleaved, and each begins with another system: what the machine does to one it does to all. CPU time
 * is the kernel's, of all processes of a system. Medians over the rounds; docs/performance.md says what the columns
 * mean.
 *
 * Options: --systems nginx,sidecar --cases get-100,sse (or all) --rounds 5 --seconds 1 --json FILE --markdown
 *   --quick: nginx and sidecar in few cases in less than a minute, against the kept baseline; --write-baseline keeps it
 */
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { readBaseline, writeBaseline } from './proxy/baseline.ts';
import {
  type Case,
  cases,
  hopsOf,
  type LoadCase,
  QUICK_CASES,
  QUICK_TRANSFER_MB,
  TRANSFER_MB,
} from './proxy/cases.ts';
import type { Sample } from './proxy/figures.ts';
import { type MeasureOptions, measureAllocation, measureHold, measureLoad, warmUp } from './proxy/measure.ts';
import { Summary } from './proxy/summary.ts';
import { type Origin, SYSTEM_NAMES, type System, startSystem, type Variant } from './proxy/systems.ts';
import { caseTable, goalTable, markdownOf, type Table, textOf } from './proxy/tables.ts';
import { MissingProgram, PROGRAMS, requirePrograms, Workbench } from './proxy/workbench.ts';

const EXIT_USAGE = 64;

const { values } = parseArgs({
  options: {
    systems: { type: 'string' },
    cases: { type: 'string' },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    json: { type: 'string' },
    markdown: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    'write-baseline': { type: 'boolean', default: false },
  },
});
const isQuick = values.quick;
const rounds = Number(values.rounds ?? (isQuick ? 3 : 5));
const seconds = Number(values.seconds ?? (isQuick ? 0.5 : 1));
const systemNames = chosen('systems', values.systems, SYSTEM_NAMES, isQuick ? ['nginx', 'sidecar'] : null);
const allCases = cases(isQuick ? QUICK_TRANSFER_MB : TRANSFER_MB);
const caseNames = chosen(
  'cases',
  values.cases,
  allCases.map(({ name }) => name),
  isQuick ? QUICK_CASES : null,
);
const chosenCases = allCases.filter(({ name }) => caseNames.includes(name));
if (!(rounds >= 1) || !(seconds > 0)) wrong('--rounds and --seconds are numbers above 0');
if (values['write-baseline'] && !isQuick) wrong('--write-baseline goes with --quick, whose figures it keeps');

function chosen<T extends string>(
  option: string,
  text: string | undefined,
  known: readonly T[],
  preset: readonly string[] | null,
): readonly T[] {
  const names = text?.split(',') ?? preset ?? known;
  if (text === 'all') return known;
  const unknown = names.find((name) => !known.some((each) => each === name));
  if (unknown !== undefined) wrong(`--${option}: there is no "${unknown}"; there are ${known.join(', ')}`);
  return known.filter((name) => names.includes(name));
}

function wrong(message: string): never {
  console.error(message);
  process.exit(EXIT_USAGE);
}

/** The direct way is always measured: the others are told by what they add to it. */
function variantsOf(each: Case): Variant[] {
  return hopsOf(each, isQuick).flatMap((hops): Variant[] => {
    if (hops === 0) return each.kind === 'load' ? [{ name: 'direct', hops }] : [];
    return systemNames
      .filter((name) => name !== 'direct' && (each.kind !== 'allocation' || name === 'sidecar'))
      .map((name) => ({ name, hops }));
  });
}

async function startOrigin(bench: Workbench): Promise<Origin> {
  const { child, pid } = bench.start('ends', bench.compile('origin'), []);
  if (child.stdout === null) throw new Error('the origin has no output');
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  return { port: Number(line), pid };
}

/** From each round to the next another one begins. */
function rotated<T>(items: readonly T[], by: number): T[] {
  const first = by % Math.max(1, items.length);
  return [...items.slice(first), ...items.slice(0, first)];
}

async function runLoadCase(
  each: LoadCase,
  systems: readonly System[],
  options: MeasureOptions,
  summary: Summary,
): Promise<void> {
  // What this case alone uses has to become fast, too.
  if (each.mode !== 'once') {
    for (const system of systems) await measureLoad(each, system, options, options.seconds / 2);
  }
  for (let round = 0; round < rounds; round += 1) {
    const samples: Sample[] = [];
    for (const system of rotated(systems, round)) {
      const measured = await measureLoad(each, system, options);
      samples.push({ caseName: each.name, round, name: system.name, hops: system.hops, ...measured });
    }
    const direct = samples.find(({ name }) => name === 'direct')?.figures.p50Us;
    for (const { figures, ...rest } of samples) {
      const addedP50Us = rest.hops === 0 ? undefined : (figures.p50Us ?? Number.NaN) - (direct ?? Number.NaN);
      summary.add({ ...rest, figures: addedP50Us === undefined ? figures : { ...figures, addedP50Us } });
    }
  }
}

async function runCase(
  each: Case,
  started: readonly System[],
  options: MeasureOptions,
  summary: Summary,
): Promise<void> {
  const variants = variantsOf(each);
  if (each.kind === 'load') {
    const systems = started.filter(({ name, hops }) =>
      variants.some((one) => one.name === name && one.hops === hops),
    );
    await runLoadCase(each, systems, options, summary);
    return;
  }
  // What is allocated hardly differs between rounds, and each takes a start and a warm-up.
  const times = isQuick && each.kind === 'allocation' ? 1 : rounds;
  for (let round = 0; round < times; round += 1) {
    for (const variant of rotated(variants, round)) {
      const measured =
        each.kind === 'hold'
          ? [await measureHold(each, variant, options)]
          : await measureAllocation(each, variant, options);
      for (const one of measured) summary.add({ caseName: each.name, round, ...variant, ...one });
    }
  }
}

async function run(bench: Workbench): Promise<Summary> {
  requirePrograms(PROGRAMS.filter((name) => name === 'cc' || systemNames.some((system) => system === name)));
  const load = bench.compile('load');
  const origin = await startOrigin(bench);
  const sidecarMain = systemNames.includes('sidecar') ? bench.build() : '';
  const options: MeasureOptions = { bench, origin, load, sidecarMain, seconds };
  const wanted = chosenCases.filter(({ kind }) => kind === 'load').flatMap(variantsOf);
  const variants = wanted.filter(
    ({ name, hops }, i) => wanted.findIndex((one) => one.name === name && one.hops === hops) === i,
  );
  const started: System[] = [];
  for (const variant of variants.toSorted((a, b) => a.hops - b.hops)) {
    const system = await startSystem(variant, options);
    await warmUp(system, options);
    started.push(system);
  }
  const summary = new Summary();
  for (const each of chosenCases) {
    await runCase(each, started, options, summary);
    print(caseTable(each, summary));
  }
  for (const system of started) await system.stop();
  return summary;
}

function print(table: Table): void {
  console.log(`\n${values.markdown ? markdownOf(table) : textOf(table)}`);
}

const bench = new Workbench();
try {
  console.log(`${rounds} rounds of ${seconds} s, medians; ${bench.pinning}; Node ${process.versions.node}`);
  const summary = await run(bench);
  const goals = goalTable(summary, isQuick ? readBaseline() : null);
  if (goals.rows.length > 0) print(goals);
  if (values['write-baseline']) console.log(`\nkept as ${writeBaseline(summary)}`);
  if (values.json !== undefined) {
    const run = { node: process.versions.node, rounds, seconds, pinning: bench.pinning };
    writeFileSync(values.json, `${JSON.stringify({ ...run, samples: summary.samples }, null, 2)}\n`);
  }
  const bad = summary.samples.filter(({ faults }) => faults !== '').length;
  if (bad > 0) {
    console.error(
      `\n!! ${bad} of ${summary.samples.length} measurements had faults: their figures mean nothing`,
    );
    process.exitCode = 1;
  }
} catch (error) {
  if (!(error instanceof MissingProgram)) throw error;
  console.error(error.message);
  process.exitCode = 1;
} finally {
  bench.close();
}
