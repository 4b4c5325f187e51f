/** The finger cache under any order of requests, lookups and time. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { FingerCache } from '../../sidecar/core/peers/finger-cache.ts';
import { expectNamed } from '../support/runner/expectations.ts';

const TTL = 1_000;
const EMPTY_TTL = 100;

const step = fc.oneof(
  fc.record({ do: fc.constant('ask' as const), service: fc.integer({ min: 0, max: 5 }), peers: fc.nat(3) }),
  fc.record({ do: fc.constant('found' as const), service: fc.integer({ min: 0, max: 5 }) }),
  fc.record({
    do: fc.constant('ended' as const),
    service: fc.integer({ min: 0, max: 5 }),
    outcome: fc.constantFrom('found' as const, 'empty' as const, 'failed' as const),
  }),
  fc.record({ do: fc.constant('refresh' as const) }),
  fc.record({ do: fc.constant('wait' as const), ms: fc.nat(1_500) }),
);

describe('the finger cache under any order of events', () => {
  test('counts add up, lookups never overlap, and an empty answer stops lookups for its time only', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const cache = new FingerCache({ ttlMs: TTL, emptyTtlMs: EMPTY_TTL, maxServices: 4 });
        const running = new Set<string>();
        const endedInVainMs = new Map<string, number>();
        let nowMs = 0;
        let asked = 0;
        let begun = 0;
        const begin = (service: string): void => {
          expectNamed(running.has(service), 'a second lookup at the same time').toBe(false);
          const sinceVain = nowMs - (endedInVainMs.get(service) ?? Number.NEGATIVE_INFINITY);
          expectNamed(sinceVain, 'looked up again too soon').toBeGreaterThanOrEqual(EMPTY_TTL);
          cache.began(service, nowMs);
          running.add(service);
          begun += 1;
        };
        for (const next of steps) {
          if (next.do === 'wait') nowMs += next.ms;
          else if (next.do === 'refresh') for (const service of cache.due(nowMs)) begin(service);
          else {
            const service = `s${next.service}`;
            if (next.do === 'ask') {
              asked += 1;
              const { state, lookup } = cache.ask(service, next.peers, nowMs);
              if (state.kind === 'fresh') expect(next.peers > 0 && state.ageMs < TTL && !lookup).toBe(true);
              if (state.kind === 'stale') expect(next.peers > 0 && state.ageMs >= TTL).toBe(true);
              if (state.kind === 'empty') expect(state.ageMs < EMPTY_TTL && !lookup).toBe(true);
              if (lookup) begin(service);
            } else if (running.has(service)) {
              if (next.do === 'found') cache.found(service, nowMs);
              else {
                cache.ended(service, next.outcome, nowMs);
                running.delete(service);
                if (next.outcome === 'found') endedInVainMs.delete(service);
                else endedInVainMs.set(service, nowMs);
              }
              if (next.do === 'found') endedInVainMs.delete(service);
            }
          }
          const { cache_hits, cache_misses, dht_lookups } = cache.counters;
          expect(cache_hits + cache_misses).toBe(asked);
          expect(dht_lookups).toBe(begun);
          expect(cache.size).toBeLessThanOrEqual(4 + running.size);
          for (const service of cache.due(nowMs)) expect(running.has(service)).toBe(false);
        }
      }),
    );
  });
});
