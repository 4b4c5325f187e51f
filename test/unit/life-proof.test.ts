/** The proof of a life: only its key makes it, only for the challenge that was given, and only whole. */

import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type Life, newChallenge, proveLife, provenLife } from '../../sidecar/mesh/membership/life-proof.ts';
import { member } from '../support/meshes/members.ts';

const LIFE: Life = {
  id: '0123456789abcdef',
  epoch: 1_767_225_600_000,
  place: '10.42.0.7:8000',
  isDraining: false,
};
const owner = member('gpu');
const other = member('other');
const challenge = newChallenge();
const proof = proveLife(owner.secretKey, challenge, LIFE);

describe('the proof of a life', () => {
  test('made by the key for this challenge: says the life', () => {
    expect(provenLife(owner.keyHex, challenge, proof)).toStrictEqual(LIFE);
  });

  test('for another challenge, as one that is played again: nothing', () => {
    expect(provenLife(owner.keyHex, newChallenge(), proof)).toBeNull();
  });

  test('by another member: nothing', () => {
    expect(provenLife(owner.keyHex, challenge, proveLife(other.secretKey, challenge, LIFE))).toBeNull();
  });

  test('changed in any one byte: nothing, and nothing is thrown', () => {
    const bytes = Buffer.from(proof, 'base64url');
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const changed = Buffer.from(bytes);
        changed[at] = (changed[at] as number) ^ change;
        expect(provenLife(owner.keyHex, challenge, changed.toString('base64url'))).toBeNull();
      }),
    );
  });

  test('of any value at all: nothing, and nothing is thrown', () => {
    fc.assert(
      fc.property(fc.anything(), fc.string(), (said, key) => {
        expect(provenLife(owner.keyHex, challenge, said)).toBeNull();
        expect(provenLife(key, challenge, proof)).toBeNull();
      }),
    );
  });

  test.each([
    ['a place that would rewrite a terminal', { place: '\u001b[2J' }],
    ['a place without end', { place: 'x'.repeat(601) }],
    ['an epoch that is no time', { epoch: -1 }],
    ['an id that is none', { id: 'gpu' }],
  ])('signed, but with %s: nothing', (_what, change) => {
    const signed = proveLife(owner.secretKey, challenge, { ...LIFE, ...change });
    expect(provenLife(owner.keyHex, challenge, signed)).toBeNull();
  });
});
