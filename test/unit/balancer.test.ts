/** Who may be chosen at all, by which routes, and what a refusal is called. */
import { describe, expect, test } from '@jest/globals';
import { Balancer } from '../../sidecar/core/balancing/balancer.ts';
import type { Choice } from '../../sidecar/core/balancing/choice.ts';
import { begin } from '../../sidecar/core/peers/accounting.ts';
import type { PeerTable } from '../../sidecar/core/peers/peer-table.ts';
import type { WorkerRecord } from '../../sidecar/core/peers/record.ts';
import { parseRequirements } from '../../sidecar/core/peers/requirements.ts';
import {
  asking,
  endpointOf,
  figures,
  healthOf,
  keyOf,
  peerOf,
  recordOf,
  SERVICE,
  seeded,
  tableOf,
} from '../support/meshes/peers.ts';
import { expectNamed } from '../support/runner/expectations.ts';

type Asked = Parameters<typeof asking>[1];

function choose(table: PeerTable, changes: Asked = {}, random = seeded(1)): Choice {
  return new Balancer('adaptive', { ttlMs: 60_000 }).choose(table.offering(SERVICE), asking(random, changes));
}

/** Who is chosen in 300 tries, sorted; or the refusal. */
function chosen(table: PeerTable, changes: Asked = {}): string {
  const random = seeded(7);
  const found = new Set<string>();
  for (let i = 0; i < 300; i += 1) {
    const choice = choose(table, changes, random);
    found.add(choice.kind === 'chosen' ? choice.peer.record.worker_id.slice(7) : choice.code);
  }
  return [...found].sort().join(' ');
}

function peers(...changes: Partial<WorkerRecord>[]): PeerTable {
  return tableOf(changes.map((each, i) => recordOf(i + 1, each)));
}

function eject(table: PeerTable, n: number, nowMs = 0): void {
  for (let i = 0; i < 5; i += 1) endpointOf(table, n).standing.health.failed(nowMs);
}

