/**
 * Admin: what each path answers over a real socket, and that no request, however odd, ends the server.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import type { AdminHandlers } from '../../sidecar/observe/admin.ts';
import { assessReadiness } from '../../sidecar/observe/readiness.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { startAdmin } from '../support/wire/admin-port.ts';

const STATS = {
  local_requests: 45,
  forwarded_requests: 123,
  cache_hits: 98,
  cache_misses: 25,
  dht_lookups: 25,
  failed_requests: 2,
  cache_size: 8,
  cache_hit_rate: 98 / 123,
};

const dht = { kind: 'alone', nodes: 0, hint: 'others join with SIDECAR_BOOTSTRAP=…' } as const;

const HANDLERS: Partial<AdminHandlers> = {
  stats: () => STATS,
  peers: (service) => [{ worker_id: '<script>alert(1)</script>', asked: service }],
  ready: () => assessReadiness({ peersKnown: 0, peersUsable: 0, dht, draining: false, vpnAwaited: null }),
  explainService: async (service) => (service === 'llm-inference' ? { service, chosen: 'a' } : null),
  explainRequest: (id) => (id === 'r1' ? { request_id: id } : null),
  targets: () => [{ targets: ['10.42.0.10:9464'], labels: { worker_id: 'a' } }],
};

async function start(change: Partial<AdminHandlers> = {}) {
  const warnings: string[] = [];
  const log = { warn: (_fields: object, message: string) => warnings.push(message) };
  const { port } = await startAdmin({ ...HANDLERS, ...change }, { log });
  const get = (path: string, init?: RequestInit) => fetch(`http://127.0.0.1:${port}${path}`, init);
  return { get, port, warnings };
}

/** All that the server sends back to these bytes until it closes. */
async function raw(port: number, bytes: string | Buffer): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  let answer = '';
  socket.setEncoding('latin1');
  socket.on('data', (text: string) => {
    answer += text;
  });
  socket.end(bytes);
  await once(socket, 'close');
  return answer;
}

