/** Choices: whatever peers report, every score is finite, somebody usable is chosen, and nobody free starves. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Balancer, POLICY_NAMES, type PolicyName } from '../../sidecar/core/balancing/balancer.ts';
import type { Choice } from '../../sidecar/core/balancing/choice.ts';
import type { Endpoint } from '../../sidecar/core/peers/peer.ts';
import type { PeerTable } from '../../sidecar/core/peers/peer-table.ts';
import { ServiceTime } from '../../sidecar/core/worker/service-time.ts';
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
import { expectNamed, fail } from '../support/runner/expectations.ts';

const NOW_MS = 100_000;

const wild = fc.oneof(
  fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -1, 0, -0, 1e308, 5e-324),
  fc.double(),
  fc.nat(100),
);
type Figures = Pick<
  Endpoint,
  | 'load'
  | 'inFlight'
  | 'queued'
  | 'concurrency'
  | 'serviceMs'
  | 'mineReported'
  | 'activeCallers'
  | 'reportedAtMs'
  | 'outstanding'
  | 'failureRate'
  | 'failureAtMs'
>;
const wildFigures: fc.Arbitrary<Figures> = fc.record({
  load: wild,
  inFlight: wild,
  queued: wild,
  concurrency: wild,
  serviceMs: wild,
  mineReported: wild,
  activeCallers: wild,
  reportedAtMs: wild,
  outstanding: wild,
  failureRate: wild,
  failureAtMs: wild,
});

function tableWith(all: readonly Figures[]): PeerTable {
  const table = tableOf(all.map((_, i) => recordOf(i)));
  for (const [i, each] of all.entries()) Object.assign(endpointOf(table, i), each);
  return table;
}

const policy = fc.constantFrom<PolicyName>(...POLICY_NAMES);
const affinity = fc.option(fc.string());

describe('choosing among peers that report anything', () => {
  test('scores are finite and somebody is chosen, whatever was reported', () => {
    fc.assert(
      fc.property(
        fc.array(wildFigures, { minLength: 1, maxLength: 8 }),
        policy,
        affinity,
        fc.oneof(fc.constant(NOW_MS), wild),
        fc.nat(),
        (all, name, affinityKey, nowMs, seed) => {
          const table = tableWith(all);
          const balancer = new Balancer(name, { ttlMs: 60_000 });
          const request = asking(seeded(seed), { affinityKey, nowMs });
          const choice = balancer.choose(table.offering(SERVICE), request);
          expect(choice.kind).toBe('chosen');
          if (choice.kind === 'chosen' && choice.expectedQueue !== null) {
            expect(Number.isSafeInteger(choice.expectedQueue)).toBe(true);
            expect(choice.expectedQueue).toBeGreaterThanOrEqual(0);
          }
          for (const { score } of balancer.explain(table.offering(SERVICE), request).candidates) {
            for (const value of Object.values(score ?? {})) {
              expectNamed(typeof value === 'boolean' || Number.isFinite(value), JSON.stringify(score)).toBe(
                true,
              );
            }
          }
        },
      ),
      { numRuns: 1_000 },
    );
  });

  test('with any mix of states the chosen one is ready, or else leaving, untried and has a route; a refusal means there is none', () => {
    const situation = fc.record({
      state: fc.constantFrom('ready' as const, 'warming' as const, 'draining' as const),
      isSuspect: fc.boolean(),
      ejectedAtMs: fc.option(fc.integer({ min: 0, max: 60_000 })),
      isTried: fc.boolean(),
      routeFailedAtMs: fc.option(fc.integer({ min: 0, max: 60_000 })),
      hasVpn: fc.boolean(),
      hasTunnel: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(situation, { maxLength: 12 }), policy, fc.nat(), (all, name, seed) => {
        const table = tableOf(
          all.map((each, i) =>
            recordOf(i, {
              state: each.state,
              ...(each.hasVpn ? {} : { vpn_ip: null, inbound_port: null }),
              tunnel_url: each.hasTunnel ? `https://w${i}.example` : null,
            }),
          ),
        );
        const excluded = new Set<string>();
        for (const [i, each] of all.entries()) {
          const peer = peerOf(table, i);
          if (each.isSuspect) peer.presence = 'suspect';
          if (each.isTried) excluded.add(keyOf(i));
          for (let n = 0; n < 5 && each.ejectedAtMs !== null; n += 1) healthOf(peer).failed(each.ejectedAtMs);
          if (each.routeFailedAtMs !== null) peer.routes[0]?.health.failed(each.routeFailedAtMs);
        }
        const request = asking(seeded(seed), { excluded, nowMs: 60_000 });
        const choice: Choice = new Balancer(name, { ttlMs: 60_000 }).choose(table.offering(SERVICE), request);
        const usable = all.filter(
          (each) => each.state === 'ready' && !each.isTried && (each.hasVpn || each.hasTunnel),
        );
        if (choice.kind === 'refused') {
          expect(usable).toHaveLength(0);
          return;
        }
        const { peer, routes } = choice;
        expect(excluded.has(peer.key)).toBe(false);
        expect(routes.length).toBeGreaterThan(0);
        expect(peer.state).toBe(usable.length > 0 ? 'ready' : 'draining');
        const sound = usable.filter(
          (each) => !each.isSuspect && each.ejectedAtMs === null && each.routeFailedAtMs === null,
        );
        if (sound.length > 0) expectNamed(peer.presence, 'a sound one was there').toBe('live');
      }),
      { numRuns: 1_000 },
    );
  });

  test('adaptive: among equally fast peers with free slots nobody starves, at any static loads', () => {
    const loads = fc.array(fc.double({ min: 0, max: 0.9, noNaN: true }), { minLength: 2, maxLength: 8 });
    fc.assert(
      fc.property(loads, fc.nat(), (all, seed) => {
        const table = tableOf(
          all.map((load, i) => recordOf(i, { load, figures: figures({ service_ms: 100 }) })),
        );
        const balancer = new Balancer('adaptive', { ttlMs: 60_000 });
        const request = asking(seeded(seed));
        const waiting = new Set(all.map((_, i) => keyOf(i)));
        for (let i = 0; i < 20_000 && waiting.size > 0; i += 1) {
          const choice = balancer.choose(table.offering(SERVICE), request);
          if (choice.kind === 'chosen') waiting.delete(choice.peer.key);
        }
        expect(waiting.size).toBe(0);
      }),
      { numRuns: 30 },
    );
  });

  test('adaptive: at a light load no free worker is forgotten, however much slower than the others it is', () => {
    const MINUTE_MS = 60_000;
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 900 }), { minLength: 2, maxLength: 6 }),
        fc.nat(),
        (all, seed) => {
          const table = tableOf(all.map((_, i) => recordOf(i)));
          const balancer = new Balancer('adaptive', { ttlMs: MINUTE_MS });
          const times = new Map(all.map((_, i) => [keyOf(i), new ServiceTime()]));
          const lastMs = new Map(all.map((_, i) => [keyOf(i), 0]));
          const random = seeded(seed);
          for (let nowMs = 0; nowMs < 90 * MINUTE_MS; nowMs += 1_000) {
            // Each tells its state, as probes and responses do; its service time as long as it knows it.
            for (const [i] of all.entries()) {
              const serviceMs = times.get(keyOf(i))?.valueAt(nowMs, false) ?? Number.NaN;
              Object.assign(endpointOf(table, i), {
                reportedAtMs: nowMs,
                concurrency: 4,
                load: 0,
                serviceMs,
              });
            }
            const choice = balancer.choose(table.offering(SERVICE), asking(random, { nowMs }));
            if (choice.kind !== 'chosen') return fail(choice.code);
            const { key } = choice.peer;
            const takenMs = all.find((_, i) => keyOf(i) === key) as number;
            times.get(key)?.add(takenMs, nowMs + takenMs);
            lastMs.set(key, nowMs);
          }
          for (const [key, atMs] of lastMs)
            expectNamed(atMs, `${key} last at ${atMs} of ${all.join()}`).toBeGreaterThan(60 * MINUTE_MS);
        },
      ),
      { numRuns: 30 },
    );
  });

  test('adaptive: a peer of which nothing is known is tried, whatever the others are', () => {
    const other = fc.record({
      load: fc.double({ min: 0, max: 0.9, noNaN: true }),
      serviceMs: fc.integer({ min: 1, max: 100_000 }),
    });
    fc.assert(
      fc.property(
        fc.array(other, { minLength: 1, maxLength: 8 }),
        fc.nat(),
        fc.boolean(),
        (all, seed, isSilent) => {
          const table = tableOf([
            recordOf(99),
            ...all.map(({ load, serviceMs }, i) =>
              recordOf(i, { load, figures: figures({ service_ms: serviceMs }) }),
            ),
          ]);
          // Never heard of at all, or new and without any request so far.
          if (isSilent) {
            Object.assign(endpointOf(table, 99), {
              reportedAtMs: Number.NEGATIVE_INFINITY,
              load: Number.NaN,
            });
          }
          const balancer = new Balancer('adaptive', { ttlMs: 60_000 });
          const request = asking(seeded(seed));
          let tries = 0;
          for (; tries < 20_000; tries += 1) {
            const choice = balancer.choose(table.offering(SERVICE), request);
            if (choice.kind === 'chosen' && choice.peer.key === keyOf(99)) break;
          }
          expect(tries).toBeLessThan(20_000);
        },
      ),
      { numRuns: 50 },
    );
  });
});
