import assert from 'node:assert/strict';
import test from 'node:test';
import { BoundedCache } from '../../sidecar/core/bounded-cache.ts';

test('it never holds more than it may, and hands out what goes', () => {
  const gone: number[] = [];
  const cache = new BoundedCache<number, number>(10, (value) => gone.push(value));
  for (let i = 0; i < 1000; i++) {
    cache.set(i, i);
    assert.ok(cache.size <= 10, `${cache.size} entries`);
  }
  assert.equal(gone.length + cache.size, 1000);
  assert.equal(cache.get(999), 999);
  assert.equal(cache.get(0), undefined);
});

test('what is used stays', () => {
  const cache = new BoundedCache<string, string>(10, (value) => assert.notEqual(value, 'kept'));
  cache.set('k', 'kept');
  for (let i = 0; i < 1000; i++) {
    cache.set(`${i}`, 'other');
    assert.equal(cache.get('k'), 'kept');
  }
});

test('a value can be replaced, wherever it is', () => {
  const cache = new BoundedCache<string, number>(2, () => {});
  cache.set('a', 1);
  cache.set('a', 2);
  assert.equal(cache.get('a'), 2);
  cache.set('b', 1);
  cache.set('a', 3);
  assert.equal(cache.get('a'), 3);
});
