import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { issueCertificate } from '../../sidecar/mesh/membership/certificate-issuer.ts';
import { fromMeshKey } from '../../sidecar/mesh/membership/mesh-keys.ts';
import { RequestAuth } from '../../sidecar/mesh/membership/request-auth.ts';
import { MESH_KEY, member, NOW_MS } from '../support/meshes/members.ts';

const caller = new RequestAuth(member('worker-cpu-001'));
const worker = member('worker-gpu-001');
const callee = new RequestAuth(worker);

const request = fc.record({
  method: fc.constantFrom('GET', 'POST', 'PUT', 'DELETE', '1', ''),
  target: fc.oneof(fc.webPath(), fc.string({ unit: 'binary' })),
  service: fc.constantFrom('a', 'llm-inference', 'a:b', '1', ''),
});

describe('any proof of membership', () => {
  test('a header fits its own request and no other', () => {
    fc.assert(
      fc.property(request, request, (mine, other) => {
        const { header } = caller.sign({ ...mine, peerKey: worker.keyHex, nowMs: NOW_MS });
        const isSame =
          mine.method === other.method && mine.target === other.target && mine.service === other.service;
        if (!isSame) expect(callee.verify({ ...other, header, nowMs: NOW_MS }).kind).toBe('refused');
        expect(callee.verify({ ...mine, header, nowMs: NOW_MS }).kind).toBe('member');
        expect(callee.verify({ ...mine, header, nowMs: NOW_MS }).kind).toBe('refused');
      }),
      { numRuns: 1000 },
    );
  });

  test('any text is refused without an exception', () => {
    const { header: real } = caller.sign({
      peerKey: worker.keyHex,
      method: 'GET',
      target: '/',
      service: 'a',
      nowMs: NOW_MS,
    });
    const part = fc.oneof(fc.string(), fc.constantFrom('v1', '.', '1767225600000', ...real.split('.')));
    const texts = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 400 }),
      fc.array(part, { maxLength: 8 }).map((parts) => parts.join('.')),
      fc.array(fc.nat({ max: real.length }), { minLength: 2, maxLength: 2 }).map(([a, b]) => {
        return real.slice(0, a) + real.slice(b);
      }),
    );
    fc.assert(
      fc.property(texts, (header) => {
        fc.pre(header !== real);
        const asked = { method: 'GET', target: '/', service: 'a', nowMs: NOW_MS };
        expect(callee.verify({ ...asked, header }).kind).toBe('refused');
        expect(
          caller.verifyResponse({
            peerKey: worker.keyHex,
            nonce: header,
            status: 200,
            nowMs: NOW_MS,
            header,
          }),
        ).toBe(false);
      }),
      { numRuns: 2000 },
    );
  });

  test('a certificate of the mesh whose key is no point of the curve, or one without use, is refused without an exception', () => {
    const asked = { method: 'GET', target: '/', service: 'a', nowMs: NOW_MS };
    const { header: real } = caller.sign({ ...asked, peerKey: worker.keyHex });
    const [version, , ...rest] = real.split('.');
    for (const workerKey of [
      'ff'.repeat(32),
      '00'.repeat(32),
      `01${'00'.repeat(31)}`,
      `02${'00'.repeat(31)}`,
    ]) {
      const certificate = issueCertificate(fromMeshKey(MESH_KEY), {
        workerKey,
        workerId: 'odd',
        offers: ['*'],
        calls: ['*'],
        notBefore: NOW_MS / 1000 - 60,
        notAfter: NOW_MS / 1000 + 60,
      });
      const header = [version, certificate.toString('base64url'), ...rest].join('.');
      expect(callee.verify({ ...asked, header }).kind).toBe('refused');
    }
  });
});
