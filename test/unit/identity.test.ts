import { Buffer } from 'node:buffer';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { createBundle } from '../../sidecar/mesh/membership/certificate-bundle.ts';
import { type IdentityOptions, openIdentity } from '../../sidecar/mesh/membership/identity.ts';
import { fromMeshKey } from '../../sidecar/mesh/membership/mesh-keys.ts';
import { certified, MESH_KEY, member, NOW_MS, OTHER_MESH_KEY } from '../support/meshes/members.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

const DAY_MS = 86_400_000;
const nowSeconds = NOW_MS / 1000;
const bundle = createBundle(fromMeshKey(MESH_KEY), {
  workerId: 'worker-1',
  offers: ['a', 'b'],
  calls: ['c'],
  days: 30,
  nowSeconds,
});

function open(changes: Partial<IdentityOptions>) {
  return openIdentity({
    meshKey: null,
    certBundle: null,
    workerId: 'worker-1',
    services: ['a'],
    stateDir: null,
    nowMs: NOW_MS,
    ...changes,
  });
}

function tempDir(): string {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dht-sidecar-identity-'));
  onTestEnd(() => fs.rmSync(dir, { recursive: true, force: true }));
  return dir;
}

describe("a worker's identity", () => {
  test('with a mesh key a sidecar certifies itself for its own services', () => {
    const me = open({ meshKey: MESH_KEY, services: ['a', 'b'] });
    expect(me.certificate.workerKey).toBe(me.keyHex);
    expect(me.certificate.offers).toStrictEqual(['a', 'b']);
    expect(me.certificate.calls).toStrictEqual(['*']);
    expect(me.workerId).toBe('worker-1');
    const other = member('worker-2');
    expect(other.verifyCertificate(me.certBytes, nowSeconds)).toStrictEqual(me.certificate);
    expect(!('secretKey' in me.secrets.signing)).toBe(true);
  });

  test('members by key and by certificate take each other; strangers are taken by nobody', () => {
    const byKey = member('worker-1');
    const byCert = certified('worker-2');
    const stranger = member('worker-3', { meshKey: OTHER_MESH_KEY });
    expect(byKey.verifyCertificate(byCert.certBytes, nowSeconds)?.workerId).toBe('worker-2');
    expect(byCert.verifyCertificate(byKey.certBytes, nowSeconds)?.workerId).toBe('worker-1');
    expect(byKey.verifyCertificate(stranger.certBytes, nowSeconds)).toBe(null);
    expect(stranger.verifyCertificate(byKey.certBytes, nowSeconds)).toBe(null);
  });

  test('a certificate that was verified once still ends in time', () => {
    const me = member('worker-1');
    const { certBytes, certificate } = certified('worker-2', { days: 1 });
    expect(me.verifyCertificate(certBytes, nowSeconds)).toBeTruthy();
    expect(me.verifyCertificate(certBytes, certificate.notAfter)).toBeTruthy();
    expect(me.verifyCertificate(certBytes, certificate.notAfter + 1)).toBe(null);
    expect(me.verifyCertificate(certBytes, certificate.notBefore - 1)).toBe(null);
  });

  test('bytes that are no certificate are refused', () => {
    const me = member('worker-1');
    const { certBytes } = member('worker-2');
    for (const bytes of [
      Buffer.alloc(0),
      Buffer.alloc(100_000, 1),
      certBytes.subarray(1),
      Buffer.from('garbage'),
    ]) {
      expect(me.verifyCertificate(bytes, nowSeconds)).toBe(null);
    }
  });

  test("one's own certificate is renewed at half of its life, someone else's never", () => {
    const mine = member('worker-1');
    const first = mine.certificate;
    expect(mine.renew(NOW_MS + 3 * DAY_MS)).toBe(false);
    expect(mine.renew(NOW_MS + 4 * DAY_MS)).toBe(true);
    expect(mine.certificate.notAfter).toBeGreaterThan(first.notAfter);
    expect(mine.certificate.workerKey).toBe(first.workerKey);
    expect(mine.renew(NOW_MS + 4 * DAY_MS)).toBe(false);
    expectNamed(mine.renew(NOW_MS), 'the clock was set back').toBe(true);
    const given = certified('worker-2');
    expect(given.renew(NOW_MS + 29 * DAY_MS)).toBe(false);
  });

  test('without a state directory each start is a new worker, with one the same', () => {
    const stateDir = path.join(tempDir(), 'state', 'deep');
    expect(open({ meshKey: MESH_KEY }).keyHex).not.toBe(open({ meshKey: MESH_KEY }).keyHex);
    const first = open({ meshKey: MESH_KEY, stateDir });
    expect(open({ meshKey: MESH_KEY, stateDir }).keyHex).toBe(first.keyHex);
    const file = path.join(stateDir, 'worker.key');
    expect(fs.statSync(file).mode & 0o777).toBe(0o600);
    expectNamed(fs.readdirSync(stateDir), 'no draft is left').toStrictEqual(['worker.key']);
    fs.chmodSync(file, 0o644);
    expect(open({ meshKey: MESH_KEY, stateDir }).keyHex).toBe(first.keyHex);
    expectNamed(fs.statSync(file).mode & 0o777, 'tightened again').toBe(0o600);
  });

  test('a key file that is not one stops the start and stays as it is', () => {
    const stateDir = tempDir();
    const file = path.join(stateDir, 'worker.key');
    for (const content of ['', 'ab'.repeat(31), 'x'.repeat(64), `${'ab'.repeat(32)}\n${'cd'.repeat(32)}`]) {
      fs.writeFileSync(file, content);
      expect(() => open({ meshKey: MESH_KEY, stateDir })).toThrow(/does not hold a worker key/);
      expect(fs.readFileSync(file, 'latin1')).toBe(content);
    }
    fs.rmSync(file);
    fs.mkdirSync(file);
    expect(() => open({ meshKey: MESH_KEY, stateDir })).toThrow(/cannot be read from the state directory/);
  });

  test('a state directory that takes nothing stops nobody, and the key is kept once it does', () => {
    const place = path.join(tempDir(), 'state');
    fs.writeFileSync(place, 'a file');
    const identity = open({ meshKey: MESH_KEY, stateDir: place });
    const kept = identity.keepKey();
    expect(kept.kind === 'fault' ? kept.reason : '').toMatch(/EEXIST|ENOTDIR/);
    fs.rmSync(place);
    expect(identity.keepKey().kind).toBe('kept');
    expect(open({ meshKey: MESH_KEY, stateDir: place }).keyHex).toBe(identity.keyHex);
    expect(identity.keepKey().kind).toBe('kept');
  });

  test('of two whose state directory could take no key, only one has kept its own', () => {
    const place = path.join(tempDir(), 'state');
    fs.writeFileSync(place, 'a file');
    const [one, other] = [1, 2].map(() => open({ meshKey: MESH_KEY, stateDir: place }));
    fs.rmSync(place);
    expect(one?.keepKey().kind).toBe('kept');
    expect(other?.keepKey().kind).toBe('taken');
    expect(open({ meshKey: MESH_KEY, stateDir: place }).keyHex).toBe(one?.keyHex);
  });

  test('a bundle gives the worker that it was made for', () => {
    const me = open({ certBundle: bundle });
    expect(me.workerId).toBe('worker-1');
    expect(me.certificate.calls).toStrictEqual(['c']);
    expect(open({ certBundle: `\n ${bundle} \n`, workerId: null }).keyHex).toBe(me.keyHex);
    expect(me.secrets.topicKey).toStrictEqual(fromMeshKey(MESH_KEY).topicKey);
    expect(!('secretKey' in me.secrets.signing)).toBe(true);
  });

  test('an identity that cannot be used is refused in plain words', () => {
    const messages: [RegExp, Partial<IdentityOptions>][] = [
      [/Neither a mesh key nor a certificate/, {}],
      [/both given/, { meshKey: MESH_KEY, certBundle: bundle }],
      [/32 bytes/, { meshKey: Buffer.alloc(3) }],
      [/needs an id/, { meshKey: MESH_KEY, workerId: null }],
      [/worker id/, { meshKey: MESH_KEY, workerId: 'a b' }],
      [/"A\/" is not a service name/, { meshKey: MESH_KEY, services: ['A/'] }],
      [/worker-1 cannot be used by worker worker-2/, { certBundle: bundle, workerId: 'worker-2' }],
      [/does not allow it to offer c, d: it names a, b/, { certBundle: bundle, services: ['a', 'c', 'd'] }],
      [
        /ended at 2026-01-31 00:00:00 UTC and it is 2026-02-01/,
        { certBundle: bundle, nowMs: NOW_MS + 31 * DAY_MS },
      ],
      [/begins at 2025-12-31 23:00:00 UTC.*clock/, { certBundle: bundle, nowMs: NOW_MS - DAY_MS }],
      [/must begin with "sidecar-cert-v1\."/, { certBundle: 'hello' }],
      [/damaged/, { certBundle: bundle.slice(0, -1) }],
    ];
    for (const [message, changes] of messages) expect(() => open(changes)).toThrow(message);
  });
});
