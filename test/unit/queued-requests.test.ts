/** Waiting: which of mine is taken back from the queue of one peer and sent to another. */
import { describe, expect, test } from '@jest/globals';
import { type QueuedRequest, QueuedRequests } from '../../sidecar/core/balancing/queued-requests.ts';
import { finish } from '../../sidecar/core/peers/accounting.ts';
import type { Endpoint } from '../../sidecar/core/peers/peer.ts';
import type { PeerTable } from '../../sidecar/core/peers/peer-table.ts';
import { endpointOf, keyOf, peerOf, recordOf, SERVICE, tableOf } from '../support/meshes/peers.ts';
import { expectNamed } from '../support/runner/expectations.ts';

const NOW_MS = 100_000;

interface Named extends QueuedRequest {
  readonly name: string;
}

/** Mine, in the queue of peer `n`, under way for so long. */
function mine(name: string, n: number, underWayMs: number, service = SERVICE): Named {
  return { name, service, peerKey: keyOf(n), sinceMs: NOW_MS - underWayMs };
}

/** Three peers of four slots, all free; a report of each has just come with a response. */
function bed(...waiters: readonly Named[]) {
  const table = tableOf([1, 2, 3].map((n) => recordOf(n)));
  for (const n of [1, 2, 3]) says(endpointOf(table, n), {});
  const waiting = new QueuedRequests<Named>();
  for (const waiter of waiters) waiting.add(waiter);
  const soonerAt = (n: number, endingSlots = 1): string | null =>
    waiting.soonerAt(endpointOf(table, n), NOW_MS, endingSlots)?.name ?? null;
  return { table, waiting, soonerAt };
}

function says(endpoint: Endpoint, figures: Partial<Endpoint>): void {
  Object.assign(
    endpoint,
    {
      inFlight: 1,
      queued: 0,
      concurrency: 4,
      serviceMs: 100,
      reportedAtMs: NOW_MS,
    },
    figures,
  );
}

function busy(endpoint: Endpoint, oldestMs: number): void {
  says(endpoint, { inFlight: 4, queued: 5, oldestMs });
}

function endpointTwo(table: PeerTable): Endpoint {
  return endpointOf(table, 2);
}

