/**
 * A disk of a few kilobytes, to be filled, emptied and made read-only: a tmpfs in a mount namespace of its own.
 *
 * Its folder is reached through /proc/<holder>/root, so that any process of the test can use it, nothing is mounted
 * on the machine itself, and all of it is gone with its holder, whose stdin closes with the test process. It must not
 * know what is written.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from '../runner/eventually.ts';
import { onTestEnd } from '../runner/on-test-end.ts';
import { missingPrograms } from './needs.ts';

const SIZE_KB = 64;

/** Why there can be none here, or null. */
export function smallDiskReason(): string | null {
  if (process.platform !== 'linux') return 'needs Linux mount namespaces';
  if (process.getuid?.() !== 0) return 'needs root, to mount a small disk';
  const missing = missingPrograms('unshare', 'nsenter', 'mount');
  if (missing !== null) return missing;
  const tried = spawnSync('unshare', ['--mount', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt'], {
    encoding: 'utf8',
  });
  return tried.status === 0 ? null : `needs leave to mount: ${tried.stderr.trim()}`;
}

export class SmallDisk {
  readonly folder: string;
  readonly #pid: number;
  readonly #mount: string;

  private constructor(pid: number, mount: string) {
    this.#pid = pid;
    this.#mount = mount;
    this.folder = `/proc/${pid}/root${mount}`;
  }

  /** Empty. Ends with the test. */
  static async up(): Promise<SmallDisk> {
    const mount = mkdtempSync(join(tmpdir(), 'small-disk-'));
    const script = `mount -t tmpfs -o size=${SIZE_KB}k tmpfs ${mount} && echo up && exec cat`;
    const holder = spawn('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', script], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    onTestEnd(async () => {
      const ended = once(holder, 'exit');
      holder.stdin.end();
      await ended;
      rmdirSync(mount);
    });
    await once(holder.stdout, 'data');
    if (holder.pid === undefined) throw new Error('no small disk was made');
    return new SmallDisk(holder.pid, mount);
  }

  /** Until not one more byte goes in. */
  fill(): void {
    try {
      for (let n = 0; ; n += 1) writeFileSync(join(this.folder, `filler-${n}`), Buffer.alloc(4096));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    }
  }

  free(): void {
    for (let n = 0; n <= SIZE_KB / 4; n += 1) rmSync(join(this.folder, `filler-${n}`), { force: true });
  }

  /** Resolves when it is; the kernel refuses while a file is open to be written. */
  async readOnly(isSo: boolean): Promise<void> {
    const option = `remount,${isSo ? 'ro' : 'rw'}`;
    const args = ['--mount', '--target', String(this.#pid), '--', 'mount', '-o', option, this.#mount];
    await eventually(
      `mount -o ${option}`,
      () => spawnSync('nsenter', args, { encoding: 'utf8' }),
      ({ status }) => status === 0,
    );
  }
}
