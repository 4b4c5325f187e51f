/** Waiting under figures that no honest peer would tell: nothing throws, is taken twice, or is lost count of. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type QueuedRequest, QueuedRequests } from '../../sidecar/core/balancing/queued-requests.ts';
import type { Endpoint } from '../../sidecar/core/peers/peer.ts';
import { endpointOf, keyOf, recordOf, SERVICE, tableOf } from '../support/meshes/peers.ts';
import { expectNamed } from '../support/runner/expectations.ts';

const PEERS = [1, 2, 3] as const;
const NOW_MS = 1_000_000;

const hostile = fc.oneof(
  fc.nat({ max: 10_000 }),
  fc.double(),
  fc.constantFrom(Number.NaN, Infinity, -Infinity, -1, 0, 1e300, Number.MAX_SAFE_INTEGER),
);
const figures = fc.record({
  inFlight: hostile,
  queued: hostile,
  concurrency: hostile,
  serviceMs: hostile,
  oldestMs: hostile,
  failureRate: fc.oneof({ weight: 9, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: hostile }),
} satisfies Partial<Record<keyof Endpoint, fc.Arbitrary<unknown>>>);
const peer = fc.constantFrom(...PEERS);
const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('add' as const), peer, ageMs: fc.nat(100_000) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('remove' as const), at: fc.nat(1_000) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('report' as const),
      peer,
      figures,
      extraMs: hostile,
      endingSlots: fc.nat(1),
    }),
  },
);

describe('taking back requests under any figures', () => {
  test('what is taken was waiting elsewhere, is taken once, and is the oldest there', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 150 }), (steps) => {
        const table = tableOf(
          PEERS.map((n) => recordOf(n, n === 3 ? { vpn_ip: null, tunnel_url: 'https://w' } : {})),
        );
        const waiting = new QueuedRequests<QueuedRequest>();
        const added: QueuedRequest[] = [];
        const over = new Set<QueuedRequest>();
        for (const each of steps) {
          const before = waiting.count(SERVICE);
          if (each.kind === 'add') {
            const waiter = { service: SERVICE, peerKey: keyOf(each.peer), sinceMs: NOW_MS - each.ageMs };
            waiting.add(waiter);
            added.push(waiter);
            expect(waiting.count(SERVICE)).toBe(before + 1);
          } else if (each.kind === 'remove') {
            const waiter = added[each.at % Math.max(1, added.length)];
            if (waiter === undefined) continue;
            waiting.remove(waiter);
            const count = waiting.count(SERVICE);
            expect(count === before || (count === before - 1 && !over.has(waiter))).toBe(true);
            waiting.remove(waiter);
            expectNamed(waiting.count(SERVICE), 'again does nothing').toBe(count);
            over.add(waiter);
          } else {
            const endpoint = endpointOf(table, each.peer);
            Object.assign(endpoint, each.figures);
            const [route] = endpoint.peer.routes;
            if (route !== undefined) route.health.extraMs = each.extraMs;
            const taken = waiting.soonerAt(endpoint, NOW_MS, each.endingSlots);
            const count = waiting.count(SERVICE);
            if (taken === null) {
              expectNamed(count, 'those that are being served are forgotten').toBeLessThanOrEqual(before);
              continue;
            }
            expect(count).toBeLessThanOrEqual(before - 1);
            expectNamed(added, 'it was waiting').toContain(taken);
            expectNamed(over.has(taken), 'it was waiting').toBe(false);
            expect(taken.peerKey).not.toBe(endpoint.peer.key);
            over.add(taken);
            const left = added.filter((other) => !over.has(other) && other.peerKey === taken.peerKey);
            expectNamed(
              left
                .filter(({ sinceMs }) => sinceMs < taken.sinceMs)
                .every((older) => !isThere(waiting, older)),
              'none of those beside it that still wait is older',
            ).toBe(true);
          }
        }
        for (const waiter of added) waiting.remove(waiter);
        expect(waiting.count(SERVICE)).toBe(0);
      }),
      { numRuns: 500 },
    );
  });

  /** Leaves it as it was. */
  function isThere(waiting: QueuedRequests<QueuedRequest>, waiter: QueuedRequest): boolean {
    const before = waiting.count(SERVICE);
    waiting.remove(waiter);
    if (waiting.count(SERVICE) === before) return false;
    waiting.add(waiter);
    return true;
  }

  test('an honest queue of one peer is taken in the order of age, whatever came in between', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(50_000), { maxLength: 100 }), (ages) => {
        const table = tableOf(PEERS.map((n) => recordOf(n)));
        const waiting = new QueuedRequests<QueuedRequest>();
        for (const ageMs of ages)
          waiting.add({ service: SERVICE, peerKey: keyOf(1), sinceMs: NOW_MS - 1_000 - ageMs });
        const taken: number[] = [];
        for (let i = 0; i <= ages.length; i += 1) {
          const waiter = waiting.soonerAt(endpointOf(table, 2), NOW_MS, 1);
          if (waiter === null) break;
          taken.push(NOW_MS - 1_000 - waiter.sinceMs);
        }
        expect(taken).toStrictEqual([...ages].sort((a, b) => b - a));
      }),
    );
  });
});
