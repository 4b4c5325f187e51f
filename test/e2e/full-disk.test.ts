/**
 * A state directory that takes nothing (full, read-only, no leave, no directory): the sidecar starts and serves all
 * the same, says so once, never spoils what was there, and keeps its state once there is room.
 */

import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect } from '@jest/globals';
import { silentLog } from '../../sidecar/core/log.ts';
import { KnownNodes } from '../../sidecar/mesh/discovery/known-nodes.ts';
import { SmallDisk, smallDiskReason } from '../support/host/small-disk.ts';
import { MeshProcesses, type SidecarSetup } from '../support/meshes/mesh-processes.ts';
import type { SidecarProcess } from '../support/meshes/sidecar-process.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { FakeClock } from '../support/runner/fake-clock.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { testUnless } from '../support/runner/test-unless.ts';

const reason = smallDiskReason();
const OTHER_USER = join(import.meta.dirname, '../support/host/other-user.ts');
const KEY_FAULT = 'the worker key cannot be kept: after a restart this is another worker; going on';
const SAVE_FAULT = 'the known nodes cannot be written; going on without';

/** An app whose state directory is this, beside a worker that it can call. */
async function meshWith(stateDir: string, env: SidecarSetup['env'] = {}) {
  const mesh = await MeshProcesses.up();
  const worker = await mesh.worker('one');
  await mesh.sidecar({ id: 'worker', services: { alpha: worker.url } });
  const setup = { id: 'app', env: { SIDECAR_STATE_DIR: stateDir, ...env } };
  return { mesh, setup, app: await mesh.sidecar(setup) };
}

async function assertServed(app: SidecarProcess): Promise<void> {
  const answer = await app.get('alpha');
  expectNamed(answer.status, answer.body).toBe(200);
}

describe('a state directory that takes nothing', () => {
  testUnless(reason)('a full disk: it starts, serves, and keeps its state once there is room', async () => {
    const disk = await SmallDisk.up();
    disk.fill();
    const before = readdirSync(disk.folder).sort();
    const { mesh, setup, app } = await meshWith(disk.folder);
    const { reason } = await app.logged({ message: KEY_FAULT });
    expect(String(reason)).toMatch(/ENOSPC/);
    await assertServed(app);
    await app.logged({ message: SAVE_FAULT });
    await assertServed(app);
    expectNamed(readdirSync(disk.folder).sort(), 'no draft is left on the full disk').toStrictEqual(before);

    disk.free();
    expect(await app.stop()).toBe('exit code 0');
    expect(readdirSync(disk.folder).sort()).toStrictEqual(['known-nodes.json', 'worker.key']);
    const { peer } = await app.logged({ message: 'sidecar listens' });
    const again = await mesh.sidecar(setup);
    expectNamed((await again.logged({ message: 'sidecar listens' })).peer, 'the same worker').toBe(peer);
  });

  testUnless(reason)(
    'a disk that fills up later: what was kept is whole, and the complaint is one line',
    async () => {
      const disk = await SmallDisk.up();
      const clock = new FakeClock();
      const lines: string[] = [];
      const say = (_: object, message: string): void => void lines.push(message);
      const log = { ...silentLog, debug: say, info: say, warn: say };
      const known = new KnownNodes({ stateDir: disk.folder, clock, log, intervalMs: 60_000 });
      let ownPort = 1;
      // Many, so that the draft is larger than the little that a full disk may still take.
      const nodes = Array.from({ length: 64 }, (_, n) => ({ host: `10.42.0.${n + 1}`, port: 49_737 }));
      const peers = Array.from({ length: 100 }, (_, n) => ({
        key: n.toString(16).padStart(64, '0'),
        services: ['alpha'],
        address: nodes[n % 64] ?? null,
        tunnelUrl: null,
      }));
      known.start(() => ({ ownPort, nodes, peers }));
      const file = join(disk.folder, 'known-nodes.json');
      const writes = async (isSo: () => boolean): Promise<void> => {
        const giveUpMs = performance.now() + 20_000;
        while (!isSo() && performance.now() < giveUpMs) await clock.advance(60_000);
        expect(isSo()).toBe(true);
      };
      await writes(() => existsSync(file));
      const good = readFileSync(file, 'utf8');

      disk.fill();
      ownPort = 2;
      await writes(() => lines.includes(SAVE_FAULT));
      for (let round = 0; round < 20; round += 1) await clock.advance(60_000);
      expectNamed(readFileSync(file, 'utf8'), 'the good file stands as it was').toBe(good);
      await disk.readOnly(true);
      for (let round = 0; round < 5; round += 1) await clock.advance(60_000);
      expect(lines).toStrictEqual([SAVE_FAULT]);

      await disk.readOnly(false);
      disk.free();
      await writes(() => readFileSync(file, 'utf8').includes('"own_port":2'));
      await known.stop();
      expect(lines).toStrictEqual([SAVE_FAULT, 'the known nodes can be written again']);
      expect(readdirSync(disk.folder)).toStrictEqual(['known-nodes.json']);
    },
  );

  testUnless(reason)('a read-only disk: what stands there is used, and it serves', async () => {
    const disk = await SmallDisk.up();
    const { mesh, setup, app } = await meshWith(disk.folder);
    await assertServed(app);
    expect(await app.stop()).toBe('exit code 0');
    const { peer } = await app.logged({ message: 'sidecar listens' });
    chmodSync(join(disk.folder, 'worker.key'), 0o644);
    await disk.readOnly(true);
    const again = await mesh.sidecar(setup);
    expectNamed((await again.logged({ message: 'sidecar listens' })).peer, 'the same worker').toBe(peer);
    await assertServed(again);
    expect(await again.stop()).toBe('exit code 0');
  });

  testUnless(reason)('no leave to write, and a state directory that is a file', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'no-leave-'));
    onTestEnd(() => rmSync(folder, { recursive: true, force: true }));
    chmodSync(folder, 0o755);
    const file = join(folder, 'file');
    writeFileSync(file, 'a file');
    mkdirSync(join(folder, 'closed'), { mode: 0o700 });
    const asNobody = { NODE_OPTIONS: `--import=${OTHER_USER}` };
    for (const [stateDir, env, why] of [
      [file, {}, /EEXIST|ENOTDIR/],
      [join(folder, 'new'), asNobody, /EACCES/],
      [join(folder, 'closed'), asNobody, /EACCES/],
    ] as const) {
      const { app } = await meshWith(stateDir, env);
      expect(String((await app.logged({ message: KEY_FAULT })).reason)).toMatch(why);
      await assertServed(app);
      expect(await app.stop()).toBe('exit code 0');
    }
    expect(readFileSync(file, 'utf8')).toBe('a file');
  });
});
