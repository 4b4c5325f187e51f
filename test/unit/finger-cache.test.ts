/** The finger cache by examples: when a request waits, what counts as what, when a refresh is due. */
import { describe, expect, test } from '@jest/globals';
import { FingerCache } from '../../sidecar/core/peers/finger-cache.ts';
import { expectNamed } from '../support/runner/expectations.ts';

const TTL = 60_000;
const cacheOf = (): FingerCache => new FingerCache({ ttlMs: TTL, emptyTtlMs: 1_000, maxServices: 100 });

describe('the finger cache', () => {
  test('ten requests for one service are nine hits, one miss and one lookup', () => {
    const cache = cacheOf();
    for (let request = 0; request < 10; request += 1) {
      const { state, lookup } = cache.ask('llm', request === 0 ? 0 : 3, request);
      if (request === 0) {
        expect(state.kind).toBe('missing');
        expect(lookup).toBe(true);
        cache.began('llm', 0);
        cache.found('llm', 0);
        cache.ended('llm', 'found', 0);
      } else expect(state.kind).toBe('fresh');
    }
    expect(cache.counters).toStrictEqual({ cache_hits: 9, cache_misses: 1, dht_lookups: 1 });
  });

  test('requests during a lookup miss but begin no second one; the first peer makes the view fresh', () => {
    const cache = cacheOf();
    expect(cache.ask('llm', 0, 0).lookup).toBe(true);
    cache.began('llm', 0);
    expect(cache.ask('llm', 0, 1)).toStrictEqual({ state: { kind: 'missing' }, lookup: false });
    cache.found('llm', 5);
    expect(cache.ask('llm', 1, 6)).toStrictEqual({ state: { kind: 'fresh', ageMs: 1 }, lookup: false });
    expect(cache.counters).toStrictEqual({ cache_hits: 1, cache_misses: 2, dht_lookups: 1 });
  });

  test('nobody is believed for one second', () => {
    const cache = cacheOf();
    cache.ask('llm', 0, 0);
    cache.began('llm', 0);
    cache.ended('llm', 'empty', 10);
    expect(cache.ask('llm', 0, 500)).toStrictEqual({
      state: { kind: 'empty', ageMs: 490, failed: false },
      lookup: false,
    });
    expect(cache.ask('llm', 0, 1_010)).toStrictEqual({ state: { kind: 'missing' }, lookup: true });
  });

  test('a failed refresh keeps the old view, and its age goes on', () => {
    const cache = cacheOf();
    cache.ask('llm', 0, 0);
    cache.began('llm', 0);
    cache.ended('llm', 'found', 0);
    cache.began('llm', 30_000);
    cache.ended('llm', 'failed', 31_000);
    expect(cache.ask('llm', 2, 40_000).state).toStrictEqual({ kind: 'fresh', ageMs: 40_000 });
    const late = cache.ask('llm', 2, TTL + 5_000);
    expect(late).toStrictEqual({ state: { kind: 'stale', ageMs: 65_000 }, lookup: true });
  });

  test('a fresh view whose peers have all gone is looked up anew', () => {
    const cache = cacheOf();
    cache.began('llm', 0);
    cache.ended('llm', 'found', 0);
    expect(cache.ask('llm', 0, 100)).toStrictEqual({ state: { kind: 'missing' }, lookup: true });
  });

  test('a service in use is due at half the TTL, an unused one is not', () => {
    const cache = cacheOf();
    for (const service of ['used', 'idle']) {
      cache.ask(service, 0, 0);
      cache.began(service, 0);
      cache.ended(service, 'found', 0);
    }
    expect(cache.due(29_999)).toStrictEqual([]);
    cache.ask('used', 1, 29_000);
    expectNamed(cache.due(30_000), 'both were asked for within the TTL').toStrictEqual(['used', 'idle']);
    cache.began('used', 30_000);
    expectNamed(cache.due(30_000), 'one refresh at a time').toStrictEqual(['idle']);
    cache.ended('used', 'found', 30_000);
    expect(cache.due(61_000)).toStrictEqual(['used']);
    expect(cache.inUse(61_000)).toStrictEqual(['used']);
    expect(cache.counters.dht_lookups).toStrictEqual(3);
  });

  test('a refresh in vain is tried again after 1, 2, 4 … seconds', () => {
    const cache = cacheOf();
    cache.ask('llm', 0, 0);
    cache.began('llm', 0);
    cache.ended('llm', 'found', 0);
    let now = 30_000;
    for (const pause of [1_000, 2_000, 4_000]) {
      expect(cache.due(now)).toStrictEqual(['llm']);
      cache.began('llm', now);
      cache.ended('llm', 'failed', now);
      expect(cache.due(now + pause - 1)).toStrictEqual([]);
      now += pause;
    }
  });

  test('a peer that comes in ends what a lookup in vain had begun: its belief, and the short pauses', () => {
    const cache = cacheOf();
    cache.ask('llm', 0, 0);
    for (const startMs of [0, 1_000]) {
      cache.began('llm', startMs);
      cache.ended('llm', 'empty', startMs);
    }
    cache.found('llm', 1_100);
    expectNamed(cache.ask('llm', 0, 1_200), 'all peers gone again').toStrictEqual({
      state: { kind: 'missing' },
      lookup: true,
    });
    expect(cache.ask('llm', 1, 30_000).state).toStrictEqual({ kind: 'fresh', ageMs: 28_900 });
    expectNamed(cache.due(30_999), 'half a TTL after the last lookup').toStrictEqual([]);
    expect(cache.due(31_000)).toStrictEqual(['llm']);
    cache.began('llm', 31_000);
    cache.ended('llm', 'failed', 31_000);
    expectNamed(cache.due(31_999), 'the first in vain since').toStrictEqual([]);
    expect(cache.due(32_000)).toStrictEqual(['llm']);
  });

  test('the pauses after refreshes in vain grow to half a TTL, and are no shorter than nobody is believed', () => {
    for (const [emptyTtlMs, pauses] of [
      [20_000, [20_000, 30_000, 30_000]],
      [40_000, [40_000, 40_000, 40_000]],
    ] as const) {
      const cache = new FingerCache({ ttlMs: TTL, emptyTtlMs, maxServices: 100 });
      cache.began('llm', 0);
      cache.ended('llm', 'found', 0);
      let nowMs = 30_000;
      for (const pause of pauses) {
        cache.began('llm', nowMs);
        cache.ended('llm', 'failed', nowMs);
        cache.ask('llm', 1, nowMs + pause - 1);
        expectNamed(cache.due(nowMs + pause - 1), `${pause} ms`).toStrictEqual([]);
        expectNamed(cache.due(nowMs + pause), `${pause} ms`).toStrictEqual(['llm']);
        nowMs += pause;
      }
    }
  });

  test('a service that nobody has found is not refreshed, however often it is asked for', () => {
    const cache = cacheOf();
    cache.ask('llm', 0, 0);
    cache.began('llm', 0);
    cache.ended('llm', 'empty', 0);
    for (const nowMs of [2_000, 30_000, 59_000]) expect(cache.due(nowMs)).toStrictEqual([]);
  });

  test('a view is fresh for less than the TTL, and a service in use as long', () => {
    const cache = cacheOf();
    cache.ask('llm', 0, 0);
    cache.began('llm', 0);
    cache.ended('llm', 'found', 0);
    expect([cache.state('llm', 1, TTL - 1).kind, cache.state('llm', 1, TTL).kind]).toStrictEqual([
      'fresh',
      'stale',
    ]);
    expect([cache.inUse(TTL - 1), cache.inUse(TTL)]).toStrictEqual([['llm'], []]);
    expect([cache.due(TTL - 1), cache.due(TTL)]).toStrictEqual([['llm'], []]);
    expect(cache.state('other', 1, 0)).toStrictEqual({ kind: 'missing' });
  });

  test('an answer of nobody is told from one of no node', () => {
    const cache = cacheOf();
    for (const outcome of ['empty', 'failed'] as const) {
      cache.began(outcome, 0);
      cache.ended(outcome, outcome, 0);
      expect(cache.state(outcome, 0, 10)).toStrictEqual({
        kind: 'empty',
        ageMs: 10,
        failed: outcome === 'failed',
      });
      expectNamed(cache.state(outcome, 1, 10), 'never found, though somebody is known').toStrictEqual({
        kind: 'empty',
        ageMs: 10,
        failed: outcome === 'failed',
      });
    }
    expect(cache.size).toBe(0);
  });

  test('no room for another name: the one asked for the longest ago goes, but none that is looked up', () => {
    const cache = new FingerCache({ ttlMs: TTL, emptyTtlMs: 1_000, maxServices: 3 });
    for (const [service, nowMs] of [
      ['a', 1],
      ['b', 2],
      ['c', 3],
      ['a', 4],
    ] as const) {
      cache.ask(service, 0, nowMs);
    }
    cache.ask('d', 0, 5);
    expect(cache.inUse(5)).toStrictEqual(['a', 'c', 'd']);
    cache.began('c', 6);
    cache.ask('e', 0, 7);
    expect(cache.inUse(7)).toStrictEqual(['c', 'd', 'e']);
    for (const service of ['d', 'e']) cache.began(service, 8);
    cache.ask('f', 0, 9);
    expectNamed(cache.inUse(9), 'all are looked up: for once it is one more').toStrictEqual([
      'c',
      'd',
      'e',
      'f',
    ]);
  });

  test('names that apps make up do not fill the memory', () => {
    const cache = new FingerCache({ ttlMs: TTL, emptyTtlMs: 1_000, maxServices: 3 });
    for (let name = 0; name < 50; name += 1) cache.ask(`made-up-${name}`, 0, name);
    expect(cache.inUse(50)).toHaveLength(3);
    expect(cache.size).toBe(0);
    expect(cache.counters.cache_misses).toBe(50);
  });
});
