/**
 * The certificate bundle: the one printable line that `mesh cert` prints and SIDECAR_CERT takes.
 *
 * One line instead of a set of PEM files, because it goes through an environment variable or a secret store to one
 * worker. It holds that worker's certificate, the seed of its key and the member part of the mesh's keys; not the key
 * that signs certificates, so its holder cannot admit others. Whoever reads it can act as that worker: it is a secret.
 *
 * Layout: `sidecar-cert-v1.` + base64url of: mesh signing public key · topic, record, packet, prologue keys · worker
 * key seed (32 each) · signed certificate · BLAKE2b-128 of all before it.
 */
import { Buffer } from 'node:buffer';
import sodium from 'sodium-universal';
import { type Certificate, MAX_CERTIFICATE_BYTES } from '../../core/peers/certificate.ts';
import { checkCertificate, issueCertificate } from './certificate-issuer.ts';
import { type MemberSecrets, type MeshSecrets, memberPart } from './mesh-keys.ts';

export interface BundleRequest {
  readonly workerId: string;
  /** Services that the worker may offer; ['*'] = any. */
  readonly offers: readonly string[];
  /** Services that it may call; ['*'] = any. */
  readonly calls: readonly string[];
  /** Life in days from `nowSeconds`. */
  readonly days: number;
  readonly nowSeconds: number;
}

export interface Bundle {
  readonly certBytes: Buffer;
  readonly certificate: Certificate;
  /** 32 bytes that the worker's key pair follows from. */
  readonly seed: Buffer;
  readonly secrets: MemberSecrets;
}

/** Allowance for the clocks of those who check, in seconds: a fleet works with clocks that are minutes apart. */
export const BACKDATE_SECONDS = 3_600;

const PREFIX = 'sidecar-cert-v1.';
const KEYS = 6;
const HASH_BYTES = 16;
const DAY_SECONDS = 86_400;
const MAX_DAYS = 3650;
export const MAX_CONTENT_BYTES = KEYS * 32 + MAX_CERTIFICATE_BYTES + HASH_BYTES;
const MAX_CHARACTERS = PREFIX.length + Math.ceil((MAX_CONTENT_BYTES * 4) / 3);

/** Makes a worker key, certifies it and packs both. Throws an Error in plain words for a bad request. */
export function createBundle(secrets: MeshSecrets, request: BundleRequest): string {
  const seed = Buffer.alloc(32);
  sodium.randombytes_buf(seed);
  return PREFIX + certified(secrets, keyPairOf(seed).publicKey, seed, request).toString('base64url');
}

/** The bytes of a bundle for a worker's key; without the seed where that stays with the worker. */
export function certified(
  secrets: MeshSecrets,
  workerKey: Buffer,
  seed: Buffer | null,
  { workerId, offers, calls, days, nowSeconds }: BundleRequest,
): Buffer {
  if (!Number.isFinite(days) || days <= 0 || days > MAX_DAYS) {
    throw new Error(`The number of days must be more than 0 and at most ${MAX_DAYS}, not ${days}.`);
  }
  const certBytes = issueCertificate(secrets, {
    workerKey: workerKey.toString('hex'),
    workerId,
    offers,
    calls,
    ...lifeOf(days, nowSeconds),
  });
  const { signing, topicKey, recordKey, packetKey, prologue } = memberPart(secrets);
  const keys = [signing.publicKey, topicKey, recordKey, packetKey, prologue];
  const content = Buffer.concat([...keys, ...(seed === null ? [] : [seed]), certBytes]);
  return Buffer.concat([content, hashOf(content)]);
}

/** Of a certificate that is made now, in Unix seconds. */
export function lifeOf(
  days: number,
  nowSeconds: number,
): { readonly notBefore: number; readonly notAfter: number } {
  return {
    notBefore: Math.floor(nowSeconds) - BACKDATE_SECONDS,
    notAfter: Math.floor(nowSeconds + days * DAY_SECONDS),
  };
}

/**
 * Reads a bundle and checks that it is whole and consistent, whatever its dates. Throws an Error in plain
 * words that does not repeat the bundle.
 */
export function parseBundle(text: string): Bundle {
  const line = text.trim();
  if (!line.startsWith(PREFIX)) {
    throw new Error(
      `The certificate must begin with "${PREFIX}": give the whole line that \`dht-sidecar mesh cert\` printed.`,
    );
  }
  const encoded = line.slice(PREFIX.length);
  const bytes = line.length <= MAX_CHARACTERS ? Buffer.from(encoded, 'base64url') : Buffer.alloc(0);
  if (bytes.toString('base64url') !== encoded) throw damaged();
  return readContent(bytes, null);
}

/** Reads what `certified` made. `ownSeed`: the worker's, where it is not in there. Throws as `parseBundle`. */
export function readContent(bytes: Buffer, ownSeed: Buffer | null): Bundle {
  const keys = ownSeed === null ? KEYS : KEYS - 1;
  const content = bytes.subarray(0, Math.max(0, bytes.length - HASH_BYTES));
  if (content.length <= keys * 32 || !hashOf(content).equals(bytes.subarray(content.length))) throw damaged();
  const part = (index: number) => Buffer.from(content.subarray(index * 32, index * 32 + 32));
  const secrets: MemberSecrets = {
    signing: { publicKey: part(0) },
    topicKey: part(1),
    recordKey: part(2),
    packetKey: part(3),
    prologue: part(4),
  };
  const seed = ownSeed ?? part(5);
  const certBytes = Buffer.from(content.subarray(keys * 32));
  const checked = checkCertificate(secrets, certBytes, 0);
  if (checked.certificate === null) {
    throw new Error(
      'The certificate is not signed by its own mesh: make a new one with `dht-sidecar mesh cert`.',
    );
  }
  const { certificate } = checked;
  if (keyPairOf(seed).publicKey.toString('hex') !== certificate.workerKey) {
    throw new Error(
      'The certificate is for another worker key: make a new one with `dht-sidecar mesh cert`.',
    );
  }
  return { certBytes, certificate, seed, secrets };
}

function damaged(): Error {
  return new Error(
    'The certificate is damaged: characters are missing, added or changed. Copy the whole line again, without line breaks.',
  );
}

export function keyPairOf(seed: Buffer): { readonly publicKey: Buffer; readonly secretKey: Buffer } {
  const publicKey = Buffer.alloc(32);
  const secretKey = Buffer.alloc(64);
  sodium.crypto_sign_seed_keypair(publicKey, secretKey, seed);
  return { publicKey, secretKey };
}

function hashOf(content: Buffer): Buffer {
  const hash = Buffer.alloc(HASH_BYTES);
  sodium.crypto_generichash(hash, content);
  return hash;
}
