/**
 * The worker key's file: the seed of this worker's Ed25519 key, kept so that a restart is the same worker.
 *
 * One file of hex digits, readable by its owner alone, that is written over only where another sidecar has the same key
 * (a copied directory), and then the former one stays beside it: a half-written or foreign file stops
 * the start instead of silently becoming a new identity. Where none can be made (a full or read-only disk, no leave)
 * the worker serves all the same, and the file is made as soon as it can be.
 */
import { Buffer } from 'node:buffer';
import fs from 'node:fs';
import path from 'node:path';
import sodium from 'sodium-universal';
import { messageOf } from '../../core/errors.ts';

const FILE_NAME = 'worker.key';
const SEED_BYTES = 32;
const OTHERS_MAY = 0o077;

/** A fresh seed; nothing is kept. */
export function newSeed(): Buffer {
  const seed = Buffer.alloc(SEED_BYTES);
  sodium.randombytes_buf(seed);
  return seed;
}

export interface KeptSeed {
  readonly seed: Buffer;
  /** Why the file could not be made, so that a restart would be another worker; null when it stands. */
  readonly fault: string | null;
}

/**
 * The seed in `<stateDir>/worker.key`; made at the first start. Safe when two sidecars start at once (both get
 * the same seed). Throws an Error in plain words when there is a file that cannot be read or understood.
 */
export function keptSeed(stateDir: string): KeptSeed {
  const file = path.join(stateDir, FILE_NAME);
  let known: Buffer | null;
  try {
    known = read(file);
  } catch (error) {
    if (error instanceof BadFile) throw error;
    throw new Error(
      `The worker key cannot be read from the state directory ${stateDir}: ${messageOf(error)}.`,
      {
        cause: error,
      },
    );
  }
  if (known !== null) return { seed: known, fault: null };
  const seed = newSeed();
  const kept = keep(stateDir, seed);
  if (kept.kind === 'fault') return { seed, fault: kept.reason };
  // Another sidecar may have been first: what stands in the file is the key.
  return { seed: kept.kind === 'taken' ? kept.seed : seed, fault: null };
}

/** The seed that stands there; nothing is made. Throws an Error in plain words when there is none. */
export function standingSeed(stateDir: string): Buffer {
  const file = path.join(stateDir, FILE_NAME);
  let seed: Buffer | null;
  try {
    seed = read(file);
  } catch (error) {
    throw new Error(
      `The worker key cannot be read from the state directory ${stateDir}: ${messageOf(error)}`,
      {
        cause: error,
      },
    );
  }
  if (seed !== null) return seed;
  throw new Error(
    `${file} is not there: the certificate is for the key that \`dht-sidecar mesh join\` made there.`,
  );
}

export type Kept =
  | { readonly kind: 'kept' }
  /** The file holds another key: another sidecar was first. */
  | { readonly kind: 'taken'; readonly seed: Buffer }
  | { readonly kind: 'fault'; readonly reason: string };

/** Makes the file if there is none, and looks whose key is in it. Never throws. */
export function keep(stateDir: string, seed: Buffer): Kept {
  const file = path.join(stateDir, FILE_NAME);
  try {
    create(stateDir, file, seed);
    const standing = read(file);
    if (standing === null) return { kind: 'fault', reason: `${file} is gone again` };
    return standing.equals(seed) ? { kind: 'kept' } : { kind: 'taken', seed: standing };
  } catch (error) {
    return { kind: 'fault', reason: messageOf(error) };
  }
}

/**
 * Another key from now on; the former one is kept beside it, for the one who copied the directory. Why that could not
 * be written, or null. Never throws.
 */
export function replaceKept(stateDir: string, seed: Buffer): string | null {
  const file = path.join(stateDir, FILE_NAME);
  try {
    withDraft(stateDir, seed, (draft) => {
      if (isThere(file)) fs.copyFileSync(file, `${file}.cloned`);
      fs.renameSync(draft, file);
    });
    return null;
  } catch (error) {
    return messageOf(error);
  }
}

class BadFile extends Error {}

function read(file: string): Buffer | null {
  let text: string;
  try {
    // Bounded, also when the name leads to a device or a huge file.
    const handle = fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    try {
      const mode = fs.fstatSync(handle).mode;
      if ((mode & OTHERS_MAY) !== 0) tighten(handle);
      const bytes = Buffer.alloc(SEED_BYTES * 2 + 16);
      text = bytes.toString('latin1', 0, fs.readSync(handle, bytes, 0, bytes.length, 0));
    } finally {
      fs.closeSync(handle);
    }
  } catch (error) {
    const code = codeOf(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    if (code === 'EACCES' && !isThere(file)) return null;
    throw error;
  }
  const digits = text.trimEnd();
  if (!/^[0-9a-f]{64}$/.test(digits)) {
    throw new BadFile(
      `${file} does not hold a worker key (64 hex digits). Restore it, or remove it to start as a new worker.`,
    );
  }
  return Buffer.from(digits, 'hex');
}

function tighten(handle: number): void {
  try {
    fs.fchmodSync(handle, 0o600);
  } catch (error) {
    // Whoever mounted it read-only has decided who may read it.
    if (codeOf(error) !== 'EROFS') throw error;
  }
}

function create(stateDir: string, file: string, seed: Buffer): void {
  withDraft(stateDir, seed, (draft) => publish(draft, file));
}

/** A finished file under a name of its own, which is gone afterwards. */
function withDraft(stateDir: string, seed: Buffer, use: (draft: string) => void): void {
  fs.mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const draft = path.join(stateDir, `.${FILE_NAME}.${newSeed().toString('hex', 0, 8)}`);
  try {
    // On a full disk the file can often be made, and not be filled.
    fs.writeFileSync(draft, `${seed.toString('hex')}\n`, { flag: 'wx', mode: 0o600, flush: true });
    use(draft);
  } finally {
    fs.rmSync(draft, { force: true });
  }
}

/** Gives the finished draft its name, unless that is taken. */
function publish(draft: string, file: string): void {
  try {
    fs.linkSync(draft, file);
  } catch (error) {
    const code = codeOf(error);
    if (code === 'EEXIST') return;
    // File systems without hard links (FAT, some network mounts) lose only the protection against a race.
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'EOPNOTSUPP' && code !== 'ENOSYS') throw error;
    fs.renameSync(draft, file);
  }
}

function isThere(file: string): boolean {
  try {
    fs.lstatSync(file);
    return true;
  } catch {
    return false;
  }
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}