describe('who may be chosen', () => {
  test('nobody offers the service', () => {
    expect(chosen(peers())).toBe('no_peers');
    expect(chosen(peers({ services: ['other'] }))).toBe('no_peers');
  });

  test('only ready peers are chosen, and the refusal says what the others are', () => {
    expect(chosen(peers({ state: 'warming' }, {}, { state: 'draining' }))).toBe('2');
    expect(chosen(peers({ state: 'warming' }))).toBe('warming');
  });

  test('one that shuts down is the last resort: it still takes requests for a moment, unless it is gone', () => {
    const table = peers({ state: 'warming' }, { state: 'draining' });
    expect(chosen(table)).toBe('2');
    expect(chosen(table, { excluded: new Set([keyOf(2)]) })).toBe('warming');
    peerOf(table, 2).presence = 'suspect';
    expect(chosen(table)).toBe('warming');
    const last = peers({ state: 'draining' });
    peerOf(last, 1).presence = 'suspect';
    expect(chosen(last)).toBe('draining');
  });

  test('who was tried is not chosen again', () => {
    const table = peers({}, {});
    expect(chosen(table, { excluded: new Set([keyOf(1)]) })).toBe('2');
    expect(chosen(table, { excluded: new Set([keyOf(1), keyOf(2)]) })).toBe('all_ejected');
  });

  test('a suspect is chosen only when nobody else is left', () => {
    const table = peers({}, {});
    table.probeFailed(keyOf(1), 0);
    expect(chosen(table)).toBe('2');
    expect(chosen(table, { excluded: new Set([keyOf(2)]) })).toBe('1');
  });

  test('an ejected peer is not chosen, a suspect is preferred to it', () => {
    const table = peers({}, {});
    eject(table, 1);
    expect(chosen(table)).toBe('2');
    table.probeFailed(keyOf(2), 0);
    expect(chosen(table)).toBe('2');
  });

  test('the last one is never ejected', () => {
    const table = peers({});
    eject(table, 1);
    expect(chosen(table)).toBe('1');
  });

  test('at most half are ejected: those whose ejection ends first are pardoned', () => {
    const table = peers({}, {}, {}, {});
    for (const n of [1, 2, 3, 4]) eject(table, n, n * 1_000);
    expect(chosen(table, { nowMs: 5_000 })).toBe('1 2');
  });

  test('everything ejected at once and all pardoned tried: the least bad is tried', () => {
    const table = peers({}, {});
    eject(table, 1, 0);
    eject(table, 2, 1_000);
    expect(chosen(table, { nowMs: 2_000 })).toBe('1');
    expect(chosen(table, { nowMs: 2_000, excluded: new Set([keyOf(1)]) })).toBe('2');
  });

  test('all routes of all peers failed a moment ago: the peer whose last failure is the oldest is tried', () => {
    const table = peers({}, {}, {});
    for (const [n, failedAtMs] of [
      [1, 300],
      [2, 100],
      [3, 200],
    ] as const) {
      peerOf(table, n).routes[0]?.health.failed(failedAtMs);
    }
    expect(chosen(table, { nowMs: 500 })).toBe('2');
    expect(chosen(table, { nowMs: 500, excluded: new Set([keyOf(2)]) })).toBe('3');
    expect(chosen(table, { nowMs: 500, excluded: new Set([keyOf(2), keyOf(3)]) })).toBe('1');
  });

  test('all who are pardoned were tried: of the ejected the one whose ejection ends first is tried', () => {
    const table = peers({}, {}, {}, {}, {}, {});
    for (const [n, ejectedAtMs] of [
      [1, 300],
      [2, 600],
      [3, 100],
      [4, 200],
      [5, 400],
      [6, 500],
    ] as const) {
      eject(table, n, ejectedAtMs);
    }
    const tried = [1, 3, 4];
    for (const next of [5, 6, 2]) {
      expect(chosen(table, { nowMs: 1_000, excluded: new Set(tried.map(keyOf)) })).toBe(`${next}`);
      tried.push(next);
    }
  });

  test('a service that is ejected takes no other one of its peer along', () => {
    const services = [SERVICE, 'embeddings'];
    const table = peers({ services }, { services });
    for (let i = 0; i < 5; i += 1) healthOf(peerOf(table, 1), 'embeddings').failed(0);
    expect(chosen(table)).toBe('1 2');
    expect(chosen(table, { service: 'embeddings' })).toBe('2');
  });

  test('a peer on trial gets one request, then waits for its end', () => {
    const table = peers({}, { load: 0.9 }, { load: 0.9 });
    eject(table, 1);
    expect(chosen(table, { nowMs: 29_999 })).toBe('2 3');
    expect(chosen(table, { nowMs: 30_000 })).toMatch(/1/);
    begin(endpointOf(table, 1), 30_000);
    expect(chosen(table, { nowMs: 30_001 })).toBe('2 3');
    endpointOf(table, 1).standing.health.succeeded(30_002);
    expect(chosen(table, { nowMs: 30_003 })).toMatch(/1/);
  });

  test('routes: VPN before tunnel, and the same array while nothing is down', () => {
    const table = peers({ tunnel_url: 'https://w1.example' });
    const choice = choose(table);
    expect(choice.kind).toBe('chosen');
    if (choice.kind !== 'chosen') return;
    expect(choice.routes.map((route) => route.kind)).toStrictEqual(['vpn', 'tunnel']);
    expect(choice.routes).toBe(peerOf(table, 1).routes);
  });

  test('routes: a black-holed VPN is left out at once, and back after a probe', () => {
    const table = peers({ tunnel_url: 'https://w1.example' });
    const kinds = (nowMs: number): string[] => {
      const choice = choose(table, { nowMs });
      return choice.kind === 'chosen' ? choice.routes.map((route) => route.kind) : [];
    };
    const vpn = peerOf(table, 1).routes[0];
    vpn?.health.failed(0);
    expect(kinds(1)).toStrictEqual(['tunnel']);
    expectNamed(kinds(20_000), 'the probes look after it, not the requests').toStrictEqual(['tunnel']);
    vpn?.health.succeeded(20_001);
    expect(kinds(20_002)).toStrictEqual(['vpn', 'tunnel']);
  });

  test('routes: when all are down those whose trial is due come alone; when none is due, all', () => {
    const table = peers({ tunnel_url: 'https://w1.example' });
    const kinds = (nowMs: number): string[] => {
      const choice = choose(table, { nowMs });
      return choice.kind === 'chosen' ? choice.routes.map((route) => route.kind) : [];
    };
    const [vpn, tunnel] = peerOf(table, 1).routes;
    tunnel?.health.failed(0);
    vpn?.health.failed(500);
    expect(kinds(999)).toStrictEqual(['vpn', 'tunnel']);
    expect(kinds(1_000)).toStrictEqual(['tunnel']);
    expect(kinds(1_500)).toStrictEqual(['vpn', 'tunnel']);
  });

  test('a peer whose only route just failed is passed over, and tried when it is the last', () => {
    const table = peers({}, {});
    peerOf(table, 1).routes[0]?.health.failed(0);
    expect(chosen(table, { nowMs: 500 })).toBe('2');
    expect(chosen(table, { nowMs: 500, excluded: new Set([keyOf(2)]) })).toBe('1');
    expectNamed(chosen(table, { nowMs: 1_000 }), 'a second later it may have its trial').toBe('1 2');
  });

  test('a peer without any route is never chosen', () => {
    const table = peers({ vpn_ip: null, inbound_port: null });
    expect(chosen(table)).toBe('all_ejected');
  });

  test('of two equals the one with a VPN address comes first', () => {
    const table = peers({ vpn_ip: null, inbound_port: null, tunnel_url: 'https://w1.example' }, {});
    const random = seeded(3);
    let direct = 0;
    for (let i = 0; i < 1_000; i += 1) {
      const choice = choose(table, {}, random);
      if (choice.kind === 'chosen' && choice.peer.record.worker_id === 'worker-2') direct += 1;
    }
    expectNamed(direct, `${direct}`).toBeGreaterThan(580);
    expectNamed(direct, `${direct}`).toBeLessThan(670);
  });

  test("a tunnel's measured extra time counts: a slow tunnel is used only when the others are full", () => {
    const table = peers(
      {
        vpn_ip: null,
        inbound_port: null,
        tunnel_url: 'https://w1.example',
        figures: figures({ service_ms: 100 }),
      },
      { figures: figures({ service_ms: 100 }) },
    );
    peerOf(table, 1).routes[0]?.health.measured(200);
    expect(chosen(table)).toBe('2');
    endpointOf(table, 2).inFlight = 20;
    expect(chosen(table)).toBe('1');
  });

  test('a slow peer is passed over while a quick one is free, and used when that one is full', () => {
    const table = peers(
      { figures: figures({ service_ms: 100 }) },
      { figures: figures({ service_ms: 400 }) },
      { figures: figures({ service_ms: 100 }) },
    );
    expect(chosen(table)).toBe('1 3');
    for (const n of [1, 3]) endpointOf(table, n).inFlight = 30;
    expect(chosen(table)).toBe('2');
  });

  test('deviations of the service time under a third do not steer', () => {
    const table = peers(
      { load: 0.1, figures: figures({ service_ms: 130 }) },
      { load: 0.2, figures: figures({ service_ms: 100 }) },
      { load: 0.3, figures: figures({ service_ms: 75 }) },
    );
    const { candidates } = new Balancer('adaptive', { ttlMs: 60_000 }).explain(
      table.offering(SERVICE),
      asking(seeded(1)),
    );
    expect(new Set(candidates.map((each) => each.score?.service_ms))).toStrictEqual(new Set([100]));
  });

  test('twice as fast is as little noise as half as fast: the slower ones are left out', () => {
    const of = (serviceMs: number) => ({ figures: figures({ service_ms: serviceMs }) });
    const table = peers(of(400), of(200), of(200), of(100), of(100));
    expect(chosen(table)).toBe('4 5');
  });

  test('a full peer is as slow as the queue of heavy-tailed work before it', () => {
    const table = peers(
      { figures: figures({ service_ms: 100, concurrency: 2, in_flight: 2, queued: 1 }) },
      { figures: figures({ service_ms: 100, concurrency: 2 }) },
    );
    const { candidates } = new Balancer('adaptive', { ttlMs: 60_000 }).explain(
      table.offering(SERVICE),
      asking(seeded(1)),
    );
    expect(candidates.map(({ score }) => score?.expected_ms)).toStrictEqual([100 * (1 + (1.5 * 2) / 2), 100]);
  });

  test('a peer that fails at once does not attract everything', () => {
    const table = peers({ load: 0 }, { load: 0.5 });
    endpointOf(table, 1).failureRate = 0.1;
    endpointOf(table, 1).failureAtMs = 0;
    expect(chosen(table, { nowMs: 0 })).toBe('2');
    expectNamed(chosen(table, { nowMs: 30_000 }), 'and is tried again when that has faded').toBe('1 2');
  });

  test('the expected queue is 0 where a slot is free, and counts what waits where none is', () => {
    const table = peers({ figures: figures({ concurrency: 2, in_flight: 1 }) });
    const expected = (): number | null => {
      const choice = choose(table);
      return choice.kind === 'chosen' ? choice.expectedQueue : null;
    };
    expect(expected()).toBe(0);
    endpointOf(table, 1).inFlight = 2;
    expect(expected()).toBe(1);
    endpointOf(table, 1).queued = 3;
    expect(expected()).toBe(4);
    const choice = new Balancer('random', { ttlMs: 60_000 }).choose(
      table.offering(SERVICE),
      asking(seeded(1)),
    );
    expect(choice.kind === 'chosen' && choice.expectedQueue).toBe(null);
  });

  test('my own requests since the report stand for those of the other senders too', () => {
    const table = peers({ figures: figures({ concurrency: 100, in_flight: 10 }) });
    const endpoint = endpointOf(table, 1);
    Object.assign(endpoint, { mineReported: 4, activeCallers: 3, outstanding: 6 });
    const requests = (): number | undefined =>
      new Balancer('adaptive', { ttlMs: 60_000 }).explain(table.offering(SERVICE), asking(seeded(1)))
        .candidates[0]?.score?.requests;
    // 6 of others, 6 of mine, of which 2 are new: two more senders may have sent 2 each.
    expect(requests()).toBe(6 + 6 + 2 * 2);
    endpoint.activeCallers = 1_000;
    expect(requests()).toBe(6 + 6 + 2 * 3);
    Object.assign(endpoint, { outstanding: 1 });
    expect(requests()).toBe(6 + 1);
  });

  test('an old report counts less, and one beyond the TTL not at all', () => {
    const table = peers({ load: 0 }, { load: 0.4 }, { load: 0.6 });
    for (const n of [2, 3]) endpointOf(table, n).reportedAtMs = 100_000;
    const load = (nowMs: number): number | undefined =>
      new Balancer('adaptive', { ttlMs: 60_000 }).explain(
        table.offering(SERVICE),
        asking(seeded(1), { nowMs }),
      ).candidates[0]?.score?.live_load;
    endpointOf(table, 1).reportedAtMs = 100_000;
    expect(load(100_000)).toBe(0);
    endpointOf(table, 1).reportedAtMs = 100_000 - 31_500;
    const half = load(100_000) ?? 0;
    expectNamed(half, 'half of the median of the three').toBeGreaterThan(0.19);
    expectNamed(half, 'half of the median of the three').toBeLessThan(0.21);
    endpointOf(table, 1).reportedAtMs = 40_000;
    expectNamed(load(100_000) ?? 0, 'never always the minimum').toBeGreaterThanOrEqual(0.4);
  });

  describe('what a request asks of its worker', () => {
    const wishes = (require: string, prefer = '') => {
      const requirements = parseRequirements(require);
      const preferences = parseRequirements(prefer);
      if ('fault' in requirements || 'fault' in preferences) throw new Error('not well-formed');
      return { requirements, preferences };
    };
    const fleet = () =>
      peers(
        { capabilities: { has_gpu: false } },
        { capabilities: { has_gpu: true, vram_gb: 16 } },
        { capabilities: { has_gpu: true, vram_gb: 24 } },
      );

    test('only those that meet all of it are chosen, however loaded, and suspects among them too', () => {
      const table = fleet();
      expect(chosen(table, wishes('has_gpu=true'))).toBe('2 3');
      expect(chosen(table, wishes('has_gpu=true,vram_gb>=24'))).toBe('3');
      endpointOf(table, 3).inFlight = 100;
      endpointOf(table, 3).concurrency = 1;
      expect(chosen(table, wishes('vram_gb>=24'))).toBe('3');
      table.probeFailed(keyOf(3), 0);
      expect(chosen(table, wishes('vram_gb>=24'))).toBe('3');
      eject(table, 2);
      expect(chosen(table, wishes('vram_gb<=16'))).toBe('2');
    });

    test('where nobody meets it the refusal says that, whatever else is wrong with them', () => {
      expect(chosen(fleet(), wishes('vram_gb>=32'))).toBe('requirements_unmet');
      expect(chosen(peers({ state: 'warming' }), wishes('has_gpu=true'))).toBe('requirements_unmet');
      const warming = peers({}, { state: 'warming', capabilities: { has_gpu: true } });
      expect(chosen(warming, wishes('has_gpu=true'))).toBe('warming');
    });

    test('the preferred come first while one of them has a free slot, then all', () => {
      const table = fleet();
      expect(chosen(table, wishes('', 'vram_gb>=24'))).toBe('3');
      expect(chosen(table, wishes('has_gpu=true', 'vram_gb>=99, vram_gb<=16'))).toBe('2');
      for (const n of [1, 2, 3]) Object.assign(endpointOf(table, n), { concurrency: 2, inFlight: 0 });
      endpointOf(table, 3).inFlight = 2;
      expect(chosen(table, wishes('', 'vram_gb>=24, has_gpu=true'))).toBe('2');
      for (const n of [1, 2]) endpointOf(table, n).inFlight = 2;
      expect(chosen(table, wishes('', 'vram_gb>=24')).split(' ').length).toBeGreaterThan(1);
    });

    test('explain says of each candidate what it lacks', () => {
      const balancer = new Balancer('adaptive', { ttlMs: 60_000 });
      const asked = asking(seeded(1), wishes('vram_gb>=24'));
      const { candidates, chosen: best } = balancer.explain(fleet().offering(SERVICE), asked);
      expect(best).toBe('worker-3');
      expect(candidates.map(({ why_not, because }) => [why_not, because])).toStrictEqual([
        ['unmet', 'does not meet vram_gb>=24 (not told)'],
        ['unmet', 'does not meet vram_gb>=24 (it has 16)'],
        [null, null],
      ]);
    });
  });
});
