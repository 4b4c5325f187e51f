/**
 * The proof of a life: which run of a sidecar answers now, signed by its worker key.
 *
 * A key is one worker's, and a copied state directory gives it to two processes. The signature covers a challenge of
 * the one who asks, so nothing that was ever said before can be played again, and whoever passes the question on to
 * the sidecar that asks gets that sidecar's own proof. It needs the key itself: being a member is not enough.
 */
import { Buffer } from 'node:buffer';
import sodium from 'sodium-universal';
import { isObject, parseJson } from '../../core/json.ts';

/** One run of one sidecar. */
export interface Life {
  /** 16 random hex digits, made at its start. */
  readonly id: string;
  /** Unix ms of its start, as its records say it. */
  readonly epoch: number;
  /** Where it is reached, for people. */
  readonly place: string;
  /** It shuts down: its successor may be here already. */
  readonly isDraining: boolean;
}

const LABEL = 'dht-sidecar life v1\0';
const SIGNATURE_BYTES = 64;
const MAX_CHARS = 2_048;
const MAX_PLACE_CHARS = 600;

export function newChallenge(): string {
  return randomHex(16);
}

export function newLifeId(): string {
  return randomHex(8);
}

export function isChallenge(text: unknown): text is string {
  return typeof text === 'string' && /^[0-9a-f]{32}$/.test(text);
}

/** `base64url(signature ‖ JSON)`. */
export function proveLife(secretKey: Buffer, challenge: string, life: Life): string {
  const json = Buffer.from(JSON.stringify(life));
  const signature = Buffer.alloc(SIGNATURE_BYTES);
  sodium.crypto_sign_detached(signature, signedBytes(challenge, json), secretKey);
  return Buffer.concat([signature, json]).toString('base64url');
}

/** Who holds the key of these 64 hex digits and was given the challenge; null when that is not proved. Never throws. */
export function provenLife(keyHex: string, challenge: string, proof: unknown): Life | null {
  if (typeof proof !== 'string' || proof.length > MAX_CHARS) return null;
  const bytes = Buffer.from(proof, 'base64url');
  const key = Buffer.from(keyHex, 'hex');
  if (bytes.length <= SIGNATURE_BYTES || key.length !== 32) return null;
  const json = bytes.subarray(SIGNATURE_BYTES);
  const signature = bytes.subarray(0, SIGNATURE_BYTES);
  if (!sodium.crypto_sign_verify_detached(signature, signedBytes(challenge, json), key)) return null;
  return lifeIn(parseJson(json));
}

/** Its place is shown as it is: a worker that is a member may still be hostile. */
function lifeIn(said: unknown): Life | null {
  if (!isObject(said)) return null;
  const { id, epoch, place, isDraining } = said;
  if (typeof id !== 'string' || !/^[0-9a-f]{16}$/.test(id)) return null;
  if (typeof epoch !== 'number' || !Number.isSafeInteger(epoch) || epoch < 0) return null;
  if (typeof place !== 'string' || place.length > MAX_PLACE_CHARS || !/^[ -~]+$/.test(place)) return null;
  return typeof isDraining === 'boolean' ? { id, epoch, place, isDraining } : null;
}

function signedBytes(challenge: string, json: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${LABEL}${challenge}\0`), json]);
}

function randomHex(bytes: number): string {
  const random = Buffer.alloc(bytes);
  sodium.randombytes_buf(random);
  return random.toString('hex');
}
