/**
 * A real Nebula mesh, cut in the ways that real ones are: what a caller pays, and that no POST arrives twice.
 *
 * The edge that stands for Cloudflare's is a TLS proxy of our own, 50 ms away (test/support/edges/slow-edge.ts).
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect } from '@jest/globals';
import type { TimedAnswer } from '../support/host/host-sockets.ts';
import { nebulaReason } from '../support/host/nebula.ts';
import { type NebulaHost, NebulaMesh } from '../support/meshes/nebula-mesh.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { note } from '../support/runner/note.ts';
import { testUnless } from '../support/runner/test-unless.ts';

const reason = nebulaReason();

/** A path that was cut costs a request this much before it goes elsewhere. */
const CUT_COSTS_MS = 1_200;

/** VPN and tunnel of a host that is cut, one after the other: 2.2 s where nothing is late. */
const ONE_AFTER_THE_OTHER_MS = 2_200;

/** Far more than a request by tunnel takes, far less than a time-out. */
const AT_ONCE_MS = 700;

/** Kept connections were used a moment ago; and so long ago that nobody knows of the path. */
const IDLE_MS = [0, 2_500] as const;

interface Explained {
  readonly failed_attempts: readonly {
    readonly route: string;
    readonly code: string;
    readonly took_ms: number;
  }[];
}

/** How late timers of this process are at the most while it runs, in ms: so late are those of the sidecars. */
function watchLateness(): () => number {
  const lateness = monitorEventLoopDelay({ resolution: 10 });
  lateness.enable();
  return () => {
    lateness.disable();
    return lateness.max / 1e6;
  };
}

/** What the attempts of an answered request cost that failed, in ms. */
async function failedMs(app: NebulaHost, answer: TimedAnswer): Promise<number> {
  const id = String(answer.headers['sidecar-request-id']);
  const { failed_attempts } = await app.admin<Explained>(`/explain?request=${id}`);
  return failed_attempts.reduce((sum, { took_ms }) => sum + took_ms, 0);
}

function assertBy(route: string, answer: TimedAnswer): void {
  expectNamed(answer.status, answer.body).toBe(200);
  expect(answer.headers['sidecar-route']).toBe(route);
}

/** An app and two workers; `alpha` is offered by the first alone, `both` by both. */
async function twoWorkers() {
  const mesh = await NebulaMesh.up(3);
  const [app, one, two] = [mesh.host(1), mesh.host(2), mesh.host(3)];
  await Promise.all([
    app.start({}),
    one.start({ services: ['alpha', 'both'], hasTunnel: true }),
    two.start({ services: ['beta', 'both'], hasTunnel: true }),
  ]);
  for (const worker of [one, two]) await app.route(worker, 'vpn', 'up');
  for (const service of ['alpha', 'beta', 'both']) assertBy('vpn', await app.get(service, '/?id=warm'));
  return { mesh, app, one, two };
}

