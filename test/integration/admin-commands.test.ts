/** peers, explain, stats and doctor against an admin port whose responses are made up, also hostile ones. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { catchStopSignals } from '../../sidecar/app/stop-signals.ts';
import type { Command } from '../../sidecar/commands/command.ts';
import { doctor } from '../../sidecar/commands/doctor.ts';
import { explain } from '../../sidecar/commands/explain.ts';
import { peers } from '../../sidecar/commands/peers.ts';
import { stats } from '../../sidecar/commands/stats.ts';
import { configInput, MESH_KEY } from '../support/generators/config-input.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

const NOW_MS = 1_750_000_000_000;

const PEER = {
  worker_id: 'gpu-1',
  services: ['llm-inference'],
  load: 0.35,
  last_seen: NOW_MS / 1000,
  state: 'ready',
  age_s: 1.5,
  routes: [
    { kind: 'vpn', address: 'http://10.42.0.10:8000', state: 'up', extra_ms: 0 },
    { kind: 'tunnel', address: 'https://x.example:443', state: 'up', extra_ms: 20 },
  ],
  figures: { 'llm-inference': { in_flight: 2, queued: 1 } },
};

type Pages = Readonly<Record<string, unknown>>;

const HEALTHY: Pages = {
  '/livez': { status: 'alive', worker_id: 'here' },
  '/readyz': { ready: true, dht: { status: 'connected', nodes: 3 }, reasons: [] },
  '/peers': { peers: [PEER] },
  '/stats': { local_requests: 1, cache_hits: 9, cache_misses: 1, cache_hit_rate: 0.9 },
};

async function admin(pages: Pages): Promise<string> {
  const server: Server = createServer((request, response) => {
    const page = pages[(request.url ?? '').split('?')[0] ?? ''];
    if (typeof page === 'string') response.end(page);
    else
      response
        .writeHead(page === undefined ? 404 : 200)
        .end(JSON.stringify(page ?? { detail: 'No such page.' }));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestEnd(() => server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function run(command: Command, args: readonly string[], env: Record<string, string> = {}) {
  let out = '';
  let err = '';
  const code = await command.run({
    ...configInput({ args, env: { SIDECAR_MESH_KEY: MESH_KEY, ...env } }),
    version: '0.0.0',
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
    isTerminal: false,
    nowMs: () => NOW_MS,
    stopSignal: () => new AbortController().signal,
    stopSignals: catchStopSignals,
  });
  return { code, out, err };
}

describe('the commands that ask the admin port', () => {
  test('peers: a table, JSON, and no success in silence when there are none', async () => {
    const at = await admin(HEALTHY);
    const table = await run(peers, ['--admin', at]);
    expect(table.code).toBe(0);
    expect(table.out).toMatch(
      /^WORKER +STATE +LOAD +RUNNING +QUEUED +HEARD +ROUTES +SERVICES\ngpu-1 +ready +0\.35 +2 +1 +1\.5 s +vpn:up tunnel:up +llm-inference\n$/,
    );
    expect(JSON.parse((await run(peers, ['llm', '--json', '--admin', at])).out)).toStrictEqual(
      HEALTHY['/peers'],
    );
    const none = await run(peers, ['llm', '--admin', await admin({ '/peers': { peers: [] } })]);
    expect(none.out).toMatch(/No peer that offers llm is known/);
  });

  test('stats: the counters, readable and as JSON', async () => {
    const at = await admin(HEALTHY);
    expect((await run(stats, ['--admin', at])).out).toMatch(/cache hits +9\n[\s\S]*cache hit rate +90\.0 %/);
    expect(JSON.parse((await run(stats, ['--json', '--admin', at])).out)).toStrictEqual(HEALTHY['/stats']);
  });

  test('explain: the chosen one, and why not the others', async () => {
    const candidate = {
      worker_id: 'gpu-2',
      state: 'ready',
      presence: 'live',
      health: 'up',
      why_not: 'load 0.50 is not among the lowest three',
      routes: [{ kind: 'vpn', state: 'up' }],
      reported: { age_ms: 400, source: 'probe', load: 0.5 },
      score: { live_load: 0.5, requests: 2.25, slots: 4, expected_ms: 120 },
    };
    const body = {
      service: 'llm',
      policy: 'adaptive',
      chosen: 'gpu-1',
      chosenNext: { worker_id: 'gpu-2', expected_ms_margin: 20 },
      candidates: [candidate],
    };
    const at = await admin({ '/explain': body });
    const shown = await run(explain, ['llm', '--admin', at]);
    expect(shown.out).toMatch(/chosen {3}gpu-1\nelse {5}gpu-2 \(20 ms later expected\)/);
    expect(shown.out).toMatch(
      /gpu-2 +ready\/live\/up +0\.50 +2\.3 +4 +120 ms +probe 0\.4 s +vpn:up +load 0\.50 is not/,
    );
    expect(JSON.parse((await run(explain, ['--request', 'id', '--json', '--admin', at])).out)).toStrictEqual(
      body,
    );
    await expect(run(explain, ['--admin', at])).rejects.toMatchObject({ code: 'bad_config' });
    const unknown = await run(explain, ['nope', '--admin', await admin({})]);
    expect([unknown.code, unknown.err]).toStrictEqual([1, 'No such page.\n']);
  });

  test('explain --request: the end of a request, its attempts, and who was not asked', async () => {
    const at = await admin({
      '/explain': {
        request_id: 'ab-1',
        received_at: NOW_MS / 1000,
        method: 'POST',
        service: 'llm',
        outcome: 'failed',
        code: 'connect_failed',
        status: 502,
        worker: null,
        route: 'none',
        first_byte_ms: null,
        duration_ms: 12.34,
        view: 'hit',
        view_age_ms: 250,
        detail: 'gpu-1 by vpn: connection refused',
        advice: 'See whether it runs.',
        failed_attempts: [
          {
            peer: 'gpu-1',
            route: 'vpn',
            address: 'http://10.42.0.10:8000',
            code: 'connect_failed',
            stage: 'not_sent',
            reason: 'connection refused\u001b[2J',
            at: '2025-06-15T15:06:40.000Z',
            at_ms: 0.3,
            took_ms: 1.2,
          },
        ],
        not_asked: [{ peer: 'gpu-2', reason: 'draining: it shuts down' }],
      },
    });
    const { code, out } = await run(explain, ['--request', 'ab-1', '--admin', at]);
    expect(code).toBe(0);
    expect(out).toMatch(/^request +ab-1\nreceived +2025-06-15T15:06:40\.000Z\nasked +POST of llm\n/);
    expect(out).toMatch(/^answer +502 connect_failed by this sidecar, after 12 ms$/m);
    expect(out).toMatch(/^cause +gpu-1 by vpn: connection refused\nto do +See whether it runs\.$/m);
    expect(out).toMatch(
      /^2025-06-15T15:06:40\.000Z +1\.2 ms +gpu-1 +vpn +http:\/\/10\.42\.0\.10:8000 +connect_failed +not_sent +connection refused\?\[2J$/m,
    );
    expect(out).toMatch(/^Not asked:\nWORKER +WHY\ngpu-2 +draining: it shuts down$/m);
    const nonsense = { '/explain': { received_at: 1e300, failed_attempts: [null, 5, {}], not_asked: 'x' } };
    expect((await run(explain, ['--request', 'x', '--admin', await admin(nonsense)])).code).toBe(0);
  });

  test('explain of a service that nobody offers: the names that are known, and the near one', async () => {
    const body = {
      service: 'lmm',
      policy: 'adaptive',
      chosen: null,
      refusal: 'no_peers',
      candidates: [],
      known_services: ['llm', 'ocr'],
      absent: [{ peer: 'gpu-1', reason: 'left: it said good-bye 3 s ago' }],
      dht: { hint: '2 other nodes known.' },
    };
    const { out } = await run(explain, ['lmm', '--admin', await admin({ '/explain': body })]);
    expect(out).toMatch(
      /^chosen +nobody: no_peers\nperhaps +llm is meant\nknown +llm ocr\nabsent +gpu-1: left/m,
    );
    expect(out).toMatch(/^DHT +2 other nodes known\.$/m);
  });

  test('peers and doctor say of each worker that is not ready why', async () => {
    const warming = { ...PEER, state: 'warming', why_not_ready: 'warming: GET /health gave 503' };
    const at = await admin({ ...HEALTHY, '/peers': { peers: [warming] } });
    expect((await run(peers, ['--admin', at])).out).toMatch(/\n\ngpu-1: warming: GET \/health gave 503\n$/);
    const { code, out } = await run(doctor, ['--admin', at]);
    expect(code).toBe(1);
    expect(out).toMatch(/^fail +peers +1 known, none ready\. gpu-1: warming: GET \/health gave 503$/m);
  });

  test('one clear line for what cannot be asked, and a code that is not zero', async () => {
    for (const command of [peers, explain, stats]) {
      const args = command === explain ? ['--request', '\u001b[2J'] : [];
      await expect(run(command, [...args, '--admin', '127.0.0.1:1'])).rejects.toThrow(
        /^127\.0\.0\.1:1 refuses connections: no sidecar runs there\. [^\n]+$/,
      );
    }
    const unknown = await run(explain, ['--request', '\u001b[2J', '--admin', await admin({})]);
    expect([unknown.code, unknown.out, unknown.err]).toStrictEqual([1, '', 'No such page.\n']);
  });

  test('names from other machines cannot speak to the terminal', async () => {
    const evil = { ...PEER, worker_id: 'a\u001b[2Jb\u202ec\n', services: ['\u0007'] };
    const { out } = await run(peers, ['--admin', await admin({ '/peers': { peers: [evil] } })]);
    expect(out).toMatch(/a\?\[2Jb\?c\?/);
    expect(out).not.toMatch(/[\u001b\u0007\u202e]/);
  });

  test('doctor: where all is well nothing fails or warns, and it ends with 0', async () => {
    const { code, out } = await run(doctor, ['--admin', await admin(HEALTHY)]);
    expectNamed(code, out).toBe(0);
    expect(out).not.toMatch(/^(?:fail|warn)/m);
  });

  test('doctor: each thing that is wrong, and what to do', async () => {
    const down = {
      ...PEER,
      worker_id: 'lost',
      routes: [{ kind: 'vpn', address: 'http://10.42.0.9:8000', state: 'down' }],
    };
    const half = {
      ...PEER,
      worker_id: 'half',
      routes: [{ kind: 'vpn', address: 'http://10.42.0.8:8000', state: 'down' }, PEER.routes[1]],
    };
    const early = { ...PEER, worker_id: 'early', last_seen: NOW_MS / 1000 + 90 };
    const late = { ...PEER, worker_id: 'late', clock_offset_s: -600.4 };
    const wrong = { ...PEER, worker_id: 'wrong', clock_offset_s: 7_200 };
    const at = await admin({
      ...HEALTHY,
      '/readyz': {
        ready: false,
        dht: { status: 'unreachable', nodes: 0 },
        reasons: [{ code: 'dht_unreachable', detail: 'No DHT node answers over UDP.', hint: 'Check UDP.' }],
      },
      '/peers': { peers: [PEER, down, half, early, late, wrong] },
    });
    const { code, out } = await run(doctor, ['--admin', at], { SIDECAR_SERVICES: 'dead=http://127.0.0.1:1' });
    expect(code).toBe(1);
    expect(out).toMatch(
      /^fail +worker +dead at http:\/\/127\.0\.0\.1:1: connection refused: .*ECONNREFUSED.*\n.*→ /m,
    );
    expect(out).toMatch(/^fail +DHT +No DHT node answers over UDP\.\n.*→ Check UDP\./m);
    expect(out).toMatch(/^fail +routes +lost: vpn http:\/\/10\.42\.0\.9:8000 is down\n.*→ Is the VPN up/m);
    expect(out).toMatch(/^warn +routes +half: .*; tunnel is used/m);
    expect(out).toMatch(/^warn +clocks +early is 90 s ahead of this host\n.*→ .*NTP/m);
    expect(out).toMatch(/^warn +clocks +late is 600 s behind this host\n.*still flow/m);
    expect(out).toMatch(/^fail +clocks +wrong is 7200 s ahead of this host\n.*refused/m);
  });

  test('doctor: a wrong configuration is a finding, not the end', async () => {
    const at = await admin(HEALTHY);
    const { code, out } = await run(doctor, [], {
      SIDECAR_ADMIN: at,
      SIDECAR_MESH_KEY: 'x',
      SIDECAR_CACHE_TTL: '5m',
    });
    expect(code).toBe(1);
    expect(out).toMatch(/^fail +configuration +SIDECAR_MESH_KEY: /m);
    expect(out).toMatch(/^ok +admin port +here answers/m);
  });

  test('an admin port that answers nonsense is told so', async () => {
    for (const page of [
      '',
      'null',
      '[]',
      '5',
      '{"peers":5}',
      '{"peers":[null,5,{"routes":[1],"figures":[],"services":"x"}]}',
      '<html>',
    ]) {
      const pages = Object.fromEntries(Object.keys(HEALTHY).map((path) => [path, page]));
      const at = await admin(pages);
      const { code } = await run(doctor, ['--admin', at]);
      expect(code).toBe(1);
      for (const [command, args] of [
        [peers, []],
        [stats, []],
      ] as const) {
        await run(command, [...args, '--admin', at]).catch((error: { code?: unknown }) =>
          expect(error.code).toBe('admin_unreachable'),
        );
      }
    }
  });
});
