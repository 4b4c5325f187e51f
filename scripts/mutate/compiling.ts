/**
 * Which mutants compile: the compiler catches the others, so no test has to.
 *
 * One compiler run tells of many mutants, each in a file of its own. That something is unused by then is no error.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Mutant, ROOT } from './mutants.ts';

const COPIED = ['sidecar', 'package.json', 'tsconfig.json', 'tsconfig.build.json'];
const OPTIONS = ['-p', 'tsconfig.build.json', '--noEmit', '--noUnusedLocals', 'false', '--pretty', 'false'];

/** The first `count` that compile. */
export function compilingOf(mutants: readonly Mutant[], count: number, folder: string): readonly Mutant[] {
  mkdirSync(folder, { recursive: true });
  for (const path of COPIED) cpSync(join(ROOT, path), join(folder, path), { recursive: true });
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  const compiling: Mutant[] = [];
  let rest = mutants;
  while (compiling.length < count && rest.length > 0) {
    const batch = rest.slice(0, count - compiling.length);
    rest = rest.slice(batch.length);
    compiling.push(...compilingIn(batch, folder));
  }
  return compiling;
}

function compilingIn(batch: readonly Mutant[], folder: string): readonly Mutant[] {
  const compiling = new Set<Mutant>();
  let left: readonly Mutant[] = batch;
  while (left.length > 0) {
    const round = [...new Map(left.map((mutant) => [mutant.file, mutant])).values()];
    left = left.filter((mutant) => !round.includes(mutant));
    let wrong = wrongFiles(round, folder);
    // An error in a file with no mutant comes from one elsewhere: then each has its own run.
    const isClear = [...wrong].every((file) => round.some((mutant) => mutant.file === file));
    for (const mutant of round) {
      if (!isClear) wrong = wrongFiles([mutant], folder);
      if (isClear ? !wrong.has(mutant.file) : wrong.size === 0) compiling.add(mutant);
    }
  }
  return batch.filter((mutant) => compiling.has(mutant));
}

/** The files in which the compiler finds an error while these mutants are in the sources. */
function wrongFiles(mutants: readonly Mutant[], folder: string): ReadonlySet<string> {
  for (const { file, from, to, replacement } of mutants) {
    const text = readFileSync(join(ROOT, file), 'utf8');
    writeFileSync(join(folder, file), text.slice(0, from) + replacement + text.slice(to));
  }
  const wrong = new Set<string>();
  try {
    execFileSync(join(folder, 'node_modules/.bin/tsc'), [...OPTIONS, '--noUnusedParameters', 'false'], {
      cwd: folder,
      encoding: 'utf8',
    });
  } catch (fault) {
    const { stdout } = fault as { stdout?: string };
    for (const [, file] of (stdout ?? '').matchAll(/^(\S+)\(\d+,\d+\): error/gm)) wrong.add(file as string);
    if (wrong.size === 0) throw fault;
  }
  for (const { file } of mutants) cpSync(join(ROOT, file), join(folder, file));
  return wrong;
}
