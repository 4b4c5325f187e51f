/**
 * The sealed record: a record signed by its worker, with its certificate, encrypted for members.
 *
 * Sign-then-encrypt under one mesh-wide key instead of per-reader encryption, because a record is stored in a DHT for
 * readers whom nobody knows yet; the certificate comes along, so that a reader needs nothing else to believe it.
 *
 * Layout: version 1 (1) · nonce (24) · XChaCha20-Poly1305 of [ certificate length (2) · certificate · Ed25519 signature
 * (64) · JSON ], with the version as additional data. The signature covers a label, the certificate and the JSON.
 */
import { Buffer } from 'node:buffer';
import sodium from 'sodium-universal';
import { parseJson } from '../../core/json.ts';
import { type Certificate, includesService, validityAt } from '../../core/peers/certificate.ts';
import { decodeRecord, encodeRecord, type WorkerRecord } from '../../core/peers/record.ts';
import { checkCertificate } from '../membership/certificate-issuer.ts';
import type { Identity } from '../membership/identity.ts';
import type { MemberSecrets } from '../membership/mesh-keys.ts';

/** Why bytes were not believed. One word each: also a metric label. */
export type RecordFault =
  | 'too_large'
  | 'malformed'
  | 'unknown_version'
  | 'not_of_this_mesh'
  | 'bad_certificate'
  | 'certificate_not_valid_now'
  | 'bad_signature'
  | 'bad_record'
  | 'wrong_worker'
  | 'service_not_certified'
  | 'clock_skew';

export type OpenedRecord =
  | { readonly kind: 'ok'; readonly record: WorkerRecord; readonly certificate: Certificate }
  | { readonly kind: 'bad'; readonly reason: RecordFault; readonly detail: string };

/** A record fetched over HTTP. */
export const MAX_SEALED_BYTES = 16_384;

/** A record in a mutable value of the DHT: larger ones do not get through a VPN with an MTU of 1,300. */
export const MAX_PUT_BYTES = 1000;

const VERSION = 1;
const NONCE_BYTES = 24;
const TAG_BYTES = 16;
const HEAD_BYTES = 1 + NONCE_BYTES;
const SIGNATURE_BYTES = 64;
const OVERHEAD_BYTES = HEAD_BYTES + TAG_BYTES + 2 + SIGNATURE_BYTES;
const LABEL = Buffer.from('dht-sidecar record v1\0');
const ADDITIONAL = Buffer.of(VERSION);

/**
 * Seals one's own record into at most `maxBytes`: what does not fit goes, first the figures, then the
 * capabilities. Throws an Error in plain words when the record is not this worker's, names a service that its
 * certificate does not, or is too large even so.
 */
export function sealRecord(
  identity: Identity,
  record: WorkerRecord,
  maxBytes: number = MAX_SEALED_BYTES,
): Buffer {
  identity.renew(record.last_seen * 1000);
  const { certBytes, certificate } = identity;
  const fault = mismatch(record, certificate);
  if (fault !== null) throw new Error(`This record cannot be sealed: ${fault.detail}.`);
  const room = maxBytes - OVERHEAD_BYTES - certBytes.length;
  const withoutFigures = { ...record, figures: {} };
  for (const candidate of [record, withoutFigures, { ...withoutFigures, capabilities: {} }]) {
    const json = Buffer.from(encodeRecord(candidate));
    if (json.length <= room) return seal(identity, certBytes, json);
  }
  throw new Error(
    `This record cannot be sealed: it needs more than ${maxBytes} bytes, also without figures and capabilities.`,
  );
}

/**
 * Opens bytes from anyone. Never throws. `maxSkewMs` is how far `last_seen` may be from `nowMs`, either way.
 * Costs about 170 µs, two signature checks and one of a key, and only for bytes that a member made.
 */
