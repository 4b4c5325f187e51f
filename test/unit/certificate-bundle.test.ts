import { Buffer } from 'node:buffer';
import { describe, expect, test } from '@jest/globals';
import sodium from 'sodium-universal';
import { createBundle, keyPairOf, parseBundle } from '../../sidecar/mesh/membership/certificate-bundle.ts';
import { fromMeshKey, memberPart } from '../../sidecar/mesh/membership/mesh-keys.ts';
import { MESH_KEY, NOW_MS, OTHER_MESH_KEY } from '../support/meshes/members.ts';
import { caught, mustHold } from '../support/runner/expectations.ts';

const mesh = fromMeshKey(MESH_KEY);
const request = {
  workerId: 'worker-gpu-001',
  offers: ['llm-inference', 'vision-ocr'],
  calls: ['*'],
  days: 30,
  nowSeconds: NOW_MS / 1000,
};
const line = createBundle(mesh, request);

describe('a certificate bundle', () => {
  test('a bundle is one printable line that reads back', () => {
    expect(line).toMatch(/^sidecar-cert-v1\.[A-Za-z0-9_-]+$/);
    const bundle = parseBundle(line);
    expect(bundle.certificate).toStrictEqual({
      workerKey: keyPairOf(bundle.seed).publicKey.toString('hex'),
      workerId: 'worker-gpu-001',
      offers: ['llm-inference', 'vision-ocr'],
      calls: ['*'],
      notBefore: NOW_MS / 1000 - 3_600,
      notAfter: NOW_MS / 1000 + 30 * 86_400,
    });
    expect(bundle.secrets).toStrictEqual(memberPart(mesh));
  });

  test('each bundle has a worker key of its own', () => {
    expect(parseBundle(createBundle(mesh, request)).seed).not.toStrictEqual(parseBundle(line).seed);
  });

  test('the key that signs certificates and the mesh key are not in it', () => {
    const bytes = Buffer.from(line.split('.')[1] ?? '', 'base64url');
    expect(bytes.indexOf(MESH_KEY)).toBe(-1);
    expect(bytes.indexOf(mesh.signing.secretKey.subarray(0, 32))).toBe(-1);
  });

  test('a damaged line is refused at every character, without repeating it', () => {
    const start = 'sidecar-cert-v1.'.length;
    const refused = (text: string) => {
      const { message } = caught(() => parseBundle(text)) as Error;
      expect(message).toMatch(/damaged|must begin with/);
      expect(message).not.toContain(line.slice(20, 40));
    };
    for (let i = start; i < line.length; i++) {
      refused(line.slice(0, i));
      refused(line.slice(0, i) + (line[i] === 'A' ? 'B' : 'A') + line.slice(i + 1));
      refused(`${line.slice(0, i)}\n${line.slice(i)}`);
    }
    refused(`${line}A`);
    refused(`${line}=`);
    refused(line + 'A'.repeat(100_000));
    refused(line.slice(1));
    refused('sidecar-cert-v1.');
    refused('');
  });

  test('parts of two bundles do not make a third', () => {
    // What a careless hand-made tool could do: right checksum, wrong parts.
    const other = createBundle(fromMeshKey(OTHER_MESH_KEY), request);
    const [mine, theirs] = [line, other].map((text) => Buffer.from(text.split('.')[1] ?? '', 'base64url'));
    const remake = (content: Buffer): string => {
      const hash = Buffer.alloc(16);
      sodium.crypto_generichash(hash, content);
      return `sidecar-cert-v1.${Buffer.concat([content, hash]).toString('base64url')}`;
    };
    const certAt = 6 * 32;
    mustHold(mine && theirs);
    const foreignCert = Buffer.concat([mine.subarray(0, certAt), theirs.subarray(certAt, -16)]);
    expect(() => parseBundle(remake(foreignCert))).toThrow(/not signed by its own mesh/);
    const foreignSeed = Buffer.concat([
      mine.subarray(0, certAt - 32),
      theirs.subarray(certAt - 32, certAt),
      mine.subarray(certAt, -16),
    ]);
    expect(() => parseBundle(remake(foreignSeed))).toThrow(/another worker key/);
    expect(() => parseBundle(remake(mine.subarray(0, certAt)))).toThrow(/damaged/);
    expect(parseBundle(remake(mine.subarray(0, -16)))).toStrictEqual(parseBundle(line));
  });

  test('a request for a certificate that cannot be is refused in plain words', () => {
    for (const days of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, 4000]) {
      expect(() => createBundle(mesh, { ...request, days })).toThrow(/number of days/);
    }
    expect(() => createBundle(mesh, { ...request, workerId: '' })).toThrow(/worker id/);
    expect(() => createBundle(mesh, { ...request, offers: ['a b'] })).toThrow(/not a service name/);
  });
});
