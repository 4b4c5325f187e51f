/** How many the prober asks at once, whom first, and for how long. */
import { describe, expect, test } from '@jest/globals';
import type { Peer } from '../../sidecar/core/peers/peer.ts';
import { probedPeers } from '../support/meshes/probed-peers.ts';
import { expectNamed } from '../support/runner/expectations.ts';

type Stage = ReturnType<typeof probedPeers>;

/** All of them. */
function all({ table }: Stage): Peer[] {
  return [...table.all()];
}

function hear(stage: Stage, ...numbers: number[]): void {
  for (const n of numbers) stage.table.markAlive(stage.peer(n)?.key ?? '', stage.clock.monotonicMs());
}

describe('a round of the prober', () => {
  test('ten peers are few and asked each 2 s, eleven are many and asked each 5 s', async () => {
    for (const [count, intervalMs] of [
      [10, 2_000],
      [11, 5_000],
    ] as const) {
      const { clock, asked, prober } = probedPeers(count);
      prober.start();
      await clock.advance(intervalMs - 1);
      expectNamed(asked, `${count} peers`).toHaveLength(0);
      await clock.advance(1);
      expectNamed(asked, `${count} peers`).toHaveLength(count);
    }
  });

  test('who was heard within half of the interval is not asked', async () => {
    const stage = probedPeers(2);
    stage.prober.start();
    await stage.clock.advance(1_000);
    hear(stage, 0);
    await stage.clock.advance(1);
    hear(stage, 1);
    await stage.clock.advance(999);
    expect(stage.asked).toStrictEqual(['w0 vpn']);
  });

  test('two routes in reserve are asked, the others in later rounds', async () => {
    const { clock, asked, prober } = probedPeers(5, true);
    const tunnels = () => asked.filter((name) => name.endsWith('tunnel')).length;
    prober.start();
    await clock.advance(0);
    for (const soFar of [2, 4, 5, 5]) {
      expect(tunnels()).toBe(soFar);
      await clock.advance(2_000);
    }
  });

  test('32 routes that are down are asked, no more', async () => {
    const stage = probedPeers(40);
    const { clock, asked, prober } = stage;
    for (const { routes } of all(stage)) routes[0]?.health.failed(clock.monotonicMs());
    prober.start();
    await clock.advance(4_900);
    hear(stage, ...Array.from({ length: 40 }, (_, n) => n));
    expect(asked).toHaveLength(0);
    await clock.advance(100);
    expect(asked).toHaveLength(32);
  });

  test('32 peers that are warming are asked at once, in each of the ways', async () => {
    const stage = probedPeers(41);
    const { clock, asked, prober, say } = stage;
    say({ epoch: 0, state: 'warming' });
    for (const peer of all(stage).slice(1)) peer.reportState('warming', 8, clock.monotonicMs());
    prober.start();
    await clock.advance(999);
    expect(asked).toHaveLength(0);
    await clock.advance(1);
    expect(asked).toHaveLength(32);
    asked.length = 0;
    await prober.askWarming('llm-inference');
    expect(asked).toHaveLength(32);
    expectNamed(asked.includes('w0 vpn'), 'one that is ready').toBe(false);
  });

  test('a request that has nobody asks those that are warming alone', async () => {
    const stage = probedPeers(3);
    const { clock, asked, prober, peer } = stage;
    peer(0)?.reportState('warming', 8, clock.monotonicMs());
    peer(1)?.reportState('draining', 8, clock.monotonicMs());
    await prober.askWarming('llm-inference');
    expect(asked).toStrictEqual(['w0 vpn']);
  });

  test('a route that failed a moment ago is not asked while the peer has another', async () => {
    const { clock, asked, prober, peer } = probedPeers(1, true);
    prober.start();
    await clock.advance(1_900);
    expect(asked).toStrictEqual(['w0 tunnel']);
    asked.length = 0;
    const one = peer(0) as Peer;
    one.heardAtMs = clock.monotonicMs() - 1_900;
    one.routes[0]?.health.failed(clock.monotonicMs());
    await clock.advance(100);
    expect(asked).toStrictEqual(['w0 tunnel']);
  });
});

