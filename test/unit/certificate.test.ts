import { Buffer } from 'node:buffer';
import { describe, expect, test } from '@jest/globals';
import {
  type Certificate,
  certificateFault,
  decodeCertificate,
  encodeCertificate,
  includesService,
  MAX_CERTIFICATE_BYTES,
  validityAt,
} from '../../sidecar/core/peers/certificate.ts';
import { checkCertificate, issueCertificate } from '../../sidecar/mesh/membership/certificate-issuer.ts';
import { fromMeshKey } from '../../sidecar/mesh/membership/mesh-keys.ts';
import { MESH_KEY, OTHER_MESH_KEY } from '../support/meshes/members.ts';
import { expectNamed, mustHold } from '../support/runner/expectations.ts';

const certificate: Certificate = {
  // The base point: any point of the curve will do.
  workerKey: `58${'66'.repeat(31)}`,
  workerId: 'worker-gpu-001',
  offers: ['llm-inference', 'vision-ocr'],
  calls: ['*'],
  notBefore: 1000,
  notAfter: 2000,
};
const signature = Buffer.alloc(64, 9);
const encoded = () => Buffer.concat([encodeCertificate(certificate), signature]);

describe('a certificate', () => {
  test('a certificate reads back as it was written, in under 160 bytes', () => {
    const decoded = decodeCertificate(encoded());
    expect(decoded?.certificate).toStrictEqual(certificate);
    expect(decoded?.signature).toStrictEqual(signature);
    expect(decoded?.body).toStrictEqual(encodeCertificate(certificate));
    expectNamed(encoded().length, `${encoded().length} bytes`).toBeLessThan(160);
  });

  test('the bytes of version 1 are final', () => {
    const hex = encodeCertificate({ ...certificate, workerKey: '00'.repeat(32), offers: ['a'] }).toString(
      'hex',
    );
    expect(hex).toBe(
      `01${'00'.repeat(32)}000003e8000007d00e${Buffer.from('worker-gpu-001').toString('hex')}010161ff`,
    );
  });

  test('a truncated or extended certificate is refused at every length', () => {
    const whole = encoded();
    for (let length = 0; length < whole.length; length++) {
      expectNamed(decodeCertificate(whole.subarray(0, length)), `${length} bytes`).toBe(null);
    }
    expect(decodeCertificate(Buffer.concat([whole, Buffer.of(0)]))).toBe(null);
    expect(decodeCertificate(Buffer.alloc(MAX_CERTIFICATE_BYTES + 1, 1))).toBe(null);
  });

  test('a byte more than a certificate may have is one too many, though all in it is right', () => {
    const names = Array.from({ length: 14 }, (_, n) => `${String(n).padStart(2, '0')}${'x'.repeat(61)}`);
    const known = encodeCertificate({ ...certificate, offers: [], calls: names });
    const ofBytes = (bytes: number): Buffer => {
      const calls = [...names, 'y'.repeat(bytes - signature.length - known.length - 1)];
      const texts = calls.map((name) => Buffer.from(`${String.fromCharCode(name.length)}${name}`, 'latin1'));
      const head = encodeCertificate({ ...certificate, offers: [], calls: [] }).subarray(0, -1);
      return Buffer.concat([head, Buffer.of(calls.length), ...texts, signature]);
    };
    const longest = ofBytes(MAX_CERTIFICATE_BYTES);
    expect(longest).toHaveLength(MAX_CERTIFICATE_BYTES);
    const read = decodeCertificate(longest)?.certificate;
    mustHold(read !== undefined);
    expect(encodeCertificate(read)).toStrictEqual(longest.subarray(0, -signature.length));
    expect(decodeCertificate(ofBytes(MAX_CERTIFICATE_BYTES + 1))).toBe(null);
    const calls = [...read.calls.slice(0, -1), `${read.calls.at(-1)}y`];
    expect(certificateFault({ ...read, calls }) ?? '').toMatch(/would be 1025 bytes long/);
  });

  test('names that a certificate may not carry are refused when it is made and when it is read', () => {
    const bad = ['', 'a/b', 'UPPER', 'a\u0000b', 'x'.repeat(64), '-a', '*'];
    for (const name of bad) {
      expectNamed(certificateFault({ ...certificate, offers: ['ok', name] }) ?? '', name).toMatch(
        /not a service name/,
      );
      const forged = Buffer.concat([
        encodeCertificate({ ...certificate, offers: [], calls: [] }).subarray(0, -2),
        Buffer.of(1, name.length),
        Buffer.from(name, 'latin1'),
        Buffer.of(0),
        signature,
      ]);
      expectNamed(decodeCertificate(forged), name).toBe(null);
    }
    expect(certificateFault({ ...certificate, offers: ['a', 'a'] }) ?? '').toMatch(/twice/);
    expect(certificateFault({ ...certificate, workerId: 'a b' }) ?? '').toMatch(/worker id/);
    expect(certificateFault({ ...certificate, workerId: 'x'.repeat(129) }) ?? '').toMatch(/worker id/);
    expect(certificateFault({ ...certificate, workerKey: 'AB'.repeat(32) }) ?? '').toMatch(/hex/);
    expect(certificateFault({ ...certificate, notAfter: 1000 }) ?? '').toMatch(/end before it begins/);
    expect(certificateFault({ ...certificate, notAfter: 2 ** 32 }) ?? '').toMatch(/Unix seconds/);
    const many = Array.from({ length: 20 }, (_, i) => `${'s'.repeat(60)}${i}`);
    expect(certificateFault({ ...certificate, offers: many }) ?? '').toMatch(/fewer services/);
    expect(() => encodeCertificate({ ...certificate, offers: many })).toThrow(/cannot be made/);
  });

  test('the dates are inclusive, and a time that is no number is not valid', () => {
    expect(validityAt(certificate, 999.9)).toBe('early');
    expect(validityAt(certificate, 1000)).toBe('valid');
    expect(validityAt(certificate, 2000)).toBe('valid');
    expect(validityAt(certificate, 2000.1)).toBe('expired');
    expect(validityAt(certificate, Number.NaN)).toBe('expired');
  });

  test('a star names every service, and only alone', () => {
    expect(includesService(['*'], 'anything')).toBe(true);
    expect(includesService(['a', 'b'], 'b')).toBe(true);
    expect(includesService(['a', 'b'], 'c')).toBe(false);
    expect(includesService([], 'c')).toBe(false);
    expect(certificateFault({ ...certificate, offers: ['*'], calls: ['*'] })).toBe(null);
    for (const list of [
      ['*', 'a'],
      ['a', '*'],
    ]) {
      expect(certificateFault({ ...certificate, offers: list })).toBe('"*" is not a service name');
      expect(certificateFault({ ...certificate, calls: list })).toBe('"*" is not a service name');
    }
  });

  test('only the mesh that signed a certificate takes it', () => {
    const mesh = fromMeshKey(MESH_KEY);
    const bytes = issueCertificate(mesh, certificate);
    expect(checkCertificate(mesh, bytes, 1500).kind).toBe('valid');
    expect(checkCertificate(mesh, bytes, 1).kind).toBe('early');
    expect(checkCertificate(mesh, bytes, 9999).kind).toBe('expired');
    expect(checkCertificate(fromMeshKey(OTHER_MESH_KEY), bytes, 1500).kind).toBe('forged');
    expect(checkCertificate(mesh, encoded(), 1500).kind).toBe('forged');
    expect(checkCertificate(mesh, Buffer.alloc(0), 1500).kind).toBe('malformed');
  });
});
