import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import test from 'node:test';
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
import { MESH_KEY, OTHER_MESH_KEY } from '../support/members.ts';

const certificate: Certificate = {
  workerKey: 'ab'.repeat(32),
  workerId: 'worker-gpu-001',
  offers: ['llm-inference', 'vision-ocr'],
  calls: ['*'],
  notBefore: 1000,
  notAfter: 2000,
};
const signature = Buffer.alloc(64, 9);
const encoded = () => Buffer.concat([encodeCertificate(certificate), signature]);

test('a certificate reads back as it was written, in under 160 bytes', () => {
  const decoded = decodeCertificate(encoded());
  assert.deepEqual(decoded?.certificate, certificate);
  assert.deepEqual(decoded?.signature, signature);
  assert.deepEqual(decoded?.body, encodeCertificate(certificate));
  assert.ok(encoded().length < 160, `${encoded().length} bytes`);
});

test('the bytes of version 1 are final', () => {
  const hex = encodeCertificate({ ...certificate, workerKey: '00'.repeat(32), offers: ['a'] }).toString(
    'hex',
  );
  assert.equal(
    hex,
    `01${'00'.repeat(32)}000003e8000007d00e${Buffer.from('worker-gpu-001').toString('hex')}010161ff`,
  );
});

test('a truncated or extended certificate is refused at every length', () => {
  const whole = encoded();
  for (let length = 0; length < whole.length; length++) {
    assert.equal(decodeCertificate(whole.subarray(0, length)), null, `${length} bytes`);
  }
  assert.equal(decodeCertificate(Buffer.concat([whole, Buffer.of(0)])), null);
  assert.equal(decodeCertificate(Buffer.alloc(MAX_CERTIFICATE_BYTES + 1, 1)), null);
});

test('names that a certificate may not carry are refused when it is made and when it is read', () => {
  const bad = ['', 'a/b', 'UPPER', 'a\u0000b', 'x'.repeat(64), '-a', '*'];
  for (const name of bad) {
    assert.match(
      certificateFault({ ...certificate, offers: ['ok', name] }) ?? '',
      /not a service name/,
      name,
    );
    const forged = Buffer.concat([
      encodeCertificate({ ...certificate, offers: [], calls: [] }).subarray(0, -2),
      Buffer.of(1, name.length),
      Buffer.from(name, 'latin1'),
      Buffer.of(0),
      signature,
    ]);
    assert.equal(decodeCertificate(forged), null, name);
  }
  assert.match(certificateFault({ ...certificate, offers: ['a', 'a'] }) ?? '', /twice/);
  assert.match(certificateFault({ ...certificate, workerId: 'a b' }) ?? '', /worker id/);
  assert.match(certificateFault({ ...certificate, workerId: 'x'.repeat(129) }) ?? '', /worker id/);
  assert.match(certificateFault({ ...certificate, workerKey: 'AB'.repeat(32) }) ?? '', /hex/);
  assert.match(certificateFault({ ...certificate, notAfter: 1000 }) ?? '', /end before it begins/);
  assert.match(certificateFault({ ...certificate, notAfter: 2 ** 32 }) ?? '', /Unix seconds/);
  const many = Array.from({ length: 20 }, (_, i) => `${'s'.repeat(60)}${i}`);
  assert.match(certificateFault({ ...certificate, offers: many }) ?? '', /fewer services/);
  assert.throws(() => encodeCertificate({ ...certificate, offers: many }), /cannot be made/);
});

test('the dates are inclusive, and a time that is no number is not valid', () => {
  assert.equal(validityAt(certificate, 999.9), 'early');
  assert.equal(validityAt(certificate, 1000), 'valid');
  assert.equal(validityAt(certificate, 2000), 'valid');
  assert.equal(validityAt(certificate, 2000.1), 'expired');
  assert.equal(validityAt(certificate, Number.NaN), 'expired');
});

test('a star names every service, and only alone', () => {
  assert.ok(includesService(['*'], 'anything'));
  assert.ok(includesService(['a', 'b'], 'b'));
  assert.ok(!includesService(['a', 'b'], 'c'));
  assert.ok(!includesService([], 'c'));
});

test('only the mesh that signed a certificate takes it', () => {
  const mesh = fromMeshKey(MESH_KEY);
  const bytes = issueCertificate(mesh, certificate);
  assert.equal(checkCertificate(mesh, bytes, 1500).kind, 'valid');
  assert.equal(checkCertificate(mesh, bytes, 1).kind, 'early');
  assert.equal(checkCertificate(mesh, bytes, 9999).kind, 'expired');
  assert.equal(checkCertificate(fromMeshKey(OTHER_MESH_KEY), bytes, 1500).kind, 'forged');
  assert.equal(checkCertificate(mesh, encoded(), 1500).kind, 'forged');
  assert.equal(checkCertificate(mesh, Buffer.alloc(0), 1500).kind, 'malformed');
});
