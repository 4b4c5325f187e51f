import { Buffer } from 'node:buffer';
import { describe, expect, test } from '@jest/globals';
import {
  fromMeshKey,
  memberPart,
  newMeshKey,
  parseMeshKey,
} from '../../sidecar/mesh/membership/mesh-keys.ts';
import { MESH_KEY, OTHER_MESH_KEY } from '../support/meshes/members.ts';
import { caught } from '../support/runner/expectations.ts';

describe('the keys from a mesh key', () => {
  test('one mesh key always gives the same keys, another key gives none of them', () => {
    const a = fromMeshKey(MESH_KEY);
    expect(fromMeshKey(MESH_KEY)).toStrictEqual(a);
    const b = fromMeshKey(OTHER_MESH_KEY);
    const keys = [a, b].flatMap((s) => [
      s.signing.publicKey,
      s.topicKey,
      s.recordKey,
      s.packetKey,
      s.prologue,
    ]);
    expect(new Set(keys.map((key) => key.toString('hex'))).size).toBe(10);
  });

  test('the derivation is final: members of one mesh may run different versions', () => {
    const s = fromMeshKey(MESH_KEY);
    const start = (key: Buffer) => key.toString('hex', 0, 4);
    expect([s.signing.publicKey, s.topicKey, s.recordKey, s.packetKey, s.prologue].map(start)).toStrictEqual([
      '3f009960',
      'e876adc9',
      '23c20d93',
      '3ea6b475',
      '17f931b7',
    ]);
  });

  test('the member part cannot sign', () => {
    expect(Object.keys(memberPart(fromMeshKey(MESH_KEY)).signing)).toStrictEqual(['publicKey']);
  });

  test('a new mesh key is 64 hex digits, and each is new', () => {
    const key = newMeshKey();
    expect(key).toMatch(/^[0-9a-f]{64}$/);
    expect(newMeshKey()).not.toBe(key);
    expect(parseMeshKey(` ${key.toUpperCase()}\n`).toString('hex')).toBe(key);
  });

  test('what is no mesh key is refused in plain words, without repeating it', () => {
    const typo = `${'ab'.repeat(31)}zz`;
    for (const text of ['', 'secret', 'ab'.repeat(31), 'ab'.repeat(33), typo]) {
      const { message } = caught(() => parseMeshKey(text)) as Error;
      expect(message).toMatch(/64 hex digits/);
      if (text !== '') expect(message).not.toContain(text);
    }
    expect(() => fromMeshKey(Buffer.alloc(31, 1))).toThrow(/32 bytes long, not 31/);
    expect(() => fromMeshKey(Buffer.alloc(32))).toThrow(/one byte repeated/);
  });
});
