/** What is installed and run beside our own code: by whose word, and whether it may run anything while it is installed. */
import { execFileSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { licences } from '../../scripts/licences.ts';
import { expectNamed } from '../support/runner/expectations.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string): string => readFileSync(`${ROOT}/${path}`, 'utf8');

interface LockedPackage {
  readonly integrity?: string;
  readonly hasInstallScript?: boolean;
}

const lock = JSON.parse(read('package-lock.json')) as { packages: Record<string, LockedPackage> };
const packages = Object.entries(lock.packages).filter(([path]) => path !== '');

describe('the supply chain', () => {
  test('each package of the lock file is named by its hash', () => {
    expect(
      packages.filter(([, { integrity }]) => !/^sha512-/.test(integrity ?? '')).map(([path]) => path),
    ).toStrictEqual([]);
  });

  test('packages with an install script are those that package.json has decided on, and others fail', () => {
    const { allowScripts } = JSON.parse(read('package.json')) as { allowScripts: Record<string, boolean> };
    const withScript = packages
      .filter(([, { hasInstallScript }]) => hasInstallScript === true)
      .map(([path]) => path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length));
    expect([...new Set(withScript)].sort()).toStrictEqual(Object.keys(allowScripts).sort());
    expect(read('.npmrc')).toMatch(/^strict-allow-scripts=true$/m);
  });

  test('images are of one exact version or digest', () => {
    const named = [
      ...read('Dockerfile').matchAll(/^(?:FROM|ARG NODE_IMAGE=)\s*(\S+)/gm),
      ...globSync('deploy/**/*.{yml,yaml}', { cwd: ROOT }).flatMap((path) => [
        ...read(path).matchAll(/^\s*image: (\S+)/gm),
      ]),
    ].map(([, image]) => image as string);
    expect(named.length).toBeGreaterThan(12);
    for (const image of named) {
      if (image.startsWith('$') || image === 'dht-sidecar') continue;
      expectNamed(image, 'an image').toMatch(/@sha256:[0-9a-f]{64}$|:v?\d+\.\d+\.\d+(?:-|$)/);
    }
  });

  test('what is installed with the program asks for no more than to be named, and the bill of materials has all of it', () => {
    const found = licences(read('package-lock.json'));
    expect(found.length).toBeGreaterThan(20);
    expect(found.filter(({ isNoticeOnly }) => !isNoticeOnly)).toStrictEqual([]);
    const { PATH, HOME } = process.env;
    const bill = JSON.parse(
      execFileSync('npm', ['run', '--silent', 'sbom'], {
        cwd: ROOT,
        encoding: 'utf8',
        env: { PATH, HOME },
        stdio: ['ignore', 'pipe', 'ignore'],
      }),
    ) as {
      components: readonly { name: string; version: string }[];
    };
    const billed = new Set(bill.components.map(({ name, version }) => `${name} ${version}`));
    expect(
      found.filter(({ name, version }) => !billed.has(`${name} ${version}`)).map(({ name }) => name),
    ).toStrictEqual([]);
  });
});