describe('a peer that falls silent', () => {
  /** `w0` misses a probe a millisecond later; the others were heard in the order 3, 1, 5, 2, 4. */
  async function aboutToMiss(): Promise<Stage> {
    const stage = probedPeers(6);
    // No silence of the VPN, which would put all others in doubt.
    stage.refusing.add('w0 vpn');
    stage.prober.start();
    await stage.clock.advance(1_500);
    for (const n of [3, 1, 5, 2, 4]) {
      await stage.clock.advance(1);
      hear(stage, n);
    }
    await stage.clock.advance(494);
    expect(stage.asked).toHaveLength(0);
    return stage;
  }

  test('has the three that were heard last for witnesses, asked at once', async () => {
    const { clock, asked, peer } = await aboutToMiss();
    await clock.advance(1);
    expect(peer(0)?.presence).toBe('suspect');
    expect(asked).toStrictEqual(['w0 vpn', 'w4 vpn', 'w2 vpn', 'w5 vpn']);
  });

  test('has no suspect for a witness', async () => {
    const { clock, table, asked, peer } = await aboutToMiss();
    table.probeFailed(peer(4)?.key ?? '', clock.monotonicMs());
    await clock.advance(1);
    expect(asked).toStrictEqual(['w0 vpn', 'w2 vpn', 'w5 vpn', 'w1 vpn']);
  });

  test('needs no witness when another one was heard in the meantime', async () => {
    const stage = probedPeers(2);
    const { clock, table, asked, dead, prober, peer } = stage;
    dead.add('w0 vpn');
    prober.start();
    await clock.advance(10);
    table.probeFailed(peer(0)?.key ?? '', clock.monotonicMs());
    while (asked.length === 0) await clock.advance(50);
    await clock.advance(900);
    hear(stage, 1);
    peer(1)?.routes[0]?.health.succeeded(clock.monotonicMs());
    await clock.advance(150);
    expect([peer(0)?.presence, asked]).toStrictEqual(['suspect', ['w0 vpn']]);
  });

  test('and leaves before its second try is not asked', async () => {
    const { clock, table, asked, prober, peer } = probedPeers(1);
    const { key, epoch } = peer(0) as Peer;
    prober.start();
    table.probeFailed(key, clock.monotonicMs());
    await clock.advance(400);
    table.depart(key, epoch, clock.monotonicMs());
    await clock.advance(20_000);
    expect(asked).toHaveLength(0);
  });
});

describe('a peer that is gone', () => {
  async function gone(): Promise<Stage> {
    const stage = probedPeers(2);
    stage.dead.add('w0 vpn');
    stage.prober.start();
    while (stage.peer(0) !== undefined) await stage.clock.advance(100);
    stage.asked.length = 0;
    return stage;
  }

  test('is not sought for ever', async () => {
    const { clock, asked } = await gone();
    const sought = () => asked.filter((name) => name === 'w0 vpn').length;
    await clock.advance(200_000);
    const before = sought();
    expect(before).toBeGreaterThanOrEqual(10);
    await clock.advance(300_000);
    expect(sought()).toBe(before);
  });

  test('and was brought back by others is not fetched', async () => {
    const stage = await gone();
    const { clock, table, dead, refetched, peer } = stage;
    dead.clear();
    const { record } = peer(1) as Peer;
    const back = { ...record, public_key: '1'.padStart(64, '0'), worker_id: 'w0', inbound_port: 8_000 };
    table.apply(back, 'probe', clock.monotonicMs());
    await clock.advance(200_000);
    expect(peer(0)?.presence).toBe('live');
    expect(refetched).toStrictEqual([]);
  });
});
