/**
 * The issuer: puts the mesh's signature under a certificate, and checks it.
 *
 * Both halves in one file, so that the label and the bytes under the signature are written down once.
 */
import { Buffer } from 'node:buffer';
import sodium from 'sodium-universal';
import {
  type Certificate,
  decodeCertificate,
  encodeCertificate,
  type Validity,
  validityAt,
} from '../../core/peers/certificate.ts';
import type { MemberSecrets, MeshSecrets } from './mesh-keys.ts';
import { curveKeyOf } from './pair-keys.ts';

/** Keeps a signature for one purpose from being taken for another. */
const LABEL = Buffer.from('dht-sidecar certificate v1\0');

/** The signed bytes. Throws an Error in plain words when the certificate is not a valid one. */
export function issueCertificate(secrets: MeshSecrets, certificate: Certificate): Buffer {
  const body = encodeCertificate(certificate);
  const signature = Buffer.alloc(64);
  sodium.crypto_sign_detached(signature, Buffer.concat([LABEL, body]), secrets.signing.secretKey);
  return Buffer.concat([body, signature]);
}

export type CheckedCertificate =
  | { readonly kind: Validity; readonly certificate: Certificate }
  | { readonly kind: 'malformed' | 'forged'; readonly certificate: null };

/**
 * Decodes, then checks the signature (about 55 µs), the worker's key (45 µs), and the time. A key that no secret can be
 * shared with is nobody's: so each key behind a certificate is one that requests can be signed for. Never throws.
 */
export function checkCertificate(
  secrets: MemberSecrets,
  bytes: Buffer,
  nowSeconds: number,
): CheckedCertificate {
  const decoded = decodeCertificate(bytes);
  if (decoded === null) return { kind: 'malformed', certificate: null };
  const signed = Buffer.concat([LABEL, decoded.body]);
  if (!sodium.crypto_sign_verify_detached(decoded.signature, signed, secrets.signing.publicKey)) {
    return { kind: 'forged', certificate: null };
  }
  const { certificate } = decoded;
  if (curveKeyOf(Buffer.from(certificate.workerKey, 'hex')) === null) {
    return { kind: 'malformed', certificate: null };
  }
  return { kind: validityAt(certificate, nowSeconds), certificate };
}
