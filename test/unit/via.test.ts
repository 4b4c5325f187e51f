import { describe, expect, test } from '@jest/globals';
import { viaContains, viaPseudonym, viaValue } from '../../sidecar/core/forwarding/via.ts';
import { expectNamed } from '../support/runner/expectations.ts';

describe('Via', () => {
  test('the value names the version that was received', () => {
    expect(viaValue('1.1', 'worker-1')).toBe('1.1 worker-1');
    expect(viaValue('1.0', 'worker-1')).toBe('1.0 worker-1');
  });

  test('a pseudonym is a token', () => {
    expect(viaPseudonym('gpu 1/é,(x)')).toBe('gpu-1----x-');
    expect(viaPseudonym('')).toBe('sidecar');
  });

  test('a loop is seen wherever our name stands as a hop', () => {
    for (const value of [
      '1.1 me',
      '1.0 a, 1.1 ME (x, y)',
      'HTTP/1.1 me',
      '1.1 a (\\)(b)), \t1.1\tme',
      '2 me',
    ]) {
      expectNamed(viaContains(['X', 'y', 'via', '1.1 other', 'VIA', value], 'me'), value).toBe(true);
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
      expectNamed(viaContains(['Via', value], 'me'), value).toBe(false);
    }
    expect(viaContains(['X-Via', '1.1 me'], 'me')).toBe(false);
  });
});