describe('taking back requests that wait', () => {
  test('the oldest of mine that waits elsewhere, once', () => {
    const { waiting, soonerAt } = bed(
      mine('young', 1, 1_000),
      mine('older', 1, 3_000),
      mine('old', 3, 2_000),
      mine('oldest', 3, 4_000),
    );
    expect(waiting.count(SERVICE)).toBe(4);
    const taken = [1, 2, 3, 4, 5].map(() => soonerAt(2));
    expect(taken).toStrictEqual(['oldest', 'older', 'old', 'young', null]);
    expect(waiting.count(SERVICE)).toBe(0);
  });

  test('equals go as they came', () => {
    const { soonerAt } = bed(mine('a', 1, 2_000), mine('b', 1, 2_000), mine('c', 1, 2_000));
    expect([soonerAt(2), soonerAt(2), soonerAt(2)]).toStrictEqual(['a', 'b', 'c']);
  });

  test('what waits at the peer itself is not taken, however old', () => {
    const { table, waiting, soonerAt } = bed(mine('there', 2, 9_000));
    busy(endpointTwo(table), 9_000);
    expect(soonerAt(2)).toBe(null);
    waiting.add(mine('elsewhere', 1, 11_000));
    expect(soonerAt(2)).toBe('elsewhere');
    expect(waiting.count(SERVICE)).toBe(1);
  });

  test('only of the same service', () => {
    const { soonerAt } = bed(mine('other', 1, 9_000, 'other'));
    expect(soonerAt(2)).toBe(null);
  });

  test('not to a peer that cannot take it now, or must not draw it', () => {
    const cases: Record<string, (table: PeerTable) => void> = {
      draining: (table) => peerOf(table, 2).reportState('draining', 9, NOW_MS),
      warming: (table) => peerOf(table, 2).reportState('warming', 9, NOW_MS),
      suspect: (table) => {
        peerOf(table, 2).presence = 'suspect';
      },
      ejected: (table) => {
        for (let i = 0; i < 5; i += 1) endpointOf(table, 2).standing.health.failed(NOW_MS - 31_000);
      },
      'half open': (table) => {
        const { health } = endpointOf(table, 2).standing;
        for (let i = 0; i < 5; i += 1) health.failed(NOW_MS - 31_000);
        health.tried(NOW_MS);
        expect(health.state.kind).toBe('half_open');
      },
      failing: (table) => finish(endpointTwo(table), 'failed', NOW_MS),
      'without a way there': (table) => {
        const peer = peerOf(table, 2);
        peer.adopt({ ...peer.record, seq: 2, vpn_ip: null }, NOW_MS);
      },
      'with a queue of which it tells nothing': (table) => says(endpointTwo(table), { queued: 1 }),
      full: (table) => says(endpointTwo(table), { inFlight: 5 }),
    };
    for (const [name, spoil] of Object.entries(cases)) {
      const { table, waiting, soonerAt } = bed(mine('old', 1, 9_000));
      spoil(table);
      expectNamed(soonerAt(2), name).toBe(null);
      expectNamed(waiting.count(SERVICE), name).toBe(1);
      expectNamed(soonerAt(3), `${name}: elsewhere`).toBe('old');
    }
  });

  test('failures fade, and the peer draws again', () => {
    const { table, waiting } = bed(mine('old', 1, 9_000));
    const endpoint = endpointTwo(table);
    finish(endpoint, 'failed', NOW_MS);
    expect(waiting.soonerAt(endpoint, NOW_MS, 1)).toBe(null);
    expect(waiting.soonerAt(endpoint, NOW_MS + 5_000, 1)?.name).toBe('old');
  });

  test('a free slot: one that is about to be counts, if the response that tells of it is near its end', () => {
    for (const [inFlight, concurrency, endingSlots, isFree] of [
      [3, 4, 0, true],
      [4, 4, 0, false],
      [4, 4, 1, true],
      [5, 4, 1, false],
      [1_000, 0, 0, true],
    ] as const) {
      const { table, soonerAt } = bed(mine('old', 1, 9_000));
      says(endpointTwo(table), { inFlight, concurrency });
      expectNamed(soonerAt(2, endingSlots), `${inFlight} of ${concurrency}`).toBe(isFree ? 'old' : null);
    }
  });

  test('it must be under way for longer than what comes next there, by what a request takes there', () => {
    const isTaken = (underWayMs: number, figures: Partial<Endpoint>): boolean => {
      const { table, soonerAt } = bed(mine('mine', 1, underWayMs));
      says(endpointTwo(table), figures);
      return soonerAt(2) !== null;
    };
    // 0.9 × 1,300 is less than 1,000 + 200 + 10, 0.9 × 1,400 is more.
    const queue = { inFlight: 4, queued: 3, oldestMs: 1_000, serviceMs: 200 };
    expect([isTaken(1_300, queue), isTaken(1_400, queue)]).toStrictEqual([false, true]);
    const free = { serviceMs: 200 };
    expect([isTaken(230, free), isTaken(240, free)]).toStrictEqual([false, true]);
    const unknown = { serviceMs: Number.NaN };
    expect([isTaken(11, unknown), isTaken(12, unknown)]).toStrictEqual([false, true]);
  });

  test('what a tunnel adds counts too, that of a VPN does not', () => {
    const taken = (route: 'tunnel' | 'vpn', extraMs: number): string | null => {
      const { table, soonerAt } = bed(mine('mine', 1, 1_000));
      const peer = peerOf(table, 2);
      const ways = route === 'vpn' ? {} : { vpn_ip: null, tunnel_url: 'https://w2.example' };
      peer.adopt({ ...peer.record, ...ways, seq: 2 }, 0);
      says(endpointTwo(table), {});
      peer.routes[0]?.health.measured(extraMs);
      return soonerAt(2);
    };
    expect(taken('tunnel', 700)).toBe('mine');
    expect(taken('tunnel', 900)).toBe(null);
    expect(taken('vpn', 900)).toBe('mine');
    expectNamed(taken('tunnel', Number.NaN), 'not measured: nothing is known against it').toBe('mine');
  });

  test('what is older than the first in the queue of its peer is being served, and is not asked for', () => {
    const { table, waiting, soonerAt } = bed(
      mine('served', 1, 5_000),
      mine('served too', 1, 4_000),
      mine('first', 1, 2_000),
      mine('second', 1, 1_500),
    );
    busy(endpointOf(table, 1), 2_000);
    expect(soonerAt(1)).toBe(null);
    expect(waiting.count(SERVICE)).toBe(2);
    expect([soonerAt(2), soonerAt(2), soonerAt(2)]).toStrictEqual(['first', 'second', null]);
  });

  test('the way there is not in the figure of the peer: a little older is not served yet', () => {
    const { table, waiting, soonerAt } = bed(mine('first', 1, 2_250));
    busy(endpointOf(table, 1), 2_000);
    expect(soonerAt(1)).toBe(null);
    expect(waiting.count(SERVICE)).toBe(1);
  });

  test('nobody waits there: all of mine there are being served, but for those on their way', () => {
    const { waiting, soonerAt } = bed(mine('served', 1, 500), mine('on its way', 1, 40));
    expect(soonerAt(1)).toBe(null);
    expect(waiting.count(SERVICE)).toBe(1);
  });

  test('of a peer with a queue that does not tell of its first nothing is dropped', () => {
    const { table, waiting, soonerAt } = bed(mine('first', 1, 5_000));
    busy(endpointOf(table, 1), Number.NaN);
    expect(soonerAt(1)).toBe(null);
    expect(waiting.count(SERVICE)).toBe(1);
  });

  test('removed once or twice, before or after it was taken: the others stay, and nothing is left in the end', () => {
    const all = [mine('a', 1, 4_000), mine('b', 1, 4_000), mine('c', 3, 2_000), mine('d', 1, 1_000, 'other')];
    const { waiting, soonerAt } = bed(...all);
    const [a, b, c, d] = all as [Named, Named, Named, Named];
    waiting.remove(b);
    waiting.remove(b);
    expect(waiting.count(SERVICE)).toBe(2);
    expect(soonerAt(2)).toBe('a');
    waiting.remove(a);
    expect([waiting.count(SERVICE), waiting.count('other'), waiting.count('none')]).toStrictEqual([1, 1, 0]);
    waiting.remove(c);
    expect(soonerAt(2)).toBe(null);
    waiting.remove(d);
    waiting.remove(mine('never added', 1, 1));
    expect([waiting.count(SERVICE), waiting.count('other')]).toStrictEqual([0, 0]);
    waiting.add(a);
    expect(soonerAt(2)).toBe('a');
  });
});
