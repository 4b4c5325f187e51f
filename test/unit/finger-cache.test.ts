/** The finger cache by examples: when a request waits, what counts as what, when a refresh is due. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { FingerCache } from '../../sidecar/core/peers/finger-cache.ts';

const TTL = 60_000;
const cacheOf = (): FingerCache => new FingerCache({ ttlMs: TTL, emptyTtlMs: 1_000, maxServices: 100 });

test('ten requests for one service are nine hits, one miss and one lookup', () => {
  const cache = cacheOf();
  for (let request = 0; request < 10; request += 1) {
    const { state, lookup } = cache.ask('llm', request === 0 ? 0 : 3, request);
    if (request === 0) {
      assert.equal(state.kind, 'missing');
      assert.equal(lookup, true);
      cache.began('llm', 0);
      cache.found('llm', 0);
      cache.ended('llm', 'found', 0);
    } else assert.equal(state.kind, 'fresh');
  }
  assert.deepEqual(cache.counters, { cache_hits: 9, cache_misses: 1, dht_lookups: 1 });
});

test('requests during a lookup miss but begin no second one; the first peer makes the view fresh', () => {
  const cache = cacheOf();
  assert.equal(cache.ask('llm', 0, 0).lookup, true);
  cache.began('llm', 0);
  assert.deepEqual(cache.ask('llm', 0, 1), { state: { kind: 'missing' }, lookup: false });
  cache.found('llm', 5);
  assert.deepEqual(cache.ask('llm', 1, 6), { state: { kind: 'fresh', ageMs: 1 }, lookup: false });
  assert.deepEqual(cache.counters, { cache_hits: 1, cache_misses: 2, dht_lookups: 1 });
});

test('nobody is believed for one second', () => {
  const cache = cacheOf();
  cache.ask('llm', 0, 0);
  cache.began('llm', 0);
  cache.ended('llm', 'empty', 10);
  assert.deepEqual(cache.ask('llm', 0, 500), {
    state: { kind: 'empty', ageMs: 490, failed: false },
    lookup: false,
  });
  assert.deepEqual(cache.ask('llm', 0, 1_010), { state: { kind: 'missing' }, lookup: true });
});

test('a failed refresh keeps the old view, and its age goes on', () => {
  const cache = cacheOf();
  cache.ask('llm', 0, 0);
  cache.began('llm', 0);
  cache.ended('llm', 'found', 0);
  cache.began('llm', 30_000);
  cache.ended('llm', 'failed', 31_000);
  assert.deepEqual(cache.ask('llm', 2, 40_000).state, { kind: 'fresh', ageMs: 40_000 });
  const late = cache.ask('llm', 2, TTL + 5_000);
  assert.deepEqual(late, { state: { kind: 'stale', ageMs: 65_000 }, lookup: true });
});

test('a fresh view whose peers have all gone is looked up anew', () => {
  const cache = cacheOf();
  cache.began('llm', 0);
  cache.ended('llm', 'found', 0);
  assert.deepEqual(cache.ask('llm', 0, 100), { state: { kind: 'missing' }, lookup: true });
});

test('a service in use is due at half the TTL, an unused one is not', () => {
  const cache = cacheOf();
  for (const service of ['used', 'idle']) {
    cache.ask(service, 0, 0);
    cache.began(service, 0);
    cache.ended(service, 'found', 0);
  }
  assert.deepEqual(cache.due(29_999), []);
  cache.ask('used', 1, 29_000);
  assert.deepEqual(cache.due(30_000), ['used', 'idle'], 'both were asked for within the TTL');
  cache.began('used', 30_000);
  assert.deepEqual(cache.due(30_000), ['idle'], 'one refresh at a time');
  cache.ended('used', 'found', 30_000);
  assert.deepEqual(cache.due(61_000), ['used']);
  assert.deepEqual(cache.inUse(61_000), ['used']);
  assert.deepEqual(cache.counters.dht_lookups, 3);
});

test('a refresh in vain is tried again after 1, 2, 4 … seconds', () => {
  const cache = cacheOf();
  cache.ask('llm', 0, 0);
  cache.began('llm', 0);
  cache.ended('llm', 'found', 0);
  let now = 30_000;
  for (const pause of [1_000, 2_000, 4_000]) {
    assert.deepEqual(cache.due(now), ['llm']);
    cache.began('llm', now);
    cache.ended('llm', 'failed', now);
    assert.deepEqual(cache.due(now + pause - 1), []);
    now += pause;
  }
});

test('names that apps make up do not fill the memory', () => {
  const cache = new FingerCache({ ttlMs: TTL, emptyTtlMs: 1_000, maxServices: 3 });
  for (let name = 0; name < 50; name += 1) cache.ask(`made-up-${name}`, 0, name);
  assert.equal(cache.inUse(50).length, 3);
  assert.equal(cache.size, 0);
  assert.equal(cache.counters.cache_misses, 50);
});
