/**
 * The copy of this repository that the tests run in: everything as it is, but with all mutants in the sources.
 *
 * In a temporary folder that ends with the run, so that whoever edits meanwhile changes nothing in it.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type Mutants, ROOT } from './mutants.ts';

/** A folder that is gone when the program ends, however it ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'mutate-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }));
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
  return folder;
}

export function copyTree(folder: string, { instrumented }: Mutants): void {
  const listed = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '-z'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  for (const path of listed.split('\0')) {
    if (path === '' || !existsSync(join(ROOT, path))) continue;
    mkdirSync(join(folder, dirname(path)), { recursive: true });
    cpSync(join(ROOT, path), join(folder, path));
  }
  for (const [path, text] of instrumented) writeFileSync(join(folder, path), text);
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
}
