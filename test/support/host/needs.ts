/**
 * The programs that a test needs from the machine: where they are, or in which words they are missed.
 *
 * What becomes of a test without them is said by `testUnless`.
 */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** The full path of a program as the shell would find it (with the sbin folders too), or null. */
export function programPath(name: string): string | null {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin'];
  for (const folder of folders) {
    if (folder === '') continue;
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not in this folder; the next one may have it.
    }
  }
  return null;
}

/** Why these programs cannot be used here, in words that say what to do; null when all are there. */
export function missingPrograms(...names: string[]): string | null {
  const missing = names.filter((name) => programPath(name) === null);
  return missing.length === 0
    ? null
    : `needs ${missing.join(', ')}: run scripts/setup-test-tools (Debian, as root)`;
}
