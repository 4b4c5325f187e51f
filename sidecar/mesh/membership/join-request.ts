/**
 * Joining by request: a worker makes its own key and asks, whoever has the mesh key answers, and neither secret travels.
 *
 * The request is public: key and name, signed by that key, so that nobody asks in the name of a key he does not have.
 * The answer holds what every member knows of the mesh, and is sealed to the worker's key (libsodium's sealed box), so
 * that it may be sent by any way: who reads it on the way learns nothing.
 *
 * Request: `sidecar-join-v1.` + base64url of: worker key (32) · length of the name (1) · name · signature (64).
 * Answer: `sidecar-cert-v2.` + base64url of the box around what a bundle holds, without the seed.
 */
import { Buffer } from 'node:buffer';
import sodium from 'sodium-universal';
import { isWorkerId } from '../../core/peers/certificate.ts';
import {
  type Bundle,
  type BundleRequest,
  certified,
  keyPairOf,
  MAX_CONTENT_BYTES,
  readContent,
} from './certificate-bundle.ts';
import type { MeshSecrets } from './mesh-keys.ts';
import { curveKeyOf } from './pair-keys.ts';

export interface JoinRequest {
  readonly workerKey: Buffer;
  readonly workerId: string;
}

const REQUEST_PREFIX = 'sidecar-join-v1.';
const ANSWER_PREFIX = 'sidecar-cert-v2.';
/** Keeps a signature for one purpose from being taken for another. */
const LABEL = Buffer.from('dht-sidecar join v1\0');
const KEY_BYTES = 32;
const SIGNATURE_BYTES = 64;
const SEAL_BYTES = 48;
const MAX_REQUEST_CHARACTERS = 1_024;
const MAX_ANSWER_CHARACTERS = ANSWER_PREFIX.length + Math.ceil(((MAX_CONTENT_BYTES + SEAL_BYTES) * 4) / 3);

/** The line that a worker sends. Throws an Error in plain words when the name is none. */
export function makeJoinRequest(seed: Buffer, workerId: string): string {
  if (!isWorkerId(workerId))
    throw new Error('The name of the worker must be 1 to 128 visible ASCII characters.');
  const { publicKey, secretKey } = keyPairOf(seed);
  const name = Buffer.from(workerId, 'latin1');
  const body = Buffer.concat([publicKey, Buffer.of(name.length), name]);
  const signature = Buffer.alloc(SIGNATURE_BYTES);
  sodium.crypto_sign_detached(signature, Buffer.concat([LABEL, body]), secretKey);
  return REQUEST_PREFIX + Buffer.concat([body, signature]).toString('base64url');
}

/** Throws an Error in plain words for anything that no worker has signed. */
export function readJoinRequest(text: string): JoinRequest {
  const line = text.trim();
  if (!line.startsWith(REQUEST_PREFIX))
    throw new Error(
      `A request begins with "${REQUEST_PREFIX}": give the whole line that \`mesh join\` printed.`,
    );
  const encoded = line.slice(REQUEST_PREFIX.length);
  const bytes = line.length <= MAX_REQUEST_CHARACTERS ? Buffer.from(encoded, 'base64url') : Buffer.alloc(0);
  const body = bytes.subarray(0, Math.max(0, bytes.length - SIGNATURE_BYTES));
  const workerKey = Buffer.from(body.subarray(0, KEY_BYTES));
  const workerId = body.toString('latin1', KEY_BYTES + 1);
  if (
    bytes.toString('base64url') !== encoded ||
    body[KEY_BYTES] !== workerId.length ||
    !isWorkerId(workerId) ||
    !sodium.crypto_sign_verify_detached(bytes.subarray(body.length), Buffer.concat([LABEL, body]), workerKey)
  ) {
    throw new Error(
      'The request is damaged: characters are missing, added or changed. Copy the whole line again, without line breaks.',
    );
  }
  return { workerKey, workerId };
}

/** The line for that worker alone. Throws an Error in plain words for a bad request. */
export function answerJoin(secrets: MeshSecrets, { workerKey }: JoinRequest, asked: BundleRequest): string {
  const content = certified(secrets, workerKey, null, asked);
  const box = Buffer.alloc(content.length + SEAL_BYTES);
  const curveKey = curveKeyOf(workerKey);
  if (curveKey === null) throw new Error('The key in the request is none.');
  sodium.crypto_box_seal(box, content, curveKey);
  return ANSWER_PREFIX + box.toString('base64url');
}

export function isJoinRequest(text: string): boolean {
  return text.trimStart().startsWith(REQUEST_PREFIX);
}

export function isJoinAnswer(text: string): boolean {
  return text.trimStart().startsWith(ANSWER_PREFIX);
}

/** As `parseBundle`, with the worker's own key. Throws an Error in plain words that does not repeat the line. */
export function openJoinAnswer(text: string, seed: Buffer): Bundle {
  const line = text.trim();
  const encoded = line.slice(ANSWER_PREFIX.length);
  const box = line.length <= MAX_ANSWER_CHARACTERS ? Buffer.from(encoded, 'base64url') : Buffer.alloc(0);
  const content = Buffer.alloc(Math.max(0, box.length - SEAL_BYTES));
  const { publicKey, secretKey } = keyPairOf(seed);
  const curveKey = curveKeyOf(publicKey);
  const curveSecret = Buffer.alloc(KEY_BYTES);
  try {
    sodium.crypto_sign_ed25519_sk_to_curve25519(curveSecret, secretKey);
    if (
      curveKey === null ||
      box.length <= SEAL_BYTES ||
      box.toString('base64url') !== encoded ||
      !sodium.crypto_box_seal_open(content, box, curveKey, curveSecret)
    ) {
      throw new Error(
        'The certificate is damaged, or made for the key of another worker: the key in this state directory does not open it. Copy the whole line again, or ask anew with `dht-sidecar mesh join`.',
      );
    }
  } finally {
    sodium.sodium_memzero(curveSecret);
  }
  return readContent(content, seed);
}
