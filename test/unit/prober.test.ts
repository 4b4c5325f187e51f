/** The prober on a clock that stands still: whom it asks, when, and what silence means. */
import { describe, expect, test } from '@jest/globals';
import { silentLog } from '../../sidecar/core/log.ts';
import type { Peer } from '../../sidecar/core/peers/peer.ts';
import type { Route } from '../../sidecar/core/peers/route.ts';
import { Prober } from '../../sidecar/mesh/discovery/prober.ts';
import { member, recordOf } from '../support/meshes/members.ts';
import { healthOf } from '../support/meshes/peers.ts';
import { probedPeers } from '../support/meshes/probed-peers.ts';
import { expectNamed } from '../support/runner/expectations.ts';

const SERVICE = 'llm-inference';
const IDENTITY = member('template');

describe('the prober', () => {
  test('silent peers are asked each 2 s, and what they say is taken over', async () => {
    const { clock, asked, prober, peer } = probedPeers(3);
    prober.start();
    await clock.advance(10_000);
    expectNamed(asked.length, `${asked.length} probes of 3 peers in 10 s`).toBeGreaterThanOrEqual(12);
    expectNamed(asked.length, `${asked.length} probes of 3 peers in 10 s`).toBeLessThanOrEqual(15);
    const endpoint = peer(0)?.endpoint(SERVICE);
    expect([endpoint?.inFlight, endpoint?.activeCallers, endpoint?.reportSource]).toStrictEqual([
      2,
      2,
      'probe',
    ]);
  });

  test('one whose record has changed is asked for it within a round, and not once the record is in', async () => {
    const { clock, table, refetched, prober, peer, say } = probedPeers(1);
    prober.start();
    await clock.advance(4_000);
    expect(refetched).toStrictEqual([]);
    say({ epoch: 0, state: 'ready', revision: 1 });
    await clock.advance(2_400);
    expect(refetched).toStrictEqual(['w0']);
    const record = peer(0)?.record;
    if (record !== undefined)
      table.apply({ ...record, seq: record.seq + 1, revision: 1 }, 'probe', clock.monotonicMs());
    await clock.advance(10_000);
    expect(refetched).toHaveLength(1);
  });

  test('who was heard by a response is left alone, and so are services that nobody uses', async () => {
    const { clock, table, asked, inUse, prober, peer } = probedPeers(1);
    prober.start();
    for (let half = 0; half < 8; half += 1) {
      await clock.advance(500);
      table.markAlive(peer(0)?.key ?? '', clock.monotonicMs());
    }
    expect(asked).toHaveLength(0);
    inUse.clear();
    await clock.advance(20_000);
    expect(asked).toHaveLength(0);
  });

  test('of many peers the 32 longest silent are asked per round, and in the next the others', async () => {
    const { clock, table, asked, prober, peer } = probedPeers(60);
    const names = Array.from({ length: 60 }, (_, n) => `w${n} vpn`);
    prober.start();
    await clock.advance(2_000);
    for (let n = 0; n < 28; n += 1) table.markAlive(peer(n)?.key ?? '', clock.monotonicMs());
    await clock.advance(2_900);
    expect(asked).toStrictEqual([]);
    await clock.advance(200);
    expect(new Set(asked)).toStrictEqual(new Set(names.slice(28)));
    expect(asked).toHaveLength(32);
    await clock.advance(5_000);
    expectNamed(new Set(asked.slice(32, 60)), 'those that were left out').toStrictEqual(
      new Set(names.slice(0, 28)),
    );
    expect(asked).toHaveLength(64);
  });

  test('no response: suspect, asked again half a second later, then gone', async () => {
    const { clock, table, asked, dead, prober, peer } = probedPeers(2);
    dead.add('w0 vpn');
    prober.start();
    while (peer(0)?.presence !== 'suspect') await clock.advance(100);
    const suspectAtMs = clock.monotonicMs();
    while (peer(0) !== undefined) await clock.advance(100);
    expect(clock.monotonicMs() - suspectAtMs).toBeLessThanOrEqual(1_700);
    expect(asked.filter((name) => name === 'w0 vpn')).toHaveLength(2);
    expect(table.offering(SERVICE)).toHaveLength(1);
    expect(peer(1)?.presence).toBe('live');
  });

  test('a suspect that answers the second time is live again', async () => {
    const { clock, dead, prober, peer } = probedPeers(1);
    dead.add('w0 vpn');
    prober.start();
    while (peer(0)?.presence !== 'suspect') await clock.advance(100);
    dead.clear();
    await clock.advance(1_000);
    expect(peer(0)?.presence).toBe('live');
  });

  test('one that a request has found dead is asked within half a second', async () => {
    const { clock, table, asked, prober, peer } = probedPeers(1);
    prober.start();
    await clock.advance(100);
    table.probeFailed(peer(0)?.key ?? '', clock.monotonicMs());
    await clock.advance(800);
    expect(asked).toStrictEqual(['w0 vpn']);
    expect(peer(0)?.presence).toBe('live');
  });

  test('a dead VPN route costs the route and not the peer, and is found up again', async () => {
    const { clock, dead, prober, peer } = probedPeers(1, true);
    dead.add('w0 vpn');
    prober.start();
    await clock.advance(6_000);
    expect(peer(0)?.presence).toBe('live');
    expect(peer(0)?.routes.map((route) => route.health.isUp)).toStrictEqual([false, true]);
    dead.clear();
    await clock.advance(10_000);
    expect(peer(0)?.routes.map((route) => route.health.isUp)).toStrictEqual([true, true]);
  });

  test('when all fall silent together it is our own network: nobody is gone, nobody barred', async () => {
    const { clock, table, dead, prober, peer } = probedPeers(3);
    prober.start();
    await clock.advance(3_000);
    for (const n of [0, 1, 2]) dead.add(`w${n} vpn`);
    await clock.advance(20_000);
    expect([0, 1, 2].map((n) => peer(n)?.presence)).toStrictEqual(['suspect', 'suspect', 'suspect']);
    dead.clear();
    await clock.advance(2_000);
    expect([0, 1, 2].map((n) => peer(n)?.presence)).toStrictEqual(['live', 'live', 'live']);
    expect(table.size).toBe(3);
  });

  test('of those silent together the one that stays so is gone once another is heard', async () => {
    const { clock, dead, prober, peer } = probedPeers(2);
    prober.start();
    await clock.advance(3_000);
    dead.add('w0 vpn').add('w1 vpn');
    await clock.advance(10_000);
    dead.delete('w1 vpn');
    await clock.advance(4_000);
    expect([peer(0)?.presence, peer(1)?.presence]).toStrictEqual([undefined, 'live']);
  });

  test('a peer is refused by one route and silent by another: without a witness it is not gone', async () => {
    for (const [refused, silent] of [
      ['vpn', 'tunnel'],
      ['tunnel', 'vpn'],
    ]) {
      const { clock, dead, refusing, prober, peer } = probedPeers(1, true);
      refusing.add(`w0 ${refused}`);
      dead.add(`w0 ${silent}`);
      prober.start();
      await clock.advance(20_000);
      expectNamed(peer(0)?.presence, `refused by ${refused}`).toBe('suspect');
    }
  });

  test('a peer whose host says that nobody listens there, by each route, is gone without a witness', async () => {
    for (const hasTunnel of [false, true]) {
      const { clock, refusing, prober, peer } = probedPeers(1, hasTunnel);
      refusing.add('w0 vpn').add('w0 tunnel');
      prober.start();
      await clock.advance(6_000);
      expect(peer(0)).toBe(undefined);
    }
  });

  test('a peer that was heard by a response while its probe was lost has not missed', async () => {
    const { clock, table, asked, dead, prober, peer } = probedPeers(1);
    dead.add('w0 vpn');
    prober.start();
    while (asked.length === 0) await clock.advance(100);
    await clock.advance(500);
    table.markAlive(peer(0)?.key ?? '', clock.monotonicMs());
    await clock.advance(600);
    expect(peer(0)?.presence).toBe('live');
  });

  test('a peer without a route is not held to be silent', async () => {
    const { clock, table, asked, prober } = probedPeers(0);
    const nowhere = recordOf(IDENTITY, { vpn_ip: null, inbound_port: null, tunnel_url: null });
    table.apply(nowhere, 'record', clock.monotonicMs());
    prober.start();
    await clock.advance(20_000);
    expect(asked).toHaveLength(0);
    expect(table.get(nowhere.public_key)?.presence).toBe('live');
  });

  test('a suspect that stays silent is asked half a second after each time-out, never twice at once', async () => {
    const { clock, asked, dead, prober, peer } = probedPeers(1);
    dead.add('w0 vpn');
    prober.start();
    while (peer(0)?.presence !== 'suspect') await clock.advance(50);
    const missedMs = clock.monotonicMs();
    const atMs: number[] = [];
    while (atMs.length < 4) {
      const before = asked.length;
      await clock.advance(50);
      for (let n = before; n < asked.length; n += 1) atMs.push(clock.monotonicMs() - missedMs);
    }
    expect(atMs).toStrictEqual([500, 2_000, 3_500, 5_000]);
  });

  test('a suspect that has answered is left alone until its next round', async () => {
    const { clock, table, asked, prober, peer } = probedPeers(1);
    prober.start();
    await clock.advance(100);
    table.probeFailed(peer(0)?.key ?? '', clock.monotonicMs());
    while (asked.length === 0) await clock.advance(50);
    const answeredMs = clock.monotonicMs();
    while (asked.length === 1) await clock.advance(50);
    expect(clock.monotonicMs() - answeredMs).toBeGreaterThanOrEqual(1_000);
  });

  test('one that is gone is sought, less and less often, and fetched when it answers', async () => {
    const { clock, asked, dead, prober, peer, refetched } = probedPeers(2);
    dead.add('w0 vpn');
    prober.start();
    while (peer(0) !== undefined) await clock.advance(100);
    const before = asked.filter((name) => name === 'w0 vpn').length;
    await clock.advance(20_000);
    const sought = asked.filter((name) => name === 'w0 vpn').length - before;
    expectNamed(sought, `sought ${sought} times in 20 s`).toBeGreaterThanOrEqual(4);
    expectNamed(sought, `sought ${sought} times in 20 s`).toBeLessThanOrEqual(7);
    expect(refetched).toStrictEqual([]);
    dead.clear();
    await clock.advance(15_000);
    expect(refetched).toStrictEqual(['w0']);
    await clock.advance(60_000);
    expectNamed(refetched, 'once').toStrictEqual(['w0']);
  });

  test('one silent VPN address puts the others in doubt at once', async () => {
    const { clock, asked, dead, prober, peer } = probedPeers(3, true);
    for (const n of [0, 1, 2]) dead.add(`w${n} vpn`);
    const [first] = [0, 1, 2].map((n) => peer(n) as Peer);
    const answers = prober.responds(first as Peer, (first as Peer).routes[0] as Route);
    await clock.advance(1_000);
    expect(await answers).toBe(false);
    expect(asked).toStrictEqual(['w0 vpn', 'w1 vpn', 'w2 vpn']);
    await clock.advance(1_000);
    for (const n of [0, 1, 2]) {
      expect(peer(n)?.routes.map((route) => route.health.isUp)).toStrictEqual([false, true]);
    }
  });

  test('who asks about a route while that is under way shares the response', async () => {
    const { clock, asked, prober, peer } = probedPeers(1);
    const one = peer(0) as Peer;
    const both = [1, 2].map(() => prober.responds(one, one.routes[0] as Route));
    await clock.advance(10);
    expect(await Promise.all(both)).toStrictEqual([true, true]);
    expect(asked).toHaveLength(1);
  });

  test('a peer that answers requests while a probe is lost in its queue is slow, not cut off', async () => {
    const { clock, dead, prober, peer } = probedPeers(1);
    dead.add('w0 vpn');
    const one = peer(0) as Peer;
    const answers = prober.responds(one, one.routes[0] as Route);
    await clock.advance(500);
    one.routes[0]?.health.succeeded(clock.monotonicMs());
    await clock.advance(500);
    expect(await answers).toBe(false);
    expect(one.routes[0]?.health.isUp).toBe(true);
  });

  test('a tunnel in reserve is asked now and then, and an unmeasured one is given time', async () => {
    const { clock, asked, dead, prober, peer } = probedPeers(2, true);
    dead.add('w1 tunnel');
    prober.start();
    await clock.advance(2_500);
    expect(asked.filter((name) => name.endsWith('tunnel'))).toHaveLength(2);
    expectNamed(peer(1)?.routes[1]?.health.isUp, 'not given up before 3 s').toBe(true);
    await clock.advance(1_000);
    expect([0, 1].map((n) => peer(n)?.routes[1]?.health.isUp)).toStrictEqual([true, false]);
    const before = asked.filter((name) => name === 'w0 tunnel').length;
    await clock.advance(60_000);
    expect(asked.filter((name) => name === 'w0 tunnel').length - before).toBe(2);
  });

  test('a peer that is warming is asked each second, and is sound when it is ready', async () => {
    const { clock, asked, prober, peer, say } = probedPeers(1);
    say({ epoch: 0, state: 'warming' });
    prober.start();
    await clock.advance(3_000);
    expect(peer(0)?.state).toBe('warming');
    for (let i = 0; i < 5; i += 1) healthOf(peer(0) as Peer).failed(clock.monotonicMs());
    const before = asked.length;
    await clock.advance(5_000);
    expectNamed(asked.length - before, `${asked.length - before} times in 5 s`).toBeGreaterThanOrEqual(4);
    say({ epoch: 0, state: 'ready' });
    await clock.advance(1_500);
    expect([peer(0)?.state, healthOf(peer(0) as Peer).isEjected(clock.monotonicMs())]).toStrictEqual([
      'ready',
      false,
    ]);
  });

  test('a peer that has started anew is asked for its record', async () => {
    const { clock, refetched, prober, peer, say } = probedPeers(1);
    prober.start();
    say({ epoch: (peer(0)?.epoch ?? 0) + 1, state: 'ready' });
    await clock.advance(5_000);
    expect([...new Set(refetched)]).toStrictEqual(['w0']);
  });

  test('garbage as a response harms nobody', async () => {
    const { clock, table, peer } = probedPeers(1);
    const prober = new Prober({
      table,
      cache: { inUse: () => [SERVICE] },
      ask: async () => Buffer.from([0xff, 0x00, 0x7b]),
      refetch: async () => {},
      fewIntervalMs: 2_000,
      manyIntervalMs: 5_000,
      timeoutMs: 1_000,
      tunnelTimeoutMs: 3_000,
      clock,
      random: () => 0.5,
      log: silentLog,
    });
    prober.start();
    await clock.advance(10_000);
    expect(peer(0)?.presence).toBe('live');
    prober.stop();
  });

  test('after stop nothing is asked or judged, and no timer is left', async () => {
    const { clock, asked, dead, prober, peer } = probedPeers(2);
    dead.add('w0 vpn');
    prober.start();
    while (asked.length === 0) await clock.advance(100);
    const before = asked.length;
    prober.stop();
    await clock.advance(20_000);
    expect(asked).toHaveLength(before);
    expect(peer(0)?.presence).toBe('live');
    expect(clock.pending).toBe(0);
  });
});
