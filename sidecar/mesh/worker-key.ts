/**
 * The worker key's file: the seed of this worker's Ed25519 key, kept so that a restart is the same worker.
 *
 * One file of hex digits, readable by its owner alone, that is never written over: a half-written or foreign
 * file stops the start instead of silently becoming a new identity. It must not know meshes or certificates.
 */
import { Buffer } from 'node:buffer';
import fs from 'node:fs';
import path from 'node:path';
import sodium from 'sodium-universal';

const FILE_NAME = 'worker.key';
const SEED_BYTES = 32;
const OTHERS_MAY = 0o077;

/** A fresh seed; nothing is kept. */
export function newSeed(): Buffer {
  const seed = Buffer.alloc(SEED_BYTES);
  sodium.randombytes_buf(seed);
  return seed;
}

/**
 * The seed in `<stateDir>/worker.key`; made at the first start. Safe when two sidecars start at once (both get
 * the same seed). Throws an Error in plain words when the file cannot be read, made or understood.
 */
export function keptSeed(stateDir: string): Buffer {
  const file = path.join(stateDir, FILE_NAME);
  try {
    return read(file) ?? create(stateDir, file);
  } catch (error) {
    if (error instanceof BadFile) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`The worker key cannot be kept in the state directory ${stateDir}: ${reason}.`, {
      cause: error,
    });
  }
}

class BadFile extends Error {}

function read(file: string): Buffer | null {
  let text: string;
  try {
    // Bounded, also when the name leads to a device or a huge file.
    const handle = fs.openSync(file, 'r');
    try {
      const mode = fs.fstatSync(handle).mode;
      if ((mode & OTHERS_MAY) !== 0) fs.fchmodSync(handle, 0o600);
      const bytes = Buffer.alloc(SEED_BYTES * 2 + 16);
      text = bytes.toString('latin1', 0, fs.readSync(handle, bytes, 0, bytes.length, 0));
    } finally {
      fs.closeSync(handle);
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
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

function create(stateDir: string, file: string): Buffer {
  fs.mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const seed = newSeed();
  const draft = path.join(stateDir, `.${FILE_NAME}.${newSeed().toString('hex', 0, 8)}`);
  const handle = fs.openSync(draft, 'wx', 0o600);
  try {
    fs.writeSync(handle, `${seed.toString('hex')}\n`);
    fs.fsyncSync(handle);
  } finally {
    fs.closeSync(handle);
  }
  try {
    publish(draft, file);
  } finally {
    fs.rmSync(draft, { force: true });
  }
  // Another sidecar may have been first: what stands in the file is the key.
  return read(file) ?? seed;
}

/** Gives the finished draft its name, unless that is taken. */
function publish(draft: string, file: string): void {
  try {
    fs.linkSync(draft, file);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'EEXIST') return;
    // File systems without hard links (FAT, some network mounts) lose only the protection against a race.
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'EOPNOTSUPP' && code !== 'ENOSYS') throw error;
    fs.renameSync(draft, file);
  }
}