describe('a real Nebula mesh that is cut', () => {
  testUnless(reason)('the VPN first; cut, the tunnel; healed, the VPN again', async () => {
    const { mesh, app, one } = await twoWorkers();
    for (const idleMs of IDLE_MS) {
      await pause(idleMs);
      mesh.rig.cutVpn(one.number);
      const first = await app.get('alpha', '/?id=first');
      assertBy('tunnel', first);
      const costMs = await failedMs(app, first);
      note(`idle ${idleMs} ms: the cut cost ${costMs} ms, the request took ${first.tookMs.toFixed(0)} ms`);
      expectNamed(costMs, `the cut cost ${costMs} ms`).toBeLessThanOrEqual(CUT_COSTS_MS);
      for (let i = 0; i < 10; i++) {
        const next = await app.get('alpha', '/?id=next');
        assertBy('tunnel', next);
        expect(next.headers['sidecar-attempts']).toBe('1');
        expectNamed(next.tookMs, `a following request took ${next.tookMs} ms`).toBeLessThan(AT_ONCE_MS);
      }
      mesh.rig.heal();
      await app.route(one, 'vpn', 'up');
      assertBy('vpn', await app.get('alpha', '/?id=back'));
    }
  });

  testUnless(reason)('a POST into the cut goes by the tunnel, and reaches the worker once', async () => {
    const { mesh, app, one } = await twoWorkers();
    for (const idleMs of IDLE_MS) {
      for (let round = 0; round < 2; round++) {
        await pause(idleMs);
        mesh.rig.cutVpn(one.number);
        const ids = [0, 1, 2].map((n) => `post-${idleMs}-${round}-${n}`);
        const posted = await Promise.all(
          ids.map((id) => app.call({ method: 'POST', target: `/service/alpha/?id=${id}`, body: 'once' })),
        );
        for (const answer of posted) assertBy('tunnel', answer);
        mesh.rig.heal();
        await app.route(one, 'vpn', 'up');
        // The copy that was lost in the cut arrives now, if any does.
        assertBy('vpn', await app.get('alpha', '/?id=back'));
        await pause(500);
        for (const id of ids) expectNamed(await one.seen(id), id).toHaveLength(1);
      }
    }
  });

  testUnless(reason)(
    'a POST that the worker is at when the VPN is cut is neither lost nor sent again',
    async () => {
      const { mesh, app, one } = await twoWorkers();
      await one.worker({ mode: 'delay', ms: 4_000 });
      const answer = app.call({ method: 'POST', target: '/service/alpha/?id=slow', body: 'once' });
      while ((await one.seen('slow')).length === 0) await pause(10);
      mesh.rig.cutVpn(one.number);
      await pause(2_500);
      mesh.rig.heal();
      assertBy('vpn', await answer);
      expect(await one.seen('slow')).toHaveLength(1);
    },
  );

  testUnless(reason)(
    'a whole host is cut: the others serve, and it is used again when it is back',
    async () => {
      const { mesh, app, one, two } = await twoWorkers();
      await app.knowsTunnel(one);
      mesh.rig.cut(one.number);
      for (let i = 0; i < 20; i++) {
        const lateMs = watchLateness();
        const answer = await app.get('both', `/?id=cut-${i}`);
        assertBy('vpn', answer);
        expect(answer.headers['sidecar-worker']).toBe(two.id);
        const failed = await failedMs(app, answer);
        // The tunnel is asked while the VPN is still hoped for, so that both together do not cost twice.
        expectNamed(failed, `${failed} ms of a request were spent on the host that is cut`).toBeLessThan(
          ONE_AFTER_THE_OTHER_MS + 2 * lateMs(),
        );
      }
      mesh.rig.heal();
      const startedMs = performance.now();
      for (;;) {
        const { headers } = await app.get('both', '/?id=healed');
        if (headers['sidecar-worker'] === one.id) break;
        await pause(50);
      }
      note(`used again ${(performance.now() - startedMs).toFixed(0)} ms after the heal`);
    },
  );

  testUnless(reason)("the app's own network is cut for seconds: nobody is barred afterwards", async () => {
    const { mesh, app } = await twoWorkers();
    mesh.rig.cut(app.number);
    const waiting = Promise.all(Array.from({ length: 6 }, (_, i) => app.get('both', `/?id=own-${i}`)));
    await pause(5_000);
    mesh.rig.heal();
    const startedMs = performance.now();
    await waiting;
    const served = new Set<unknown>();
    while (served.size < 2) {
      const answer = await app.get('both', '/?id=after');
      if (answer.status === 200) served.add(answer.headers['sidecar-worker']);
      expectNamed(performance.now() - startedMs, `after 10 s only ${[...served]} serve`).toBeLessThan(10_000);
      await pause(20);
    }
    note(`both serve again ${(performance.now() - startedMs).toFixed(0)} ms after the heal`);
  });

  testUnless(reason)('with lighthouse and bootstrap node dead requests go on, by VPN', async () => {
    const { mesh, app, one, two } = await twoWorkers();
    await mesh.rig.killNebula(1);
    mesh.lighthouse.child.kill('SIGKILL');
    const endMs = performance.now() + 8_000;
    let slowestMs = 0;
    let requests = 0;
    while (performance.now() < endMs) {
      const answer = await app.get('both', '/?id=on');
      assertBy('vpn', answer);
      slowestMs = Math.max(slowestMs, answer.tookMs);
      requests += 1;
      await pause(20);
    }
    note(`${requests} requests, the slowest took ${slowestMs.toFixed(0)} ms`);
    expect((await one.seen('on')).length).toBeGreaterThan(0);
    expect((await two.seen('on')).length).toBeGreaterThan(0);
  });

  testUnless(reason)('a tunnel that is cut costs nobody anything while the VPN works', async () => {
    const { mesh, app, one } = await twoWorkers();
    mesh.rig.cutTunnel(one.number);
    for (let i = 0; i < 20; i++) {
      const answer = await app.get('alpha', '/?id=vpn');
      assertBy('vpn', answer);
      expect(answer.headers['sidecar-attempts']).toBe('1');
    }
    mesh.rig.cutVpn(one.number);
    const neither = await app.get('alpha', '/?id=neither');
    expectNamed(neither.status >= 502, neither.body).toBe(true);
    const problem = JSON.parse(neither.body) as { attempts: { route: string }[] };
    const tried = problem.attempts.map(({ route }) => route);
    expectNamed([tried.includes('vpn'), tried.includes('tunnel')], neither.body).toStrictEqual([true, true]);
  });

  testUnless(reason)('a sidecar without VPN goes by the tunnel from its first request', async () => {
    const mesh = await NebulaMesh.up(2);
    const [app, one] = [mesh.host(1), mesh.host(2)];
    await one.start({ services: ['alpha'], hasTunnel: true });
    // It reaches the DHT, as by a public address, and nothing else of the VPN.
    await app.start({ env: { SIDECAR_VPN_IP: 'none', SIDECAR_INBOUND: '127.0.0.1:8000' } });
    const deadlineMs = performance.now() + 20_000;
    let answer = await app.get('alpha', '/?id=first');
    while (answer.status === 503 && performance.now() < deadlineMs) {
      await pause(200);
      answer = await app.get('alpha', '/?id=first');
    }
    assertBy('tunnel', answer);
    expect(answer.headers['sidecar-attempts']).toBe('1');
    const [peer] = await app.peers();
    expect(peer?.routes.map(({ kind }) => kind)).toStrictEqual(['tunnel']);
  });
});
