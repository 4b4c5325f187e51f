import { describe, expect, test } from '@jest/globals';
import { BoundedCache } from '../../sidecar/core/bounded-cache.ts';
import { expectNamed } from '../support/runner/expectations.ts';

describe('a bounded cache', () => {
  test('it never holds more than it may, and hands out what goes', () => {
    const gone: number[] = [];
    const cache = new BoundedCache<number, number>(10, (value) => gone.push(value));
    for (let i = 0; i < 1000; i++) {
      cache.set(i, i);
      expectNamed(cache.size, `${cache.size} entries`).toBeLessThanOrEqual(10);
    }
    expect(gone.length + cache.size).toBe(1000);
    expect(cache.get(999)).toBe(999);
    expect(cache.get(0)).toBe(undefined);
  });

  test('what is used stays', () => {
    const cache = new BoundedCache<string, string>(10, (value) => expect(value).not.toBe('kept'));
    cache.set('k', 'kept');
    for (let i = 0; i < 1000; i++) {
      cache.set(`${i}`, 'other');
      expect(cache.get('k')).toBe('kept');
    }
  });

  test('a value can be replaced, wherever it is', () => {
    const cache = new BoundedCache<string, number>(2, () => {});
    cache.set('a', 1);
    cache.set('a', 2);
    expect(cache.get('a')).toBe(2);
    cache.set('b', 1);
    cache.set('a', 3);
    expect(cache.get('a')).toBe(3);
  });
});
