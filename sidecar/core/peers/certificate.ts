/**
 * The certificate: what the mesh says of one worker, and its bytes.
 *
 * A format of its own instead of X.509 or a JWT: it travels on every peer request and inside a record that must fit one
 * datagram, so it is about 150 bytes, and one statement has exactly one encoding.
 *
 * Layout: version 1 (1) · worker key (32) · not before, not after (4 each, Unix s, big-endian) · worker id · offers ·
 * calls · Ed25519 signature (64). A text is its length (1) and ASCII; a list is its count (1) and texts; count 255
 * stands for the one entry '*'.
 */
import { Buffer } from 'node:buffer';
import { isServiceName } from '../service-name.ts';
import { RECORD_LIMITS } from './record.ts';

export interface Certificate {
  /** Ed25519 key of the worker, 64 hex digits. */
  readonly workerKey: string;
  readonly workerId: string;
  /** Services that it may offer; ['*'] = any. */
  readonly offers: readonly string[];
  /** Services that it may call; ['*'] = any. */
  readonly calls: readonly string[];
  /** Unix seconds, both inclusive. */
  readonly notBefore: number;
  readonly notAfter: number;
}

export interface DecodedCertificate {
  readonly certificate: Certificate;
  /** The bytes that the signature covers; a view of the input. */
  readonly body: Buffer;
  readonly signature: Buffer;
}

/** In base64url 1,366 characters: leaves room for everything else in a header section. */
export const MAX_CERTIFICATE_BYTES = 1024;
const MAX_SERVICES = 64;
export const ANY_SERVICE: readonly string[] = Object.freeze(['*']);

const VERSION = 1;
const KEY_BYTES = 32;
const SIGNATURE_BYTES = 64;
const LIST_ANY = 255;
const MAX_TIME = 0xffff_ffff;

/** Visible ASCII, as in a record. */
const WORKER_ID = /^[!-~]+$/;
const KEY_HEX = /^[0-9a-f]{64}$/;

export function isWorkerId(text: string): boolean {
  return text.length <= RECORD_LIMITS.workerIdChars && WORKER_ID.test(text);
}

/** What is wrong with a certificate that someone wants to make, in plain words; null if nothing is. */
export function certificateFault(certificate: Certificate): string | null {
  const { workerKey, workerId, offers, calls, notBefore, notAfter } = certificate;
  if (!KEY_HEX.test(workerKey)) return 'the worker key is not 64 lower-case hex digits';
  if (!isWorkerId(workerId)) {
    return `the worker id ${JSON.stringify(workerId.slice(0, 80))} must be 1 to ${RECORD_LIMITS.workerIdChars} visible ASCII characters without spaces`;
  }
  const time = (s: number) => Number.isInteger(s) && s >= 0 && s <= MAX_TIME;
  if (!time(notBefore) || !time(notAfter)) return 'a time is not a whole number of Unix seconds';
  if (notAfter <= notBefore) return 'it would end before it begins';
  const fault = listFault('offer', offers) ?? listFault('call', calls);
  if (fault !== null) return fault;
  const bytes = encodeBody(certificate).length + SIGNATURE_BYTES;
  return bytes <= MAX_CERTIFICATE_BYTES
    ? null
    : `it would be ${bytes} bytes long and may be ${MAX_CERTIFICATE_BYTES}: name fewer services, or '*' for all`;
}

/** The bytes to sign. Throws an Error in plain words when the certificate is not a valid one. */
export function encodeCertificate(certificate: Certificate): Buffer {
  const fault = certificateFault(certificate);
  if (fault !== null) throw new Error(`This certificate cannot be made: ${fault}.`);
  return encodeBody(certificate);
}

/** Reads `body + signature`; null for anything but the one right encoding. Never throws. */
export function decodeCertificate(bytes: Buffer): DecodedCertificate | null {
  if (bytes.length > MAX_CERTIFICATE_BYTES) return null;
  const end = bytes.length - SIGNATURE_BYTES;
  // version, key, two times, and at least one byte for the id's length and for each list
  if (end < 1 + KEY_BYTES + 8 + 3 || bytes[0] !== VERSION) return null;
  const body = bytes.subarray(0, end);
  let at = 1 + KEY_BYTES + 8;

  const text = (): string | null => {
    const length = body[at];
    if (length === undefined || length === 0 || at + 1 + length > body.length) return null;
    const value = body.toString('latin1', at + 1, at + 1 + length);
    at += 1 + length;
    return value;
  };
  const list = (): readonly string[] | null => {
    const count = body[at++];
    if (count === undefined) return null;
    if (count === LIST_ANY) return ANY_SERVICE;
    if (count > MAX_SERVICES) return null;
    const names: string[] = [];
    for (let i = 0; i < count; i++) {
      const name = text();
      if (name === null || !isServiceName(name) || names.includes(name)) return null;
      names.push(name);
    }
    return Object.freeze(names);
  };

  const workerId = text();
  if (workerId === null || !isWorkerId(workerId)) return null;
  const offers = list();
  const calls = offers && list();
  if (offers === null || calls === null || at !== body.length) return null;
  const notBefore = body.readUInt32BE(1 + KEY_BYTES);
  const notAfter = body.readUInt32BE(1 + KEY_BYTES + 4);
  if (notAfter <= notBefore) return null;
  return {
    certificate: {
      workerKey: body.toString('hex', 1, 1 + KEY_BYTES),
      workerId,
      offers,
      calls,
      notBefore,
      notAfter,
    },
    body,
    signature: bytes.subarray(end),
  };
}

export type Validity = 'valid' | 'early' | 'expired';

export function validityAt(certificate: Certificate, nowSeconds: number): Validity {
  if (nowSeconds < certificate.notBefore) return 'early';
  // negated, so that a time which is not a number is never valid
  return nowSeconds <= certificate.notAfter ? 'valid' : 'expired';
}

/** Whether a list of a certificate names the service. */
export function includesService(list: readonly string[], service: string): boolean {
  return list[0] === '*' || list.includes(service);
}

function listFault(verb: string, list: readonly string[]): string | null {
  if (list.length === 1 && list[0] === '*') return null;
  if (list.length > MAX_SERVICES) return `it names more than ${MAX_SERVICES} services to ${verb}`;
  if (new Set(list).size !== list.length) return `it names a service to ${verb} twice`;
  const bad = list.find((name) => !isServiceName(name));
  return bad === undefined ? null : `${JSON.stringify(bad.slice(0, 80))} is not a service name`;
}

function encodeBody(certificate: Certificate): Buffer {
  const times = Buffer.alloc(8);
  times.writeUInt32BE(certificate.notBefore, 0);
  times.writeUInt32BE(certificate.notAfter, 4);
  const text = (value: string) => Buffer.from(`${String.fromCharCode(value.length)}${value}`, 'latin1');
  const list = (values: readonly string[]) =>
    values[0] === '*' ? [Buffer.of(LIST_ANY)] : [Buffer.of(values.length), ...values.map(text)];
  return Buffer.concat([
    Buffer.of(VERSION),
    Buffer.from(certificate.workerKey, 'hex'),
    times,
    text(certificate.workerId),
    ...list(certificate.offers),
    ...list(certificate.calls),
  ]);
}
