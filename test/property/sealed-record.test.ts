import { Buffer } from 'node:buffer';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { decodeCertificate, encodeCertificate } from '../../sidecar/core/peers/certificate.ts';
import { openRecord, sealRecord } from '../../sidecar/mesh/discovery/sealed-record.ts';
import { parseBundle } from '../../sidecar/mesh/membership/certificate-bundle.ts';
import { MESH_KEY, member, NOW_MS, recordOf } from '../support/meshes/members.ts';

const worker = member('worker-gpu-001');
const { secrets } = member('worker-cpu-001');
const now = { nowMs: NOW_MS, maxSkewMs: 30_000 };
const sealed = sealRecord(worker, recordOf(worker));

describe('damaged records, bundles and certificates', () => {
  test('a mutated envelope is refused, whatever was changed', () => {
    const mutation = fc.record({
      at: fc.nat({ max: sealed.length - 1 }),
      flip: fc.integer({ min: 1, max: 255 }),
    });
    fc.assert(
      fc.property(fc.array(mutation, { minLength: 1, maxLength: 5 }), (mutations) => {
        const bytes = Buffer.from(sealed);
        for (const { at, flip } of mutations) bytes[at] = (bytes[at] ?? 0) ^ flip;
        fc.pre(!bytes.equals(sealed));
        expect(openRecord(secrets, bytes, now).kind).toBe('bad');
      }),
      { numRuns: 2000 },
    );
  });

  test('a cut or extended envelope is refused', () => {
    for (let length = 0; length < sealed.length; length++) {
      expect(openRecord(secrets, sealed.subarray(0, length), now).kind).toBe('bad');
    }
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 64 }), (more) => {
        expect(openRecord(secrets, Buffer.concat([sealed, more]), now).kind).toBe('bad');
      }),
    );
  });

  test('any bytes are refused without an exception', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2000 }), fc.boolean(), (noise, versioned) => {
        const bytes = Buffer.from(noise);
        if (versioned && bytes.length > 0) bytes[0] = 1;
        expect(openRecord(secrets, bytes, now).kind).toBe('bad');
        expect(decodeCertificate(bytes)).toBe(null);
      }),
      { numRuns: 2000 },
    );
  });

  test('any text is refused as a bundle with an Error in words', () => {
    fc.assert(
      fc.property(fc.string(), fc.boolean(), (text, prefixed) => {
        expect(() => parseBundle(prefixed ? `sidecar-cert-v1.${text}` : text)).toThrow(/The certificate/);
      }),
    );
  });

  test('every certificate that can be written reads back', () => {
    const letters = 'abcdefghijklmnopqrstuvwxyz0123456789';
    const service = fc.string({ unit: fc.constantFrom(...letters), minLength: 1, maxLength: 20 });
    const list = fc.oneof(fc.constant(['*']), fc.uniqueArray(service, { maxLength: 12 }));
    const certificate = fc.record(
      {
        workerKey: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((b) => Buffer.from(b).toString('hex')),
        workerId: fc.string({
          unit: fc.constantFrom(...letters, '-', ':', '/'),
          minLength: 1,
          maxLength: 100,
        }),
        offers: list,
        calls: list,
        notBefore: fc.nat({ max: 2 ** 31 }),
        notAfter: fc.integer({ min: 2 ** 31 + 1, max: 2 ** 32 - 1 }),
      },
      { noNullPrototype: true },
    );
    fc.assert(
      fc.property(certificate, (c) => {
        const bytes = Buffer.concat([encodeCertificate(c), Buffer.alloc(64)]);
        expect(decodeCertificate(bytes)?.certificate).toStrictEqual(c);
      }),
    );
  });

  test('a mutated certificate is taken by nobody', () => {
    const { certBytes } = member('worker-gpu-001', { meshKey: MESH_KEY });
    fc.assert(
      fc.property(fc.nat({ max: certBytes.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const bytes = Buffer.from(certBytes);
        bytes[at] = (bytes[at] ?? 0) ^ flip;
        expect(worker.verifyCertificate(bytes, NOW_MS / 1000)).toBe(null);
      }),
      { numRuns: 500 },
    );
  });
});
