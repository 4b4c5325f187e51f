/**
 * The mutants: small changes of the rules, one at a time, as Stryker's instrumenter makes them.
 *
 * Owns which of them are asked about. Left out are words for people, any string with a blank in it, since no test
 * should fix a sentence. All the others have a key that stays the same while their lines do.
 */
import { createHash } from 'node:crypto';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Instrumenter } from '@stryker-mutator/instrumenter';

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));

const MUTATED = 'sidecar/{core,proxy,mesh/membership}/**/*.ts';

export interface Mutant {
  /** What the instrumented sources call it. */
  readonly id: number;
  readonly key: string;
  readonly file: string;
  readonly line: number;
  /** The lines that it is in, as they are and as it makes them, each blank as one. */
  readonly before: string;
  readonly after: string;
  /** Some lines more, which tell what it is about. */
  readonly around: string;
  /** Where in the file's text, and what stands there instead. */
  readonly from: number;
  readonly to: number;
  readonly replacement: string;
}

export interface Mutants {
  readonly mutants: readonly Mutant[];
  /** Path → text with all its mutants, each of which is off until its id is switched on. */
  readonly instrumented: ReadonlyMap<string, string>;
}

/** `core/peers`, `proxy`: the folder, as the table shows it. */
export function areaOf({ file }: Mutant): string {
  return dirname(file).replace('sidecar/', '');
}

/**
 * Before each instrumented file, instead of Stryker's own lines, which count each step by text: whole numbers cost
 * little enough for tests that compute millions of steps. `environment.mjs` provides `mutation`; a process that a test
 * starts takes the id from its surroundings.
 */
const HEADER = [
  'const mutation_ = (globalThis.mutation ??= { active: Number(process.env.MUTATE_ACTIVE ?? -1), hit: () => true });',
  'const active_ = mutation_.active;',
  'const stryMutAct_9fa48 = (id) => id === active_ && mutation_.hit();',
  'const stryCov_9fa48 = mutation_.cover ?? (() => {});',
].join(' ');

const LINES_AROUND = 6;

const nothing = (): void => {};
const no = (): boolean => false;
const SILENT = {
  isTraceEnabled: no,
  isDebugEnabled: no,
  isInfoEnabled: no,
  isWarnEnabled: no,
  isErrorEnabled: no,
  isFatalEnabled: no,
  trace: nothing,
  debug: nothing,
  info: nothing,
  warn: nothing,
  error: nothing,
  fatal: nothing,
};

const collapse = (text: string): string => text.replace(/\s+/g, ' ').trim();

const hash = (...parts: readonly (string | number)[]): string =>
  createHash('sha256').update(parts.join('\0')).digest('hex');

function isWordsForPeople(mutator: string, text: string): boolean {
  return mutator === 'StringLiteral' && /\S\s|\s\S/.test(text);
}

export async function makeMutants(): Promise<Mutants> {
  const paths = globSync(MUTATED, { cwd: ROOT }).sort();
  const texts = new Map(paths.map((path) => [path, readFileSync(join(ROOT, path), 'utf8')]));
  const files = [...texts].map(([name, content]) => ({ name, content, mutate: true }));
  const options = { plugins: null, excludedMutations: [], ignorers: [], noHeader: true };
  const made = await new Instrumenter(SILENT).instrument(files, options);

  const seen = new Map<string, number>();
  const mutants: Mutant[] = [];
  for (const { id, fileName: file, location, mutatorName, replacement } of made.mutants) {
    const text = texts.get(file) as string;
    const lines = text.split('\n');
    const startOf = (line: number): number =>
      lines.slice(0, line).reduce((sum, { length }) => sum + length + 1, 0);
    const from = startOf(location.start.line) + location.start.column;
    const to = startOf(location.end.line) + location.end.column;
    if (isWordsForPeople(mutatorName, text.slice(from, to))) continue;
    const [first, last] = [startOf(location.start.line), startOf(location.end.line + 1) - 1];
    const before = collapse(text.slice(first, last));
    const after = collapse(text.slice(first, from) + replacement + text.slice(to, last));
    const nth = (seen.get(`${file}\0${before}\0${after}`) ?? 0) + 1;
    seen.set(`${file}\0${before}\0${after}`, nth);
    const key = hash(file, before, after, nth).slice(0, 8);
    const line = location.start.line + 1;
    const around = lines.slice(Math.max(0, line - LINES_AROUND), line + LINES_AROUND).join('\n');
    mutants.push({ id: Number(id), key, file, line, before, after, around, from, to, replacement });
  }
  const instrumented = made.files.map(({ name, content }) => [name, withHeader(content)] as const);
  return { mutants, instrumented: new Map(instrumented) };
}

/** Numbers compare faster than the texts that Stryker writes. */
function withHeader(content: string): string {
  const calls = /\bstry(?:MutAct|Cov)_9fa48\(((?:"\d+"(?:, )?)+)\)/g;
  return `${HEADER}\n${content.replace(calls, (call, ids: string) => call.replace(ids, ids.replaceAll('"', '')))}`;
}

/** In an order that depends on the seed and on nothing but the mutants themselves. */
export function shuffled(mutants: readonly Mutant[], seed: string): Mutant[] {
  const ranked = mutants.map((mutant) => ({ mutant, rank: hash(seed, mutant.key) }));
  return ranked.sort((a, b) => (a.rank < b.rank ? -1 : 1)).map(({ mutant }) => mutant);
}
