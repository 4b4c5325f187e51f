/**
 * The identity: who this sidecar is to the others, and whom it takes for a member.
 *
 * One object for both ways in (the mesh key, with which a sidecar certifies itself, or a certificate that someone made
 * for it), so that nothing behind it asks which one it was.
 */
import type { Buffer } from 'node:buffer';
import { BoundedCache } from '../../core/bounded-cache.ts';
import {
  ANY_SERVICE,
  type Certificate,
  includesService,
  MAX_CERTIFICATE_BYTES,
  validityAt,
} from '../../core/peers/certificate.ts';
import { BACKDATE_SECONDS, type Bundle, keyPairOf, parseBundle } from './certificate-bundle.ts';
import { checkCertificate, issueCertificate } from './certificate-issuer.ts';
import { isJoinAnswer, openJoinAnswer } from './join-request.ts';
import { fromMeshKey, type MemberSecrets, memberPart } from './mesh-keys.ts';
import { Revocations } from './revocations.ts';
import { type Kept, keep, keptSeed, newSeed, replaceKept, standingSeed } from './worker-key.ts';

export interface Identity {
  /** The worker's Ed25519 key pair, as it is now; also its key pair in the DHT. */
  readonly publicKey: Buffer;
  readonly secretKey: Buffer;
  /** The public key as 64 hex digits. */
  readonly keyHex: string;
  readonly workerId: string;
  /** As of the last `renew`. */
  readonly certificate: Certificate;
  /** The signed certificate, to be sent. */
  readonly certBytes: Buffer;
  readonly secrets: MemberSecrets;
  /** Whose certificates hold no longer. */
  readonly revocations: Revocations;
  /**
   * Replaces a certificate of one's own making when half of its life is gone; true if it did. Cheap to call
   * before each use. A certificate made by someone else stays as it is.
   */
  renew(nowMs: number): boolean;
  /** Offers other services from now on; with a certificate those that it names. */
  offer(services: readonly string[], nowMs: number): void;
  /** Whether the key is kept in the state directory as it should be; tries anew when it is not. */
  keepKey(): Kept;
  /**
   * Goes on with a fresh key, which also the next start has where there is a state directory. `fault`: why it does not,
   * or, where it does, why the next start will have the former key.
   */
  replaceKey(nowMs: number): KeyReplaced;
  /**
   * Goes on with a renewed certificate; true when it is of another key. Throws in plain words when it is none, or not of
   * this mesh, this worker and its services, or does not hold now; then nothing has changed.
   */
  adopt(certBundle: string, nowMs: number): boolean;
  /** The certificate if the mesh signed it and it holds now, else null. The signature is checked once. */
  verifyCertificate(bytes: Buffer, nowSeconds: number): Certificate | null;
}

export interface KeyReplaced {
  readonly isReplaced: boolean;
  readonly fault: string | null;
}

export interface IdentityOptions {
  /** 32 bytes; null when `certBundle` is given. */
  readonly meshKey: Uint8Array | null;
  /** The line that `mesh cert` printed; null when `meshKey` is given. */
  readonly certBundle: string | null;
  /** Null: the one in the certificate. */
  readonly workerId: string | null;
  /** Services that this worker offers. */
  readonly services: readonly string[];
  /** Where the worker key is kept; null: a fresh key at each start. Not used with a bundle that holds the key. */
  readonly stateDir: string | null;
  /** Unix ms. */
  readonly nowMs: number;
}

/** Life of a certificate that a sidecar makes for itself; a stolen worker key is of use for no longer. */
const OWN_LIFE_SECONDS = 7 * 86_400;
const MAX_VERIFIED = 8192;
const KEPT: Kept = { kind: 'kept' };
const NOT_OURS: KeyReplaced = {
  isReplaced: false,
  fault:
    'its key is that of a certificate, which one worker only can use: make one for each with `dht-sidecar mesh cert`',
};

/**
 * Throws an Error in plain words, fit to be shown to the one who configured it, when the key or certificate
 * is not usable, is not for this worker or its services, or does not hold now.
 */
export function openIdentity(options: IdentityOptions): Identity {
  if (options.meshKey !== null && options.certBundle !== null) {
    throw new Error('A mesh key and a certificate are both given: a worker needs one of them, not both.');
  }
  if (options.certBundle !== null) return fromBundle(bundleOf(options.certBundle, options), options);
  if (options.meshKey !== null) return fromKey(options.meshKey, options);
  throw new Error(
    'Neither a mesh key nor a certificate is given: `dht-sidecar mesh new` makes a key, `dht-sidecar mesh cert` a certificate.',
  );
}

