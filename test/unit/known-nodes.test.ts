/** Keeping known nodes in a directory: written whole, read with care, never a reason to fail. */

import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { silentLog } from '../../sidecar/core/log.ts';
import { type Known, KnownNodes, NOTHING_KNOWN } from '../../sidecar/mesh/discovery/known-nodes.ts';
import { FakeClock } from '../support/fake-clock.ts';

const KNOWN: Known = {
  ownPort: 49_737,
  nodes: [{ host: '10.42.0.1', port: 49_737 }],
  peers: [
    { key: 'ab'.repeat(32), services: ['llm'], address: { host: '10.42.0.2', port: 8_000 }, tunnelUrl: null },
  ],
};

async function setUp(t: test.TestContext, under = '.') {
  const dir = await mkdtemp(join(tmpdir(), 'known-nodes-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const clock = new FakeClock();
  const warnings: string[] = [];
  const log = { ...silentLog, warn: (_: object, message: string) => void warnings.push(message) };
  const stateDir = join(dir, under);
  const make = (): KnownNodes => new KnownNodes({ stateDir, clock, log, intervalMs: 60_000 });
  return { dir, stateDir, clock, warnings, make, path: join(stateDir, 'known-nodes.json') };
}

test('what was saved at stop is loaded at the next start, from a directory that is made', async (t) => {
  const { make, stateDir, warnings } = await setUp(t, 'not/there/yet');
  const first = make();
  assert.deepEqual(await first.load(), NOTHING_KNOWN);
  first.start(() => KNOWN);
  await first.stop();
  assert.deepEqual(await make().load(), KNOWN);
  assert.deepEqual(await readdir(stateDir), ['known-nodes.json']);
  assert.deepEqual(warnings, []);
});

test('a damaged file is one line in the log and nothing known', async (t) => {
  const { make, path, warnings } = await setUp(t);
  for (const text of ['', '{', '[]', '{"version":2}', '\0\0\0', 'null']) {
    await writeFile(path, text);
    assert.deepEqual(await make().load(), NOTHING_KNOWN);
  }
  assert.equal(warnings.length, 6);
});

test('a directory that cannot be written is one line in the log however often it is tried', async (t) => {
  const { dir, clock, make, warnings } = await setUp(t, 'file/below');
  await writeFile(join(dir, 'file'), 'not a directory');
  const store = make();
  store.start(() => KNOWN);
  await clock.advance(600_000);
  await store.stop();
  assert.equal(warnings.length, 1);
});

test('knowing nobody does not wipe out what was known', async (t) => {
  const { make, path } = await setUp(t);
  const first = make();
  first.start(() => KNOWN);
  await first.stop();
  const before = await readFile(path, 'utf8');
  const second = make();
  second.start(() => ({ ownPort: 1, nodes: [], peers: [] }));
  await second.stop();
  assert.equal(await readFile(path, 'utf8'), before);
});

test('without a directory nothing is kept and nothing is left running', async () => {
  const clock = new FakeClock();
  const log = { ...silentLog, warn: () => assert.fail('nothing to complain of') };
  const store = new KnownNodes({ stateDir: null, clock, log, intervalMs: 60_000 });
  assert.deepEqual(await store.load(), NOTHING_KNOWN);
  store.start(() => KNOWN);
  await store.stop();
  assert.equal(clock.pending, 0);
});
