import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { createBundle } from '../../sidecar/mesh/membership/certificate-bundle.ts';
import { type IdentityOptions, openIdentity } from '../../sidecar/mesh/membership/identity.ts';
import { fromMeshKey } from '../../sidecar/mesh/membership/mesh-keys.ts';
import { certified, MESH_KEY, member, NOW_MS, OTHER_MESH_KEY } from '../support/members.ts';

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

function tempDir(t: TestContext): string {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dht-sidecar-identity-'));
  t.after(() => fs.rmSync(dir, { recursive: true, force: true }));
  return dir;
}

test('with a mesh key a sidecar certifies itself for its own services', () => {
  const me = open({ meshKey: MESH_KEY, services: ['a', 'b'] });
  assert.equal(me.certificate.workerKey, me.keyHex);
  assert.deepEqual(me.certificate.offers, ['a', 'b']);
  assert.deepEqual(me.certificate.calls, ['*']);
  assert.equal(me.workerId, 'worker-1');
  const other = member('worker-2');
  assert.deepEqual(other.verifyCertificate(me.certBytes, nowSeconds), me.certificate);
  assert.ok(!('secretKey' in me.secrets.signing));
});

test('members by key and by certificate take each other; strangers are taken by nobody', () => {
  const byKey = member('worker-1');
  const byCert = certified('worker-2');
  const stranger = member('worker-3', { meshKey: OTHER_MESH_KEY });
  assert.equal(byKey.verifyCertificate(byCert.certBytes, nowSeconds)?.workerId, 'worker-2');
  assert.equal(byCert.verifyCertificate(byKey.certBytes, nowSeconds)?.workerId, 'worker-1');
  assert.equal(byKey.verifyCertificate(stranger.certBytes, nowSeconds), null);
  assert.equal(stranger.verifyCertificate(byKey.certBytes, nowSeconds), null);
});

test('a certificate that was verified once still ends in time', () => {
  const me = member('worker-1');
  const { certBytes, certificate } = certified('worker-2', { days: 1 });
  assert.ok(me.verifyCertificate(certBytes, nowSeconds));
  assert.ok(me.verifyCertificate(certBytes, certificate.notAfter));
  assert.equal(me.verifyCertificate(certBytes, certificate.notAfter + 1), null);
  assert.equal(me.verifyCertificate(certBytes, certificate.notBefore - 1), null);
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
    assert.equal(me.verifyCertificate(bytes, nowSeconds), null);
  }
});

test("one's own certificate is renewed at half of its life, someone else's never", () => {
  const mine = member('worker-1');
  const first = mine.certificate;
  assert.equal(mine.renew(NOW_MS + 3 * DAY_MS), false);
  assert.equal(mine.renew(NOW_MS + 4 * DAY_MS), true);
  assert.ok(mine.certificate.notAfter > first.notAfter);
  assert.equal(mine.certificate.workerKey, first.workerKey);
  assert.equal(mine.renew(NOW_MS + 4 * DAY_MS), false);
  assert.equal(mine.renew(NOW_MS), true, 'the clock was set back');
  const given = certified('worker-2');
  assert.equal(given.renew(NOW_MS + 29 * DAY_MS), false);
});

test('without a state directory each start is a new worker, with one the same', (t) => {
  const stateDir = path.join(tempDir(t), 'state', 'deep');
  assert.notEqual(open({ meshKey: MESH_KEY }).keyHex, open({ meshKey: MESH_KEY }).keyHex);
  const first = open({ meshKey: MESH_KEY, stateDir });
  assert.equal(open({ meshKey: MESH_KEY, stateDir }).keyHex, first.keyHex);
  const file = path.join(stateDir, 'worker.key');
  assert.equal(fs.statSync(file).mode & 0o777, 0o600);
  assert.deepEqual(fs.readdirSync(stateDir), ['worker.key'], 'no draft is left');
  fs.chmodSync(file, 0o644);
  assert.equal(open({ meshKey: MESH_KEY, stateDir }).keyHex, first.keyHex);
  assert.equal(fs.statSync(file).mode & 0o777, 0o600, 'tightened again');
});

test('a key file that is not one stops the start and stays as it is', (t) => {
  const stateDir = tempDir(t);
  const file = path.join(stateDir, 'worker.key');
  for (const content of ['', 'ab'.repeat(31), 'x'.repeat(64), `${'ab'.repeat(32)}\n${'cd'.repeat(32)}`]) {
    fs.writeFileSync(file, content);
    assert.throws(() => open({ meshKey: MESH_KEY, stateDir }), /does not hold a worker key/);
    assert.equal(fs.readFileSync(file, 'latin1'), content);
  }
  fs.rmSync(file);
  fs.mkdirSync(file);
  assert.throws(() => open({ meshKey: MESH_KEY, stateDir }), /cannot be read from the state directory/);
});

test('a state directory that takes nothing stops nobody, and the key is kept once it does', (t) => {
  const place = path.join(tempDir(t), 'state');
  fs.writeFileSync(place, 'a file');
  const identity = open({ meshKey: MESH_KEY, stateDir: place });
  const kept = identity.keepKey();
  assert.match(kept.kind === 'fault' ? kept.reason : '', /EEXIST|ENOTDIR/);
  fs.rmSync(place);
  assert.equal(identity.keepKey().kind, 'kept');
  assert.equal(open({ meshKey: MESH_KEY, stateDir: place }).keyHex, identity.keyHex);
  assert.equal(identity.keepKey().kind, 'kept');
});

test('of two whose state directory could take no key, only one has kept its own', (t) => {
  const place = path.join(tempDir(t), 'state');
  fs.writeFileSync(place, 'a file');
  const [one, other] = [1, 2].map(() => open({ meshKey: MESH_KEY, stateDir: place }));
  fs.rmSync(place);
  assert.equal(one?.keepKey().kind, 'kept');
  assert.equal(other?.keepKey().kind, 'taken');
  assert.equal(open({ meshKey: MESH_KEY, stateDir: place }).keyHex, one?.keyHex);
});

test('a bundle gives the worker that it was made for', () => {
  const me = open({ certBundle: bundle });
  assert.equal(me.workerId, 'worker-1');
  assert.deepEqual(me.certificate.calls, ['c']);
  assert.equal(open({ certBundle: `\n ${bundle} \n`, workerId: null }).keyHex, me.keyHex);
  assert.deepEqual(me.secrets.topicKey, fromMeshKey(MESH_KEY).topicKey);
  assert.ok(!('secretKey' in me.secrets.signing));
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
  for (const [message, changes] of messages) assert.throws(() => open(changes), message);
});
