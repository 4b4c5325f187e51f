/** Keeping known nodes in a directory: written whole, read with care, never a reason to fail. */

import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { silentLog } from '../../sidecar/core/log.ts';
import {
  formatKnown,
  type Known,
  KnownNodes,
  NOTHING_KNOWN,
} from '../../sidecar/mesh/discovery/known-nodes.ts';
import { fail } from '../support/runner/expectations.ts';
import { FakeClock } from '../support/runner/fake-clock.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

const KNOWN: Known = {
  ownPort: 49_737,
  nodes: [{ host: '10.42.0.1', port: 49_737 }],
  peers: [
    { key: 'ab'.repeat(32), services: ['llm'], address: { host: '10.42.0.2', port: 8_000 }, tunnelUrl: null },
  ],
};

async function setUp(under = '.') {
  const dir = await mkdtemp(join(tmpdir(), 'known-nodes-'));
  onTestEnd(() => rm(dir, { recursive: true, force: true }));
  const clock = new FakeClock();
  const warnings: string[] = [];
  const log = { ...silentLog, warn: (_: object, message: string) => void warnings.push(message) };
  const stateDir = join(dir, under);
  const make = (): KnownNodes => new KnownNodes({ stateDir, clock, log, intervalMs: 60_000 });
  return { dir, stateDir, clock, warnings, make, path: join(stateDir, 'known-nodes.json') };
}

describe('the file of known nodes', () => {
  test('what was saved at stop is loaded at the next start, from a directory that is made', async () => {
    const { make, stateDir, warnings } = await setUp('not/there/yet');
    const first = make();
    expect(await first.load()).toStrictEqual(NOTHING_KNOWN);
    first.start(() => KNOWN);
    await first.stop();
    expect(await make().load()).toStrictEqual(KNOWN);
    expect(await readdir(stateDir)).toStrictEqual(['known-nodes.json']);
    expect(warnings).toStrictEqual([]);
  });

  test('a damaged file is one line in the log and nothing known', async () => {
    const { make, path, warnings } = await setUp();
    for (const text of ['', '{', '[]', '{"version":2}', '\0\0\0', 'null']) {
      await writeFile(path, text);
      expect(await make().load()).toStrictEqual(NOTHING_KNOWN);
    }
    expect(warnings).toHaveLength(6);
  });

  test('it is for its owner alone, as is the directory that is made for it', async () => {
    const { make, path, stateDir } = await setUp('made');
    const store = make();
    store.start(() => KNOWN);
    await store.stop();
    const modes = await Promise.all([stat(stateDir), stat(path)]);
    expect(modes.map(({ mode }) => (mode & 0o777).toString(8))).toStrictEqual(['700', '600']);
  });

  test('one as large as none of ours is not read, one at the limit is', async () => {
    const { make, path, warnings } = await setUp();
    const text = formatKnown(KNOWN);
    const limit = 4 * 1024 * 1024;
    await writeFile(path, text.padEnd(limit));
    expect(await make().load()).toStrictEqual(KNOWN);
    expect(warnings).toStrictEqual([]);
    await writeFile(path, text.padEnd(limit + 1));
    expect(await make().load()).toStrictEqual(NOTHING_KNOWN);
    expect(warnings).toHaveLength(1);
  });

  test('a directory in its place is one line in the log and nothing known', async () => {
    const { make, path, warnings } = await setUp();
    await mkdir(path);
    expect(await make().load()).toStrictEqual(NOTHING_KNOWN);
    expect(warnings).toHaveLength(1);
  });

  test('a directory that cannot be written is one line in the log however often it is tried', async () => {
    const { dir, clock, make, warnings } = await setUp('file/below');
    await writeFile(join(dir, 'file'), 'not a directory');
    const store = make();
    store.start(() => KNOWN);
    await clock.advance(600_000);
    await store.stop();
    expect(warnings).toHaveLength(1);
  });

  test('knowing nobody does not wipe out what was known', async () => {
    const { make, path } = await setUp();
    const first = make();
    first.start(() => KNOWN);
    await first.stop();
    const before = await readFile(path, 'utf8');
    const second = make();
    second.start(() => ({ ownPort: 1, nodes: [], peers: [] }));
    await second.stop();
    expect(await readFile(path, 'utf8')).toBe(before);
  });

  test('without a directory nothing is kept and nothing is left running', async () => {
    const clock = new FakeClock();
    const log = { ...silentLog, warn: () => fail('nothing to complain of') };
    const store = new KnownNodes({ stateDir: null, clock, log, intervalMs: 60_000 });
    expect(await store.load()).toStrictEqual(NOTHING_KNOWN);
    store.start(() => KNOWN);
    await store.stop();
    expect(clock.pending).toBe(0);
  });
});