function fromKey(meshKey: Uint8Array, options: IdentityOptions): Identity {
  const secrets = fromMeshKey(meshKey);
  const { workerId, stateDir } = options;
  if (workerId === null) throw new Error('With a mesh key the worker needs an id.');
  let { seed, fault } = stateDir === null ? { seed: newSeed(), fault: null } : keptSeed(stateDir);
  let keyPair = keyPairOf(seed);
  const keepKey = (): Kept => (stateDir === null || fault === null ? KEPT : keep(stateDir, seed));
  const newKey = (): { readonly keyPair: KeyPair; readonly fault: string | null } => {
    seed = newSeed();
    keyPair = keyPairOf(seed);
    fault = stateDir === null ? null : replaceKept(stateDir, seed);
    return { keyPair, fault };
  };
  const issue = (nowMs: number, services: readonly string[]): Issued => {
    const nowSeconds = Math.floor(nowMs / 1000);
    const certificate: Certificate = {
      workerKey: keyPair.publicKey.toString('hex'),
      workerId,
      offers: services,
      calls: ANY_SERVICE,
      notBefore: Math.max(0, nowSeconds - BACKDATE_SECONDS),
      notAfter: nowSeconds + OWN_LIFE_SECONDS,
    };
    return { certificate, certBytes: issueCertificate(secrets, certificate) };
  };
  return new OpenIdentity(keyPair, memberPart(secrets), issue(options.nowMs, options.services), {
    issue,
    keepKey,
    newKey,
    services: options.services,
    stateDir,
  });
}

/** Of a line that holds the key itself, or that is for the key in the state directory. */
function bundleOf(line: string, { stateDir }: Pick<IdentityOptions, 'stateDir'>): Bundle {
  if (!isJoinAnswer(line)) return parseBundle(line);
  if (stateDir === null)
    throw new Error(
      'The certificate is for a key in a state directory: set SIDECAR_STATE_DIR as `mesh join` had it.',
    );
  return openJoinAnswer(line, standingSeed(stateDir));
}

function fromBundle(bundle: Bundle, options: IdentityOptions): Identity {
  checkBundle(bundle, options);
  return new OpenIdentity(keyPairOf(bundle.seed), bundle.secrets, bundle, {
    issue: null,
    keepKey: () => KEPT,
    newKey: null,
    services: options.services,
    stateDir: options.stateDir,
  });
}

function checkBundle(
  { certificate }: Bundle,
  options: Pick<IdentityOptions, 'workerId' | 'services' | 'nowMs'>,
): void {
  const { workerId, services, nowMs } = options;
  const whose = `The certificate of worker ${certificate.workerId}`;
  if (workerId !== null && workerId !== certificate.workerId) {
    throw new Error(
      `${whose} cannot be used by worker ${workerId}: set the same worker id, or make a certificate for this one.`,
    );
  }
  const missing = services.filter((service) => !includesService(certificate.offers, service));
  if (missing.length > 0) {
    throw new Error(
      `${whose} does not allow it to offer ${missing.join(', ')}: it names ${certificate.offers.join(', ') || 'no service'}.`,
    );
  }
  const validity = validityAt(certificate, Math.floor(nowMs / 1000));
  if (validity === 'expired') {
    throw new Error(
      `${whose} ended at ${isoTime(certificate.notAfter)} and it is ${isoTime(nowMs / 1000)}: make a new one with \`dht-sidecar mesh cert\`.`,
    );
  }
  if (validity === 'early') {
    throw new Error(
      `${whose} begins at ${isoTime(certificate.notBefore)} and it is ${isoTime(nowMs / 1000)}: check the clock of this machine.`,
    );
  }
}

interface KeyPair {
  readonly publicKey: Buffer;
  readonly secretKey: Buffer;
}

interface Own {
  /** null = the certificate was made by someone else. */
  readonly issue: ((nowMs: number, services: readonly string[]) => Issued) | null;
  readonly keepKey: () => Kept;
  readonly newKey: (() => { readonly keyPair: KeyPair; readonly fault: string | null }) | null;
  /** That it offers. */
  readonly services: readonly string[];
  readonly stateDir: string | null;
}

