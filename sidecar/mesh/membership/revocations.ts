/**
 * The list of worker keys that are members no longer, signed by the mesh: what takes a certificate back before it ends.
 *
 * One list with a time, the newest counts: whoever holds the mesh key writes it, and any sidecar that has it gives it to
 * others (mesh/discovery/revocation-spread), so nobody is needed to be there. Kept in the state directory, since a
 * sidecar that was restarted must not take back whom it had put out.
 *
 * Layout: `sidecar-revoked-v1.` + base64url of: time (8, Unix ms, big-endian) · keys (32 each, sorted) · signature (64).
 */
import { Buffer } from 'node:buffer';
import fs from 'node:fs';
import path from 'node:path';
import sodium from 'sodium-universal';
import { messageOf } from '../../core/errors.ts';
import type { MemberSecrets, MeshSecrets } from './mesh-keys.ts';

export interface RevocationList {
  /** Unix ms. */
  readonly madeMs: number;
  /** 64 hex digits each. */
  readonly keys: ReadonlySet<string>;
  /** As it is passed on. */
  readonly text: string;
}

export type Taken = 'taken' | 'known' | 'bad';

const PREFIX = 'sidecar-revoked-v1.';
const FILE_NAME = 'revoked.list';
/** Keeps a signature for one purpose from being taken for another. */
const LABEL = Buffer.from('dht-sidecar revoked v1\0');
const TIME_BYTES = 8;
const KEY_BYTES = 32;
const SIGNATURE_BYTES = 64;
/** A certificate ends by itself: the list is of those that have not. */
export const MAX_REVOKED = 1_000;
const MAX_CHARACTERS =
  PREFIX.length + Math.ceil(((TIME_BYTES + MAX_REVOKED * KEY_BYTES + SIGNATURE_BYTES) * 4) / 3);
/** For who passes it on, in JSON. */
export const MAX_LIST_BYTES = MAX_CHARACTERS + 1_024;

/** Throws an Error in plain words for a key that is none, and for too many. */
export function signRevocations(secrets: MeshSecrets, keys: Iterable<string>, madeMs: number): string {
  const sorted = [...new Set(keys)].sort();
  const wrong = sorted.find((key) => !/^[0-9a-f]{64}$/.test(key));
  if (wrong !== undefined)
    throw new Error(`${JSON.stringify(wrong.slice(0, 80))} is not a worker key (64 hex digits).`);
  if (sorted.length > MAX_REVOKED) throw new Error(`More than ${MAX_REVOKED} keys: make a new mesh key.`);
  const time = Buffer.alloc(TIME_BYTES);
  time.writeBigUInt64BE(BigInt(Math.max(0, Math.floor(madeMs))));
  const body = Buffer.concat([time, ...sorted.map((key) => Buffer.from(key, 'hex'))]);
  const signature = Buffer.alloc(SIGNATURE_BYTES);
  sodium.crypto_sign_detached(signature, Buffer.concat([LABEL, body]), secrets.signing.secretKey);
  return PREFIX + Buffer.concat([body, signature]).toString('base64url');
}

/** Null for anything that the mesh did not sign. Never throws. */
export function readRevocations(
  { signing }: Pick<MemberSecrets, 'signing'>,
  given: string,
): RevocationList | null {
  const text = given.trim();
  if (!text.startsWith(PREFIX) || text.length > MAX_CHARACTERS) return null;
  const encoded = text.slice(PREFIX.length);
  const bytes = Buffer.from(encoded, 'base64url');
  const end = bytes.length - SIGNATURE_BYTES;
  if (bytes.toString('base64url') !== encoded || end < TIME_BYTES || (end - TIME_BYTES) % KEY_BYTES !== 0)
    return null;
  const body = bytes.subarray(0, end);
  const signed = Buffer.concat([LABEL, body]);
  if (!sodium.crypto_sign_verify_detached(bytes.subarray(end), signed, signing.publicKey)) return null;
  const madeMs = Number(body.readBigUInt64BE(0));
  if (!Number.isSafeInteger(madeMs)) return null;
  const keys = new Set<string>();
  for (let at = TIME_BYTES; at < end; at += KEY_BYTES) keys.add(body.toString('hex', at, at + KEY_BYTES));
  return { madeMs, keys, text };
}

/** What this sidecar knows of it. */
export class Revocations {
  readonly #secrets: Pick<MemberSecrets, 'signing'>;
  readonly #file: string | null;
  readonly #listeners = new Set<(list: RevocationList) => void>();
  #list: RevocationList | null;

  /** `stateDir`: where it is kept; null = nowhere. A file that is none is as good as no file. */
  constructor(secrets: Pick<MemberSecrets, 'signing'>, stateDir: string | null) {
    this.#secrets = secrets;
    this.#file = stateDir === null ? null : path.join(stateDir, FILE_NAME);
    this.#list = this.#kept();
  }

  /** Of the list, Unix ms; 0 = there is none. */
  get madeMs(): number {
    return this.#list?.madeMs ?? 0;
  }

  /** Null = there is none. */
  get text(): string | null {
    return this.#list?.text ?? null;
  }

  get keys(): ReadonlySet<string> {
    return this.#list?.keys ?? NONE;
  }

  has(keyHex: string): boolean {
    return this.#list?.keys.has(keyHex) ?? false;
  }

  /** Called with each newer list. */
  onNewer(listener: (list: RevocationList) => void): void {
    this.#listeners.add(listener);
  }

  /** `fault`: why it could not be kept; null if it was, or need not. */
  take(text: string): { readonly kind: Taken; readonly fault: string | null } {
    const list = readRevocations(this.#secrets, text);
    if (list === null) return { kind: 'bad', fault: null };
    if (list.madeMs <= this.madeMs) return { kind: 'known', fault: null };
    this.#list = list;
    const fault = this.#keep(list.text);
    for (const listener of this.#listeners) listener(list);
    return { kind: 'taken', fault };
  }

  #kept(): RevocationList | null {
    if (this.#file === null) return null;
    try {
      if (fs.statSync(this.#file).size > MAX_LIST_BYTES) return null;
      return readRevocations(this.#secrets, fs.readFileSync(this.#file, 'latin1'));
    } catch {
      return null;
    }
  }

  #keep(text: string): string | null {
    if (this.#file === null) return null;
    const draft = `${this.#file}.draft`;
    try {
      fs.mkdirSync(path.dirname(this.#file), { recursive: true, mode: 0o700 });
      fs.writeFileSync(draft, `${text}\n`, { mode: 0o600, flush: true });
      fs.renameSync(draft, this.#file);
      return null;
    } catch (error) {
      return messageOf(error);
    }
  }
}

const NONE: ReadonlySet<string> = new Set();
