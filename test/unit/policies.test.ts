/** Policies: their shares over many seeded choices, their spread in a burst, and affinity. */
import { describe, expect, test } from '@jest/globals';
import { Balancer, POLICY_NAMES, type PolicyName } from '../../sidecar/core/balancing/balancer.ts';
import { begin, finish } from '../../sidecar/core/peers/accounting.ts';
import type { PeerTable } from '../../sidecar/core/peers/peer-table.ts';
import type { WorkerRecord } from '../../sidecar/core/peers/record.ts';
import {
  asking,
  endpointOf,
  figures,
  keyOf,
  recordOf,
  SERVICE,
  seeded,
  tableOf,
} from '../support/meshes/peers.ts';
import { expectNamed, mustHold } from '../support/runner/expectations.ts';

const CHOICES = 10_000;

function peers(...changes: Partial<WorkerRecord>[]): PeerTable {
  return tableOf(changes.map((each, i) => recordOf(i + 1, each)));
}

/** Share of each worker in percent, in their order. */
function shares(policy: PolicyName, table: PeerTable, changes: Parameters<typeof asking>[1] = {}): number[] {
  const balancer = new Balancer(policy, { ttlMs: 60_000 });
  const request = asking(seeded(42), changes);
  const counts = new Map([...table.all()].map((peer) => [peer.key, 0]));
  for (let i = 0; i < CHOICES; i += 1) {
    const choice = balancer.choose(table.offering(SERVICE), request);
    if (choice.kind === 'chosen') counts.set(choice.peer.key, (counts.get(choice.peer.key) ?? 0) + 1);
  }
  return [...counts.values()].map((count) => (100 * count) / CHOICES);
}

function assertShares(actual: readonly number[], wanted: readonly number[], points: number): void {
  for (const [i, share] of wanted.entries()) {
    expectNamed(
      Math.abs((actual[i] ?? 0) - share),
      `${actual} against ${wanted} ± ${points}`,
    ).toBeLessThanOrEqual(points);
  }
}

const uneven: readonly (readonly [string, PeerTable])[] = [
  ['loads alone', peers({ load: 0.2 }, { load: 0.5 }, { load: 0.8 })],
  [
    'loads of busy slots',
    peers(
      { load: 0.2, figures: figures({ concurrency: 10, in_flight: 2 }) },
      { load: 0.5, figures: figures({ concurrency: 10, in_flight: 5 }) },
      { load: 0.8, figures: figures({ concurrency: 10, in_flight: 8 }) },
    ),
  ],
];

