import assert from 'node:assert/strict';
import test from 'node:test';
import { viaContains, viaPseudonym, viaValue } from '../../sidecar/core/forwarding/via.ts';

test('the value names the version that was received', () => {
  assert.equal(viaValue('1.1', 'worker-1'), '1.1 worker-1');
  assert.equal(viaValue('1.0', 'worker-1'), '1.0 worker-1');
});

test('a pseudonym is a token', () => {
  assert.equal(viaPseudonym('gpu 1/é,(x)'), 'gpu-1----x-');
  assert.equal(viaPseudonym(''), 'sidecar');
});

test('a loop is seen wherever our name stands as a hop', () => {
  for (const value of [
    '1.1 me',
    '1.0 a, 1.1 ME (x, y)',
    'HTTP/1.1 me',
    '1.1 a (\\)(b)), \t1.1\tme',
    '2 me',
  ]) {
    assert.equal(viaContains(['X', 'y', 'via', '1.1 other', 'VIA', value], 'me'), true, value);
  }
});

test('our name elsewhere is no loop', () => {
  for (const value of [
    '1.1 meme',
    '1.1 a (1.1 me)',
    '1.1 a (b, 1.1 me)',
    'me 1.1',
    '1.1 x me',
    '',
    ',,',
    '(((',
  ]) {
    assert.equal(viaContains(['Via', value], 'me'), false, value);
  }
  assert.equal(viaContains(['X-Via', '1.1 me'], 'me'), false);
});
