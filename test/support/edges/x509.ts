/**
 * A certificate authority for tests, made when it is asked for: one CA, and certificates for names under it.
 *
 * The few DER values of X.509 (RFC 5280 §4.1) written out, instead of the openssl program: Node signs but cannot
 * make certificates, and a newcomer's machine needs nothing else installed. ECDSA P-256.
 */
import { Buffer } from 'node:buffer';
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';

export interface Issued {
  /** PEM. */
  readonly cert: string;
  readonly key: string;
}

export interface TestCa {
  readonly cert: string;
  /** For these DNS names and IPv4 addresses, an hour from now. */
  issue(...names: string[]): Issued;
  /** Likewise, and over since an hour ago. */
  issueExpired(...names: string[]): Issued;
}

const ECDSA_WITH_SHA256 = '06082a8648ce3d040302';
const COMMON_NAME = '0603550403';
const BASIC_CONSTRAINTS = '0603551d13';
const SUBJECT_ALT_NAME = '0603551d11';
const SEQUENCE = 0x30;
const HOUR_MS = 3_600_000;

export function createCa(): TestCa {
  const ca = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const issuer = name('test CA');
  const isCa = der(SEQUENCE, Buffer.from('0101ff', 'hex'));
  const caExtension = extension(BASIC_CONSTRAINTS, Buffer.from('0101ff', 'hex'), isCa);
  const issue = (names: readonly string[], untilMs: number): Issued => {
    const own = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const alternatives = der(SEQUENCE, ...names.map(alternative));
    return {
      cert: certificate(
        name(names[0] ?? 'nobody'),
        issuer,
        own.publicKey,
        ca.privateKey,
        extension(SUBJECT_ALT_NAME, Buffer.alloc(0), alternatives),
        untilMs,
      ),
      key: own.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    };
  };
  return {
    cert: certificate(issuer, issuer, ca.publicKey, ca.privateKey, caExtension),
    issue: (...names) => issue(names, Date.now() + HOUR_MS),
    issueExpired: (...names) => issue(names, Date.now() - HOUR_MS),
  };
}

function certificate(
  subject: Buffer,
  issuer: Buffer,
  publicKey: KeyObject,
  signer: KeyObject,
  extensions: Buffer,
  untilMs = Date.now() + HOUR_MS,
): string {
  const algorithm = der(SEQUENCE, Buffer.from(ECDSA_WITH_SHA256, 'hex'));
  const serial = randomBytes(8);
  serial[0] = 1;
  const body = der(
    SEQUENCE,
    der(0xa0, der(0x02, Buffer.from([2]))), // version 3
    der(0x02, serial),
    algorithm,
    issuer,
    der(SEQUENCE, utcTime(untilMs - 2 * HOUR_MS), utcTime(untilMs)),
    subject,
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, der(SEQUENCE, extensions)),
  );
  const signature = sign('sha256', body, signer);
  const whole = der(SEQUENCE, body, algorithm, der(0x03, Buffer.from([0]), signature));
  const lines = whole.toString('base64').replace(/(.{64})/g, '$1\n');
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`;
}

function extension(id: string, critical: Buffer, value: Buffer): Buffer {
  return der(SEQUENCE, Buffer.from(id, 'hex'), critical, der(0x04, value));
}

function name(common: string): Buffer {
  return der(
    SEQUENCE,
    der(0x31, der(SEQUENCE, Buffer.from(COMMON_NAME, 'hex'), der(0x0c, Buffer.from(common)))),
  );
}

/** GeneralName: [7] an address, [2] a DNS name. */
function alternative(text: string): Buffer {
  const octets = /^(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text);
  return octets === null ? der(0x82, Buffer.from(text)) : der(0x87, Buffer.from(octets.slice(1).map(Number)));
}

function utcTime(unixMs: number): Buffer {
  const digits = new Date(unixMs).toISOString().replace(/\.\d+/, '').replace(/[-:T]/g, '').slice(2);
  return der(0x17, Buffer.from(digits));
}

/** Tag, length in the shortest form, contents. */
function der(tag: number, ...parts: Buffer[]): Buffer {
  const contents = Buffer.concat(parts);
  const { length } = contents;
  const size =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), contents]);
}
