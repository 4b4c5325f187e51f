/**
 * `npm run licences`: under which licence each package comes that is installed with the program, one a line.
 *
 * From the lock file, so that it says what is installed and needs no network. Exit code 1 when one asks for more than to be
 * named: that is for a person to decide.
 */
import { readFileSync } from 'node:fs';

/** They ask for the notice to be kept, and no more. */
const NOTICE_ONLY: ReadonlySet<string> = new Set([
  'MIT',
  'ISC',
  'Apache-2.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  '0BSD',
]);

export interface Licensed {
  readonly name: string;
  readonly version: string;
  readonly licence: string;
  readonly isNoticeOnly: boolean;
}

interface LockedPackage {
  readonly version?: string;
  readonly license?: string;
  readonly dev?: boolean;
  readonly devOptional?: boolean;
}

/** Those that are not for development alone, by name. */
export function licences(lockFile: string): readonly Licensed[] {
  const { packages } = JSON.parse(lockFile) as { packages: Record<string, LockedPackage> };
  return Object.entries(packages)
    .filter(([path, { dev, devOptional }]) => path !== '' && dev !== true && devOptional !== true)
    .map(([path, { license = 'none', version = '' }]) => ({
      name: path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length),
      version,
      licence: license,
      isNoticeOnly: NOTICE_ONLY.has(license),
    }))
    .sort((a, b) => a.name.localeCompare(b.name));
}

if (import.meta.main) {
  const found = licences(readFileSync(new URL('../package-lock.json', import.meta.url), 'utf8'));
  for (const { licence, name, version } of found)
    process.stdout.write(`${licence.padEnd(14)} ${name} ${version}\n`);
  const asking = found.filter(({ isNoticeOnly }) => !isNoticeOnly);
  if (asking.length > 0) {
    process.stderr.write(`To be looked at: ${asking.map(({ name }) => name).join(', ')}\n`);
    process.exitCode = 1;
  }
}
