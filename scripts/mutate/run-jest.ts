/**
 * One run of jest in the instrumented copy, with a plan of what it shall do, and what became of it.
 *
 * A process of its own with all that it starts, which ends at the time limit at the latest.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';

export interface Plan {
  /** The mutant that is on; null = none, and what each test reaches is noted. */
  readonly active: number | null;
  /** How many mutants there are. */
  readonly mutants: number;
  readonly hitLimit: number;
  /** The files in order, each with the tests that shall run and their time limits; null = all. */
  readonly files: Readonly<Record<string, Readonly<Record<string, number>> | null>>;
}

export interface Failure {
  readonly file: string;
  /** Null when it was none in particular: the file did not load, a hook failed. */
  readonly name: string | null;
}

export interface Outcome {
  readonly isLate: boolean;
  readonly hasPassed: boolean;
  /** The first. */
  readonly failure: Failure | null;
  /** What the environment told, by name. */
  readonly told: (name: string) => unknown;
  readonly end: () => void;
}

interface JestResults {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly assertionResults: readonly unknown[];
  }[];
}

let runs = 0;

export async function runJest(tree: string, plan: Plan, limitMs: number): Promise<Outcome> {
  runs += 1;
  const out = join(tree, `run-${runs}`);
  const temporary = join(out, 'tmp');
  mkdirSync(temporary, { recursive: true });
  const planFile = join(out, 'plan.json');
  writeFileSync(planFile, JSON.stringify({ ...plan, out }));
  const args = [
    ...[
      '--experimental-vm-modules',
      '--disable-warning=ExperimentalWarning',
      'node_modules/jest/bin/jest.js',
    ],
    ...[
      '--config',
      'scripts/mutate/jest.config.mjs',
      '--runInBand',
      '--json',
      '--outputFile',
      join(out, 'jest.json'),
    ],
    ...(plan.active === null ? [] : ['--bail', '1']),
    ...['--runTestsByPath', ...Object.keys(plan.files)],
  ];
  const { CI: _ci, ...own } = process.env;
  const env = { ...own, MUTATE_PLAN: planFile, MUTATE_ACTIVE: String(plan.active ?? -1), TMPDIR: temporary };
  const child = spawn(process.execPath, args, {
    cwd: tree,
    env,
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const { code, isLate, errors } = await ended(child, limitMs);

  const told = (name: string): unknown => {
    const path = join(out, name);
    return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : null;
  };
  if (code !== 0 && !isLate && told('failed.json') === null && told('jest.json') === null) {
    throw new Error(`jest told nothing:\n${errors}`);
  }
  return {
    isLate,
    hasPassed: code === 0,
    failure:
      (told('failed.json') as Failure | null) ?? failureIn(told('jest.json') as JestResults | null, tree),
    told,
    end: () => rmSync(out, { recursive: true, force: true, maxRetries: 3 }),
  };
}

function failureIn(results: JestResults | null, tree: string): Failure | null {
  const failed = results?.testResults.find(({ status }) => status === 'failed');
  return failed === undefined ? null : { file: relative(tree, failed.name), name: null };
}

/** With it ends what its tests have started and not ended. */
function ended(
  child: ChildProcess,
  limitMs: number,
): Promise<{ readonly code: number | null; readonly isLate: boolean; readonly errors: string }> {
  const endGroup = (): void => {
    try {
      process.kill(-(child.pid as number), 'SIGKILL');
    } catch {
      // All of it has ended.
    }
  };
  return new Promise((resolve, reject) => {
    let isLate = false;
    let errors = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      errors = (errors + text).slice(-4000);
    });
    process.once('exit', endGroup);
    const timer = setTimeout(() => {
      isLate = true;
      endGroup();
    }, limitMs);
    child.once('error', reject);
    child.once('exit', (code) => {
      clearTimeout(timer);
      process.off('exit', endGroup);
      endGroup();
      resolve({ code, isLate, errors });
    });
  });
}
