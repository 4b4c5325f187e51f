/**
 * What a test needs from the machine, and what happens where that is missing.
 *
 * Owns the one rule: on a newcomer's machine such a test is skipped with the reason printed; in CI it fails,
 * because a check that silently stopped running is worse than none. It must not know what any test does.
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

/**
 * The value of a test's `skip` option: false to run it, or the reason. Throws in CI (`CI=true`) when there is
 * a reason, so that the file fails there.
 *
 *     test('two hosts', { skip: skipUnless(netnsReason()) }, async () => { … });
 */
export function skipUnless(reason: string | null): string | false {
  if (reason === null) return false;
  if (process.env.CI === 'true') throw new Error(`this test must run in CI, and cannot: it ${reason}`);
  return reason;
}