describe('the admin port', () => {
  test('/stats has exactly the names of the contract', async () => {
    const { get } = await start();
    const answer = await get('/stats');
    expect(answer.headers.get('content-type')).toBe('application/json; charset=utf-8');
    expect(await answer.json()).toStrictEqual(STATS);
  });

  test('/metrics in the format that it names', async () => {
    const { get } = await start();
    const answer = await get('/metrics');
    expect(answer.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(await answer.text()).toBe('sidecar_ready 1\n');
  });

  test('/livez lives, and /readyz with no peers is 503 with the reason and what to do', async () => {
    const { get } = await start();
    expect(await (await get('/livez')).json()).toStrictEqual({
      status: 'alive',
      worker_id: 'me',
      version: '1.0.0',
      uptime_s: 3,
    });
    const answer = await get('/readyz');
    expect(answer.status).toBe(503);
    const body = (await answer.json()) as { peers_known: number; reasons: { code: string; hint: string }[] };
    expect(body.peers_known).toBe(0);
    expect(body.reasons.map(({ code, hint }) => [code, hint])).toStrictEqual([['no_other_member', dht.hint]]);
  });

  test('/readyz is 200 once it can route', async () => {
    const ready = () =>
      assessReadiness({ peersKnown: 1, peersUsable: 1, dht, draining: false, vpnAwaited: null });
    const { get } = await start({ ready });
    expect((await get('/readyz')).status).toBe(200);
  });

  test('/peers, all and of one service; /targets as http_sd wants it', async () => {
    const { get } = await start();
    expect(await (await get('/peers')).json()).toStrictEqual({
      peers: [{ worker_id: '<script>alert(1)</script>', asked: null }],
    });
    const ofOne = (await (await get('/peers?service=vision-ocr')).json()) as { peers: { asked: string }[] };
    expect(ofOne.peers[0]?.asked).toBe('vision-ocr');
    expect(await (await get('/targets')).json()).toStrictEqual([
      { targets: ['10.42.0.10:9464'], labels: { worker_id: 'a' } },
    ]);
  });

  test('/explain: a service, a request, neither, both, unknown', async () => {
    const { get } = await start();
    const expected: [string, number][] = [
      ['?service=llm-inference', 200],
      ['?request=r1', 200],
      ['', 400],
      ['?service=', 400],
      ['?service=a&request=r1', 400],
      ['?service=nobody', 404],
      ['?request=r2', 404],
      [`?service=${'x'.repeat(8_000)}`, 404],
      ['?service=%', 404],
    ];
    for (const [query, status] of expected) {
      const answer = await get(`/explain${query}`);
      expectNamed(answer.status, query.slice(0, 40)).toBe(status);
      await answer.json();
    }
  });

  test('the status page is whole in itself, and its policy lets only its own script run', async () => {
    const { get } = await start();
    const answer = await get('/');
    const page = await answer.text();
    expect(answer.headers.get('content-security-policy') ?? '').toMatch(
      /default-src 'none'; script-src 'sha256-/,
    );
    expectNamed(page, 'nothing from elsewhere').not.toMatch(/(?:src|href)="(?:https?:)?\/\//);
    expectNamed(page, 'what peers say is text').not.toMatch(/innerHTML|insertAdjacentHTML|document\.write/);
  });

  test('other paths are 404, other methods 405, HEAD has no body; all as JSON', async () => {
    const { get } = await start();
    for (const path of [
      '/nothing',
      '/stats/',
      '//stats',
      '/..%2fstats',
      '/%00',
      '/constructor',
      '/__proto__',
    ]) {
      const answer = await get(path);
      expectNamed(answer.status, path).toBe(404);
      expect(((await answer.json()) as { code: string }).code).toBe('not_found');
    }
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
      const answer = await get('/stats', { method, body: method === 'POST' ? 'x'.repeat(100_000) : null });
      expectNamed(answer.status, method).toBe(405);
      expect(answer.headers.get('allow')).toBe('GET, HEAD');
      await answer.json();
    }
    for (const [path, allow] of [
      ['/load', 'GET, HEAD, PUT'],
      ['/pause', 'GET, HEAD, PUT, DELETE'],
      ['/resume', 'PUT'],
      ['/reload', 'PUT'],
      ['/revoked', 'GET, HEAD, PUT'],
    ] as const) {
      expectNamed((await get(path, { method: 'POST' })).headers.get('allow'), path).toBe(allow);
    }
    for (const method of ['GET', 'HEAD', 'DELETE']) {
      const answer = await get('/reload', { method });
      expectNamed([answer.status, answer.headers.get('allow')], method).toStrictEqual([405, 'PUT']);
    }
    const head = await get('/stats', { method: 'HEAD' });
    expect(head.status).toBe(200);
    expect(Number(head.headers.get('content-length'))).toBeGreaterThan(0);
    expect(await head.text()).toBe('');
  });

  test('a handler that throws is a 500 and a log line, and the next request is served', async () => {
    const { get, warnings } = await start({
      stats: () => {
        throw new Error('gone');
      },
      metricsText: () => Promise.reject(new Error('gone')),
      peers: () => [{ big: 1n }],
    });
    for (const path of ['/stats', '/metrics', '/peers']) {
      const answer = await get(path);
      expectNamed(answer.status, path).toBe(500);
      expect(((await answer.json()) as { code: string }).code).toBe('internal');
    }
    expect(warnings).toHaveLength(3);
    expect((await get('/livez')).status).toBe(200);
  });

  test('hostile bytes get an error or nothing, and the server lives', async () => {
    const { get, port } = await start();
    const head = 'Host: a\r\nConnection: close\r\n';
    for (const bytes of [
      'garbage\r\n\r\n',
      Buffer.alloc(70_000, 'a'),
      `GET /stats HTTP/1.1\r\nHost: a\r\nX: ${'y'.repeat(70_000)}\r\n\r\n`,
      `GET /stats HTTP/1.1\r\n${head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzz`,
      `CONNECT a:1 HTTP/1.1\r\n${head}\r\n`,
      'GET /stats HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n',
      `GET * HTTP/1.1\r\n${head}\r\n`,
      `GET http://elsewhere/stats HTTP/1.1\r\n${head}\r\n`,
      `GET /explain?service=%ff%fe&%= HTTP/1.1\r\n${head}\r\n`,
      '\0\0\0\0',
      '',
    ]) {
      const answer = await raw(port, bytes);
      expectNamed(answer === '' || answer.startsWith('HTTP/1.1 '), answer.slice(0, 80)).toBe(true);
    }
    expect((await get('/livez')).status).toBe(200);
  });

  test('who leaves in the middle of a PUT is no fault, and no log line', async () => {
    const { get, port, warnings } = await start();
    const socket = connect(port, '127.0.0.1');
    socket.write(
      'PUT /load HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\nExpect: 100-continue\r\n\r\n{"load"',
    );
    await once(socket, 'data'); // the 100: the request is being read
    socket.resetAndDestroy();
    await once(socket, 'close');
    for (let round = 0; round < 3; round++) expect((await get('/livez')).status).toBe(200);
    expect(warnings).toStrictEqual([]);
  });

  test('a port in use is an error that names it', async () => {
    const { port } = await start();
    await expect(startAdmin({}, { port })).rejects.toMatchObject({ code: 'EADDRINUSE' });
  });

  test('PUT /load: the word of the worker, and every mistake in plain words', async () => {
    const puts: unknown[] = [];
    const { get } = await start({
      putLoad: (put) => {
        puts.push(put);
        return put.service === 'unknown' ? null : 30_000;
      },
    });
    const put = async (body: string, headers: Record<string, string> = {}) => {
      const answer = await get('/load', { method: 'PUT', body, headers });
      const { code, detail } = (await answer.json()) as { code?: string; detail?: string };
      return { status: answer.status, code, detail };
    };
    expect((await put('{"load":0.7}')).status).toBe(200);
    expect((await put('{"service":"llm-inference","load":0}')).status).toBe(200);
    expect((await put('{"service":"unknown","load":1}')).code).toBe('unknown_service');
    expect(puts).toStrictEqual([
      { service: null, loadRatio: 0.7 },
      { service: 'llm-inference', loadRatio: 0 },
      { service: 'unknown', loadRatio: 1 },
    ]);
    for (const body of [
      '',
      '{',
      'null',
      '[]',
      '0.5',
      '{}',
      '{"load":"0.5"}',
      '{"load":1.01}',
      '{"load":-0.1}',
      '{"load":1e999}',
      '{"load":0.5,"service":7}',
      '{"load":0.5,"service":"../x"}',
      '{"load":0.5,"servce":"llm-inference"}',
      '{"load":0.5,"__proto__":{}}',
    ]) {
      expect([(await put(body)).status, body]).toStrictEqual([400, body]);
    }
    expect((await put(`{"load":0.5}${' '.repeat(5_000)}`)).status).toBe(413);
    expect((await put('{"load":1}', { origin: 'http://evil.example' })).status).toBe(403);
    expect((await get('/load', { method: 'POST', body: '{"load":1}' })).headers.get('allow')).toBe(
      'GET, HEAD, PUT',
    );
    expect((await get('/stats', { method: 'PUT', body: '{"load":1}' })).status).toBe(405);
    expect(puts).toHaveLength(3);
    expect(await (await get('/load')).json()).toStrictEqual({ services: [] });
  });
});
