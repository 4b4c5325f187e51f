import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import test from 'node:test';
import {
  fromMeshKey,
  memberPart,
  newMeshKey,
  parseMeshKey,
} from '../../sidecar/mesh/membership/mesh-keys.ts';
import { MESH_KEY, OTHER_MESH_KEY } from '../support/members.ts';

test('one mesh key always gives the same keys, another key gives none of them', () => {
  const a = fromMeshKey(MESH_KEY);
  assert.deepEqual(fromMeshKey(MESH_KEY), a);
  const b = fromMeshKey(OTHER_MESH_KEY);
  const keys = [a, b].flatMap((s) => [s.signing.publicKey, s.topicKey, s.recordKey, s.packetKey, s.prologue]);
  assert.equal(new Set(keys.map((key) => key.toString('hex'))).size, 10);
});

test('the derivation is final: members of one mesh may run different versions', () => {
  const s = fromMeshKey(MESH_KEY);
  const start = (key: Buffer) => key.toString('hex', 0, 4);
  assert.deepEqual([s.signing.publicKey, s.topicKey, s.recordKey, s.packetKey, s.prologue].map(start), [
    '3f009960',
    'e876adc9',
    '23c20d93',
    '3ea6b475',
    '17f931b7',
  ]);
});

test('the member part cannot sign', () => {
  assert.deepEqual(Object.keys(memberPart(fromMeshKey(MESH_KEY)).signing), ['publicKey']);
});

test('a new mesh key is 64 hex digits, and each is new', () => {
  const key = newMeshKey();
  assert.match(key, /^[0-9a-f]{64}$/);
  assert.notEqual(newMeshKey(), key);
  assert.equal(parseMeshKey(` ${key.toUpperCase()}\n`).toString('hex'), key);
});

test('what is no mesh key is refused in plain words, without repeating it', () => {
  const typo = `${'ab'.repeat(31)}zz`;
  for (const text of ['', 'secret', 'ab'.repeat(31), 'ab'.repeat(33), typo]) {
    assert.throws(
      () => parseMeshKey(text),
      (error: Error) => /64 hex digits/.test(error.message) && (text === '' || !error.message.includes(text)),
    );
  }
  assert.throws(() => fromMeshKey(Buffer.alloc(31, 1)), /32 bytes long, not 31/);
  assert.throws(() => fromMeshKey(Buffer.alloc(32)), /one byte repeated/);
});
