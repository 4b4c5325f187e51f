/** The worker key's file where the file system cannot do what others can. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect, jest, test } from '@jest/globals';
import { keep, keptSeed, newSeed } from '../../sidecar/mesh/membership/worker-key.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

/** A directory whose file system answers so to every hard link. */
function directoryWhereLinksFail(code: string): string {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'dht-sidecar-worker-key-'));
  onTestEnd(() => fs.rmSync(directory, { recursive: true, force: true }));
  const links = jest.spyOn(fs, 'linkSync').mockImplementation(() => {
    throw Object.assign(new Error(`${code}: link`), { code });
  });
  onTestEnd(() => links.mockRestore());
  return directory;
}

for (const code of ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS']) {
  test(`where there are no hard links (${code}) the key is kept all the same`, () => {
    const directory = directoryWhereLinksFail(code);
    const seed = newSeed();
    expect(keep(directory, seed)).toStrictEqual({ kind: 'kept' });
    expect(keptSeed(directory)).toStrictEqual({ seed, fault: null });
    expect(fs.readdirSync(directory)).toStrictEqual(['worker.key']);
  });
}

test('any other fault is told, and leaves nothing behind', () => {
  const directory = directoryWhereLinksFail('EIO');
  expect(keep(directory, newSeed())).toStrictEqual({ kind: 'fault', reason: 'EIO: link' });
  expect(fs.readdirSync(directory)).toStrictEqual([]);
});

test('a file that another sidecar has made meanwhile stays as it is', () => {
  const directory = directoryWhereLinksFail('EEXIST');
  const theirs = newSeed();
  fs.writeFileSync(path.join(directory, 'worker.key'), `${theirs.toString('hex')}\n`, { mode: 0o600 });
  expect(keep(directory, newSeed())).toStrictEqual({ kind: 'taken', seed: theirs });
});
