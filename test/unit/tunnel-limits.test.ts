/** Requests that a tunnel cannot carry: which way they go, and that the decision says why. */
import { describe, expect, test } from '@jest/globals';
import { Balancer } from '../../sidecar/core/balancing/balancer.ts';
import type { Route } from '../../sidecar/core/peers/route.ts';
import { Ttfb } from '../../sidecar/core/peers/ttfb.ts';
import { tunnelUnfit } from '../../sidecar/core/peers/tunnel-limits.ts';
import { asking, peerOf, recordOf, SERVICE, tableOf } from '../support/meshes/peers.ts';
import { mustHold } from '../support/runner/expectations.ts';

const LIMITS = { maxBodyBytes: 100, firstByteMs: 1_000 };
const SMALL = { isGrpc: false, bodyBytes: 0, firstByteMs: Number.NaN };

describe('a request that a tunnel cannot carry', () => {
  test('gRPC, long bodies and late responses are not for a tunnel; what is unknown may try', () => {
    expect(tunnelUnfit(SMALL, LIMITS)).toBe(null);
    expect(tunnelUnfit({ ...SMALL, bodyBytes: null }, LIMITS)).toBe(null);
    expect(tunnelUnfit({ ...SMALL, bodyBytes: 100, firstByteMs: 999 }, LIMITS)).toBe(null);
    expect(tunnelUnfit({ ...SMALL, isGrpc: true, bodyBytes: 999 }, LIMITS)).toBe('grpc');
    expect(tunnelUnfit({ ...SMALL, bodyBytes: 101 }, LIMITS)).toBe('body_too_large');
    expect(tunnelUnfit({ ...SMALL, firstByteMs: 1_000 }, LIMITS)).toBe('too_slow');
  });

  test('the worst first byte counts, and is forgotten in time', () => {
    const times = new Ttfb();
    expect(times.expectedMs('s', 0)).toBeNaN();
    times.took('s', 120_000, 0);
    times.took('s', 50, 1_000);
    times.took('s', Number.NaN, 1_000);
    expect(times.expectedMs('s', 1_000)).toBeGreaterThan(119_000);
    expect(times.expectedMs('s', 900_000)).toBeLessThan(10_000);
    times.took('s', 80_000, 900_000);
    expect(times.expectedMs('s', 900_000)).toBe(80_000);
    expect(times.expectedMs('t', 0)).toBeNaN();
    times.cutAt('t', 100_000, 0);
    expect(times.expectedMs('t', 180_000)).toBeGreaterThan(100_000);
    expect(times.expectedMs('t', 240_000)).toBeLessThan(100_000);
  });

  test('a first byte whose time is not known is none, also the first one', () => {
    const times = new Ttfb();
    for (const unknown of [Number.NaN, Number.POSITIVE_INFINITY]) times.took('s', unknown, 0);
    expect(times.expectedMs('s', 0)).toBeNaN();
    times.took('s', 50, 1);
    expect(times.expectedMs('s', 1)).toBe(50);
  });

  const URL = 'https://t.example/base';

  /** 0 by both ways, 1 by tunnel alone, 2 by VPN alone and the most loaded. */
  function threeWays() {
    return tableOf([
      recordOf(0, { tunnel_url: URL, load: 0.2 }),
      recordOf(1, { tunnel_url: URL, vpn_ip: null, inbound_port: null, load: 0 }),
      recordOf(2, { load: 0.9 }),
    ]);
  }

  function kinds(routes: readonly Route[]): string[] {
    return routes.map(({ kind }) => kind);
  }

  test('a request that a tunnel cannot carry goes to a peer with another way, however loaded', () => {
    const table = threeWays();
    const balancer = new Balancer('least-load', { ttlMs: 60_000 });
    const peers = table.offering(SERVICE);
    const plain = balancer.choose(
      peers,
      asking(() => 0),
    );
    expect(plain.kind === 'chosen' && plain.peer.record.worker_id).toBe('worker-1');
    for (const unfit of ['grpc', 'body_too_large', 'too_slow'] as const) {
      const choice = balancer.choose(
        peers,
        asking(() => 0, { tunnelUnfit: unfit }),
      );
      mustHold(choice.kind === 'chosen');
      expect(choice.peer.record.worker_id).toBe('worker-0');
      expect(kinds(choice.routes)).toStrictEqual(['vpn']);
      // Figures may be wrong: then the tunnel is better than no response. gRPC by a tunnel is none.
      expect(kinds(choice.spare)).toStrictEqual(unfit === 'grpc' ? [] : ['tunnel']);
      const excluded = new Set([choice.peer.key]);
      const next = balancer.choose(
        peers,
        asking(() => 0, { tunnelUnfit: unfit, excluded }),
      );
      expect(next.kind === 'chosen' && next.peer.record.worker_id).toBe('worker-2');
    }
  });

  test('without another way the tunnel is tried', () => {
    const table = threeWays();
    const balancer = new Balancer('adaptive', { ttlMs: 60_000 });
    const excluded = new Set([peerOf(table, 0).key, peerOf(table, 2).key]);
    const choice = balancer.choose(
      table.offering(SERVICE),
      asking(() => 0, { tunnelUnfit: 'body_too_large', excluded }),
    );
    mustHold(choice.kind === 'chosen');
    expect([choice.peer.record.worker_id, kinds(choice.routes)]).toStrictEqual(['worker-1', ['tunnel']]);
  });

  test('a VPN that is down is no other way', () => {
    const table = threeWays();
    const balancer = new Balancer('least-load', { ttlMs: 60_000 });
    peerOf(table, 0).routes[0]?.health.failed(0);
    const choice = balancer.choose(
      table.offering(SERVICE),
      asking(() => 0, { tunnelUnfit: 'too_slow' }),
    );
    expect(choice.kind === 'chosen' && choice.peer.record.worker_id).toBe('worker-2');
  });

  test('the decision says why', () => {
    const table = threeWays();
    const balancer = new Balancer('least-load', { ttlMs: 60_000 });
    const { explanation } = balancer.decide(
      table.offering(SERVICE),
      asking(() => 0, { tunnelUnfit: 'body_too_large' }),
    );
    const said = explanation.candidates.map(({ worker_id, why_not, routes }) => [
      worker_id,
      why_not,
      routes.map(({ kind, unfit }) => `${kind} ${unfit}`),
    ]);
    expect(said.slice(0, 2)).toStrictEqual([
      ['worker-0', null, ['vpn null', 'tunnel body_too_large']],
      ['worker-1', 'unfit_route', ['tunnel body_too_large']],
    ]);
  });
});