export function openRecord(
  secrets: MemberSecrets,
  bytes: Buffer,
  options: {
    /** By the clock of its maker. */
    readonly nowMs: number;
    readonly maxSkewMs: number;
    /** By ours: how long a certificate holds is not for its worker to say; absent = `nowMs`. */
    readonly certificateNowMs?: number;
  },
): OpenedRecord {
  if (bytes.length > MAX_SEALED_BYTES) return bad('too_large', `more than ${MAX_SEALED_BYTES} bytes`);
  if (bytes.length === 0) return bad('malformed', 'no bytes');
  if (bytes[0] !== VERSION) return bad('unknown_version', 'not version 1 of a sealed record');
  if (bytes.length < OVERHEAD_BYTES) return bad('malformed', 'too short for a sealed record');
  const content = decrypt(bytes, secrets.recordKey);
  if (content === null) return bad('not_of_this_mesh', 'not encrypted with the record key of this mesh');

  const certEnd = 2 + content.readUInt16BE(0);
  if (certEnd + SIGNATURE_BYTES > content.length) return bad('malformed', 'the certificate is cut off');
  const certBytes = content.subarray(2, certEnd);
  const signature = content.subarray(certEnd, certEnd + SIGNATURE_BYTES);
  const json = content.subarray(certEnd + SIGNATURE_BYTES);

  const checked = checkCertificate(secrets, certBytes, (options.certificateNowMs ?? options.nowMs) / 1000);
  if (checked.certificate === null) {
    return bad('bad_certificate', `the certificate is ${checked.kind}`);
  }
  const { certificate, kind } = checked;
  // Its maker's clock may be ahead: that it has begun is the maker's word.
  const validity = kind === 'early' ? validityAt(certificate, options.nowMs / 1000) : kind;
  if (validity !== 'valid') {
    return bad(
      'certificate_not_valid_now',
      `the certificate is ${validity === 'early' ? 'not valid yet' : 'expired'}`,
    );
  }
  const workerKey = Buffer.from(certificate.workerKey, 'hex');
  if (!sodium.crypto_sign_verify_detached(signature, signedBytes(certBytes, json), workerKey)) {
    return bad('bad_signature', 'not signed by the worker of the certificate');
  }
  const decoded = decodeRecord(parseJson(json));
  if (decoded.kind === 'bad') return bad('bad_record', decoded.reason);
  const fault = mismatch(decoded.record, certificate);
  if (fault !== null) return bad(fault.reason, fault.detail);
  const skewMs = decoded.record.last_seen * 1000 - options.nowMs;
  if (!(Math.abs(skewMs) <= options.maxSkewMs)) {
    return bad('clock_skew', `last_seen is ${Math.round(skewMs / 1000)} s from the time here`);
  }
  return { kind: 'ok', record: decoded.record, certificate };
}

/** Where a record says what its certificate does not. */
function mismatch(
  record: WorkerRecord,
  certificate: Certificate,
): { reason: RecordFault; detail: string } | null {
  if (record.public_key !== certificate.workerKey) {
    return { reason: 'wrong_worker', detail: 'public_key is not the key of the certificate' };
  }
  if (record.worker_id !== certificate.workerId) {
    return { reason: 'wrong_worker', detail: 'worker_id is not the one of the certificate' };
  }
  const service = record.services.find((name) => !includesService(certificate.offers, name));
  return service === undefined
    ? null
    : { reason: 'service_not_certified', detail: `the certificate does not name ${service}` };
}

function seal(identity: Identity, certBytes: Buffer, json: Buffer): Buffer {
  const signature = Buffer.alloc(SIGNATURE_BYTES);
  sodium.crypto_sign_detached(signature, signedBytes(certBytes, json), identity.secretKey);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(certBytes.length, 0);
  const content = Buffer.concat([length, certBytes, signature, json]);
  const sealed = Buffer.alloc(HEAD_BYTES + content.length + TAG_BYTES);
  sealed[0] = VERSION;
  const nonce = sealed.subarray(1, HEAD_BYTES);
  sodium.randombytes_buf(nonce);
  const { recordKey } = identity.secrets;
  const output = sealed.subarray(HEAD_BYTES);
  sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(output, content, ADDITIONAL, null, nonce, recordKey);
  return sealed;
}

/** The content; null when it was not sealed with this key. */
function decrypt(bytes: Buffer, recordKey: Buffer): Buffer | null {
  const content = Buffer.alloc(bytes.length - HEAD_BYTES - TAG_BYTES);
  const nonce = bytes.subarray(1, HEAD_BYTES);
  const input = bytes.subarray(HEAD_BYTES);
  try {
    sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(content, null, input, ADDITIONAL, nonce, recordKey);
    return content;
  } catch {
    return null;
  }
}

function signedBytes(certBytes: Buffer, json: Buffer): Buffer {
  // The certificate states its own length, so where it ends and the JSON begins is not in doubt.
  return Buffer.concat([LABEL, certBytes, json]);
}

function bad(reason: RecordFault, detail: string): OpenedRecord {
  return { kind: 'bad', reason, detail };
}