interface Issued {
  readonly certificate: Certificate;
  readonly certBytes: Buffer;
}

class OpenIdentity implements Identity {
  readonly workerId: string;
  readonly secrets: MemberSecrets;
  readonly revocations: Revocations;
  readonly keepKey: () => Kept;
  #keyPair: KeyPair;
  #keyHex: string;
  #issued: Issued;
  readonly #own: Own;
  #services: readonly string[];
  readonly #verified = new BoundedCache<string, Certificate>(MAX_VERIFIED, () => {});

  constructor(keyPair: KeyPair, secrets: MemberSecrets, issued: Issued, own: Own) {
    this.#keyPair = keyPair;
    this.#keyHex = keyPair.publicKey.toString('hex');
    this.workerId = issued.certificate.workerId;
    this.secrets = secrets;
    this.revocations = new Revocations(secrets, own.stateDir);
    this.#issued = issued;
    this.#own = own;
    this.#services = own.services;
    this.keepKey = own.keepKey;
  }

  get publicKey(): Buffer {
    return this.#keyPair.publicKey;
  }

  get secretKey(): Buffer {
    return this.#keyPair.secretKey;
  }

  get keyHex(): string {
    return this.#keyHex;
  }

  get certificate(): Certificate {
    return this.#issued.certificate;
  }

  get certBytes(): Buffer {
    return this.#issued.certBytes;
  }

  renew(nowMs: number): boolean {
    const { notBefore, notAfter } = this.#issued.certificate;
    const nowSeconds = nowMs / 1000;
    // Also when the clock was set back before the certificate begins.
    const isDue = nowSeconds > (notBefore + notAfter) / 2 || nowSeconds < notBefore;
    const { issue } = this.#own;
    if (!isDue || issue === null) return false;
    this.#issued = issue(nowMs, this.#issued.certificate.offers);
    return true;
  }

  offer(services: readonly string[], nowMs: number): void {
    this.#services = services;
    const { issue } = this.#own;
    if (issue !== null) this.#issued = issue(nowMs, services);
  }

  replaceKey(nowMs: number): KeyReplaced {
    const { issue, newKey } = this.#own;
    if (issue === null || newKey === null) return NOT_OURS;
    const { keyPair, fault } = newKey();
    this.#keyPair = keyPair;
    this.#keyHex = keyPair.publicKey.toString('hex');
    this.#issued = issue(nowMs, this.#issued.certificate.offers);
    return { isReplaced: true, fault };
  }

  adopt(certBundle: string, nowMs: number): boolean {
    if (this.#own.issue !== null)
      throw new Error('This worker makes its certificate by itself, with the mesh key.');
    const bundle = bundleOf(certBundle.trim(), this.#own);
    if (!bundle.secrets.signing.publicKey.equals(this.secrets.signing.publicKey)) {
      throw new Error('The certificate is of another mesh: that needs a restart.');
    }
    checkBundle(bundle, { workerId: this.workerId, services: this.#services, nowMs });
    const keyPair = keyPairOf(bundle.seed);
    const isOther = !keyPair.publicKey.equals(this.#keyPair.publicKey);
    this.#keyPair = keyPair;
    this.#keyHex = keyPair.publicKey.toString('hex');
    this.#issued = { certificate: bundle.certificate, certBytes: bundle.certBytes };
    return isOther;
  }

  verifyCertificate(bytes: Buffer, nowSeconds: number): Certificate | null {
    if (bytes.length > MAX_CERTIFICATE_BYTES) return null;
    const key = bytes.toString('latin1');
    const known = this.#verified.get(key);
    if (known !== undefined) return this.#holds(known, nowSeconds) ? known : null;
    const checked = checkCertificate(this.secrets, bytes, nowSeconds);
    if (checked.kind !== 'valid') return null;
    // Only what the mesh signed is kept, so strangers cannot fill the cache.
    this.#verified.set(key, checked.certificate);
    return this.revocations.has(checked.certificate.workerKey) ? null : checked.certificate;
  }

  #holds(certificate: Certificate, nowSeconds: number): boolean {
    return validityAt(certificate, nowSeconds) === 'valid' && !this.revocations.has(certificate.workerKey);
  }
}

function isoTime(seconds: number): string {
  return new Date(seconds * 1000).toISOString().slice(0, 19).replace('T', ' ').concat(' UTC');
}