describe('the balancing policies', () => {
  for (const [name, table] of uneven) {
    test(`0.2/0.5/0.8 get 50/30/20 % ± 3 with rank: ${name}`, () => {
      assertShares(shares('rank', table), [50, 30, 20], 3);
    });
    test(`0.2/0.5/0.8 get 50/30/20 % ± 7 with adaptive: ${name}`, () => {
      assertShares(shares('adaptive', table), [50, 30, 20], 7);
    });
    test(`0.2/0.5/0.8 get 50/30/20 % ± 7 with adaptive on aged reports: ${name}`, () => {
      assertShares(shares('adaptive', table, { nowMs: 40_000 }), [50, 30, 20], 7);
    });
  }

  test('two of unequal load share 62 to 38', () => {
    assertShares(shares('rank', peers({ load: 0.2 }, { load: 0.5 })), [62.5, 37.5], 3);
  });

  test('rank: a load that is no number is the highest, not the lowest', () => {
    const table = peers({ load: 0.2 }, { load: 0.5 }, { load: 0.8 }, { load: 0.9 });
    endpointOf(table, 1).load = Number.NaN;
    expect(shares('rank', table)[0]).toBe(0);
  });

  test('the other policies keep their word', () => {
    const table = peers({ load: 0.2 }, { load: 0.5 }, { load: 0.8 });
    expect(shares('least-load', table)).toStrictEqual([100, 0, 0]);
    assertShares(shares('p2c', table), [66.7, 33.3, 0], 2);
    assertShares(shares('round-robin', table), [33.3, 33.3, 33.3], 0.1);
    assertShares(shares('random', table), [33.3, 33.3, 33.3], 2);
  });

  for (const policy of POLICY_NAMES) {
    test(`${policy}: equals share evenly`, () => {
      assertShares(shares(policy, peers({}, {}, {}, {}, {})), [20, 20, 20, 20, 20], 2);
    });
  }

  test('adaptive: nobody who is free starves, however many are less loaded', () => {
    const table = tableOf(Array.from({ length: 20 }, (_, i) => recordOf(i + 1, { load: i / 20 })));
    for (const share of shares('adaptive', table)) expect(share).toBeGreaterThan(0);
  });

  test('adaptive: 8 simultaneous requests on 2 equal peers with a frozen view split 3 to 5 at most', () => {
    for (const concurrency of [0, 1, 4, 8, 64]) {
      for (let seed = 0; seed < 500; seed += 1) {
        const table = peers({ figures: figures({ concurrency }) }, { figures: figures({ concurrency }) });
        const balancer = new Balancer('adaptive', { ttlMs: 60_000 });
        const request = asking(seeded(seed));
        for (let i = 0; i < 8; i += 1) {
          const choice = balancer.choose(table.offering(SERVICE), request);
          if (choice.kind === 'chosen') begin(choice.endpoint, 0);
        }
        const there = endpointOf(table, 1).outstanding;
        expectNamed(
          there,
          `${there} to ${8 - there} with ${concurrency} slots, seed ${seed}`,
        ).toBeGreaterThanOrEqual(3);
        expectNamed(
          there,
          `${there} to ${8 - there} with ${concurrency} slots, seed ${seed}`,
        ).toBeLessThanOrEqual(5);
      }
    }
  });

  test('adaptive: a burst fills uneven workers by their slots', () => {
    const table = peers({ figures: figures({ concurrency: 2 }) }, { figures: figures({ concurrency: 8 }) });
    const balancer = new Balancer('adaptive', { ttlMs: 60_000 });
    const request = asking(seeded(5));
    for (let i = 0; i < 10; i += 1) {
      const choice = balancer.choose(table.offering(SERVICE), request);
      if (choice.kind === 'chosen') begin(choice.endpoint, 0);
    }
    expect([endpointOf(table, 1).outstanding, endpointOf(table, 2).outstanding]).toStrictEqual([2, 8]);
  });

  test('adaptive: when nothing is free the shortest expected time is chosen', () => {
    const table = peers(
      { figures: figures({ concurrency: 1, in_flight: 1, queued: 5, service_ms: 100 }) },
      { figures: figures({ concurrency: 1, in_flight: 1, queued: 1, service_ms: 100 }) },
    );
    expect(shares('adaptive', table)).toStrictEqual([0, 100]);
  });

  test('adaptive: when nothing is free, of equals those that are reached directly come first, and share', () => {
    const busy = { figures: figures({ concurrency: 1, in_flight: 1, service_ms: 100 }) };
    const tunnel = { vpn_ip: null, inbound_port: null, tunnel_url: 'https://w.example' };
    assertShares(shares('adaptive', peers(busy, { ...busy, ...tunnel }, busy)), [50, 0, 50], 3);
    assertShares(shares('adaptive', peers({ ...busy, ...tunnel }, busy)), [0, 100], 0);
    assertShares(shares('adaptive', peers(busy, { ...busy, ...tunnel })), [100, 0], 0);
  });

  test('adaptive: nobody gets a request for a try while two more of mine than elsewhere are on their way there', () => {
    const table = peers({}, {});
    endpointOf(table, 2).outstanding = 2;
    expect(shares('adaptive', table)).toStrictEqual([100, 0]);
    endpointOf(table, 2).outstanding = 1;
    expect(shares('adaptive', table)[1] ?? 0).toBeGreaterThan(0);
  });

  test('adaptive: a peer of which nothing is known is tried', () => {
    const table = tableOf(Array.from({ length: 10 }, (_, i) => recordOf(i + 1, { load: 0.05 * (i + 1) })));
    Object.assign(endpointOf(table, 10), { reportedAtMs: Number.NEGATIVE_INFINITY, load: Number.NaN });
    expect(shares('adaptive', table)[9] ?? 0).toBeGreaterThan(0);
  });

  test('affinity: a key stays with its peer, and keys spread', () => {
    const table = tableOf(Array.from({ length: 10 }, (_, i) => recordOf(i + 1)));
    const balancer = new Balancer('adaptive', { ttlMs: 60_000 });
    const random = seeded(1);
    const to = (affinityKey: string): string => {
      const choice = balancer.choose(table.offering(SERVICE), asking(random, { affinityKey }));
      return choice.kind === 'chosen' ? choice.peer.key : '';
    };
    const homes = Array.from({ length: 200 }, (_, i) => to(`session-${i}`));
    expect(homes).toStrictEqual(Array.from({ length: 200 }, (_, i) => to(`session-${i}`)));
    const counts = homes.reduce(
      (all, key) => all.set(key, (all.get(key) ?? 0) + 1),
      new Map<string, number>(),
    );
    expect(counts.size).toBe(10);
    expect(Math.max(...counts.values())).toBeLessThan(40);
    table.depart(keyOf(3), 1_000, 0);
    const after = Array.from({ length: 200 }, (_, i) => to(`session-${i}`));
    for (const [i, home] of homes.entries()) if (home !== keyOf(3)) expect(after[i]).toBe(home);
  });

  test('affinity: a peer that joins takes over no key in use; keys of ten minutes ago go by their hash again', () => {
    const table = tableOf([recordOf(1), recordOf(2)]);
    const balancer = new Balancer('adaptive', { ttlMs: 3_600_000 });
    const random = seeded(1);
    const homes = (nowMs: number): string[] =>
      Array.from({ length: 100 }, (_, i) => {
        const choice = balancer.choose(
          table.offering(SERVICE),
          asking(random, { affinityKey: `key-${i}`, nowMs }),
        );
        return choice.kind === 'chosen' ? choice.peer.key : '';
      });
    const before = homes(0);
    table.apply(recordOf(3), 'record', 0);
    expect(homes(1_000)).toStrictEqual(before);
    expect(homes(600_000)).toStrictEqual(before);
    expect(homes(1_200_001)).toContain(keyOf(3));
  });

  test('affinity: who has more than its share for a moment keeps its keys; who drains gives them away', () => {
    const table = tableOf([recordOf(1), recordOf(2)]);
    const balancer = new Balancer('adaptive', { ttlMs: 60_000 });
    const to = (): string => {
      const choice = balancer.choose(table.offering(SERVICE), asking(seeded(1), { affinityKey: 'session' }));
      return choice.kind === 'chosen' ? choice.peer.key : '';
    };
    const home = to();
    const other = home === keyOf(1) ? keyOf(2) : keyOf(1);
    const [at, there] = home === keyOf(1) ? [1, 2] : [2, 1];
    for (let n = 0; n < 4; n += 1) begin(endpointOf(table, at), 0);
    expect(to()).toBe(other);
    for (let n = 0; n < 4; n += 1) finish(endpointOf(table, at), 'served', 0);
    expect(to()).toBe(home);
    table.apply(recordOf(at, { state: 'draining', seq: 2 }), 'record', 0);
    expect(to()).toBe(other);
    table.apply(recordOf(at, { state: 'ready', seq: 3 }), 'record', 0);
    expect(to()).toBe(keyOf(there));
  });

  test('affinity: no peer gets more than 1.25 times its share', () => {
    const table = tableOf(
      Array.from({ length: 5 }, (_, i) => recordOf(i + 1, { figures: figures({ concurrency: 8 }) })),
    );
    const balancer = new Balancer('adaptive', { ttlMs: 60_000 });
    const request = asking(seeded(1), { affinityKey: 'the same for all' });
    for (let i = 1; i <= 100; i += 1) {
      const choice = balancer.choose(table.offering(SERVICE), request);
      if (choice.kind === 'chosen') begin(choice.endpoint, 0);
      for (const { key } of table.all()) {
        const there = table.get(key)?.endpoint(SERVICE)?.outstanding ?? 0;
        expectNamed(there, `${there} of ${i}`).toBeLessThanOrEqual(Math.ceil((1.25 * i) / 5));
      }
    }
  });

  test('affinity: where each has more than its share, as old reports may say, the emptiest is taken', () => {
    const few = figures({ concurrency: 4, in_flight: 1 });
    const idle = Array.from({ length: 30 }, () => ({ figures: figures({ concurrency: 1 }) }));
    const busy = Array.from({ length: 30 }, () => ({ figures: figures({ concurrency: 1, in_flight: 1 }) }));
    const table = peers({ figures: few }, ...idle, ...busy);
    const nowMs = 60_000;
    for (let n = 1; n <= 61; n += 1) {
      // Reports of the idle count for nearly all, those of the busy for nearly nothing.
      const ageMs = n === 1 ? 0 : n <= 31 ? 8_700 : 54_300;
      endpointOf(table, n).reportedAtMs = nowMs - ageMs;
    }
    const balancer = new Balancer('adaptive', { ttlMs: 60_000 });
    const request = asking(seeded(1), { nowMs, affinityKey: 'any' });
    const { candidates } = balancer.explain(table.offering(SERVICE), request);
    for (const { score } of candidates) expect(score?.requests).toBeGreaterThan(0);
    const choice = balancer.choose(table.offering(SERVICE), request);
    mustHold(choice.kind === 'chosen');
    expect(choice.peer.record.worker_id).toBe('worker-2');
  });

  test('a steady stream of short requests spreads by live load', () => {
    const table = peers(
      { figures: figures({ concurrency: 4 }) },
      { figures: figures({ concurrency: 4 }) },
      { figures: figures({ concurrency: 4 }) },
    );
    const balancer = new Balancer('adaptive', { ttlMs: 60_000 });
    const random = seeded(9);
    const running: (() => void)[] = [];
    const counts = [0, 0, 0];
    for (let i = 0; i < 9_000; i += 1) {
      const choice = balancer.choose(table.offering(SERVICE), asking(random, { nowMs: 1 }));
      if (choice.kind !== 'chosen') continue;
      begin(choice.endpoint, 1);
      const n = Number(choice.peer.record.worker_id.slice(7)) - 1;
      counts[n] = (counts[n] ?? 0) + 1;
      running.push(() => finish(choice.endpoint, 'served', 1));
      if (running.length > 5) running.shift()?.();
    }
    for (const count of counts) expectNamed(count > 2_700 && count < 3_300, `${counts}`).toBe(true);
  });
});
