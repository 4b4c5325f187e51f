/**
 * Admin: what each path answers over a real socket, and that no request, however odd, ends the server.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import test, { type TestContext } from 'node:test';
import { Admin, type AdminHandlers } from '../../sidecar/observe/admin.ts';
import { assessReadiness } from '../../sidecar/observe/readiness.ts';

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

const handlers = (change: Partial<AdminHandlers> = {}): AdminHandlers => ({
  stats: () => STATS,
  metricsText: async () => 'sidecar_ready 1\n',
  metricsType: 'text/plain; version=0.0.4; charset=utf-8',
  peers: (service) => [{ worker_id: '<script>alert(1)</script>', asked: service }],
  ready: () => assessReadiness({ peersKnown: 0, peersUsable: 0, dht, draining: false }),
  explainService: async (service) => (service === 'llm-inference' ? { service, chosen: 'a' } : null),
  explainRequest: (id) => (id === 'r1' ? { request_id: id } : null),
  targets: () => [{ targets: ['10.42.0.10:9464'], labels: { worker_id: 'a' } }],
  load: () => ({ services: [] }),
  putLoad: ({ service }) => (service === 'unknown' ? null : 30_000),
  identity: () => ({ worker_id: 'me', version: '1.0.0', uptime_s: 3 }),
  ...change,
});

async function start(t: TestContext, change: Partial<AdminHandlers> = {}) {
  const warnings: string[] = [];
  const log = { warn: (_fields: object, message: string) => warnings.push(message) };
  const admin = new Admin({ host: '127.0.0.1', port: 0, handlers: handlers(change), log });
  const { port } = await admin.listen();
  t.after(() => admin.close());
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

test('/stats has exactly the names of the contract', async (t) => {
  const { get } = await start(t);
  const answer = await get('/stats');
  assert.equal(answer.headers.get('content-type'), 'application/json; charset=utf-8');
  assert.deepEqual(await answer.json(), STATS);
});

test('/metrics in the format that it names', async (t) => {
  const { get } = await start(t);
  const answer = await get('/metrics');
  assert.equal(answer.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
  assert.equal(await answer.text(), 'sidecar_ready 1\n');
});

test('/livez lives, and /readyz with no peers is 503 with the reason and what to do', async (t) => {
  const { get } = await start(t);
  assert.deepEqual(await (await get('/livez')).json(), {
    status: 'alive',
    worker_id: 'me',
    version: '1.0.0',
    uptime_s: 3,
  });
  const answer = await get('/readyz');
  assert.equal(answer.status, 503);
  const body = (await answer.json()) as { peers_known: number; reasons: { code: string; hint: string }[] };
  assert.equal(body.peers_known, 0);
  assert.deepEqual(
    body.reasons.map(({ code, hint }) => [code, hint]),
    [['no_other_member', dht.hint]],
  );
});

test('/readyz is 200 once it can route', async (t) => {
  const ready = () => assessReadiness({ peersKnown: 1, peersUsable: 1, dht, draining: false });
  const { get } = await start(t, { ready });
  assert.equal((await get('/readyz')).status, 200);
});

test('/peers, all and of one service; /targets as http_sd wants it', async (t) => {
  const { get } = await start(t);
  assert.deepEqual(await (await get('/peers')).json(), {
    peers: [{ worker_id: '<script>alert(1)</script>', asked: null }],
  });
  const ofOne = (await (await get('/peers?service=vision-ocr')).json()) as { peers: { asked: string }[] };
  assert.equal(ofOne.peers[0]?.asked, 'vision-ocr');
  assert.deepEqual(await (await get('/targets')).json(), [
    { targets: ['10.42.0.10:9464'], labels: { worker_id: 'a' } },
  ]);
});

test('/explain: a service, a request, neither, both, unknown', async (t) => {
  const { get } = await start(t);
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
    assert.equal(answer.status, status, query.slice(0, 40));
    await answer.json();
  }
});

test('the status page is whole in itself, and its policy lets only its own script run', async (t) => {
  const { get } = await start(t);
  const answer = await get('/');
  const page = await answer.text();
  assert.match(
    answer.headers.get('content-security-policy') ?? '',
    /default-src 'none'; script-src 'sha256-/,
  );
  assert.doesNotMatch(page, /(?:src|href)="(?:https?:)?\/\//, 'nothing from elsewhere');
  assert.doesNotMatch(page, /innerHTML|insertAdjacentHTML|document\.write/, 'what peers say is text');
});

test('other paths are 404, other methods 405, HEAD has no body; all as JSON', async (t) => {
  const { get } = await start(t);
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
    assert.equal(answer.status, 404, path);
    assert.equal(((await answer.json()) as { code: string }).code, 'not_found');
  }
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
    const answer = await get('/stats', { method, body: method === 'POST' ? 'x'.repeat(100_000) : null });
    assert.equal(answer.status, 405, method);
    assert.equal(answer.headers.get('allow'), 'GET, HEAD');
    await answer.json();
  }
  const head = await get('/stats', { method: 'HEAD' });
  assert.equal(head.status, 200);
  assert.ok(Number(head.headers.get('content-length')) > 0);
  assert.equal(await head.text(), '');
});

test('a handler that throws is a 500 and a log line, and the next request is served', async (t) => {
  const { get, warnings } = await start(t, {
    stats: () => {
      throw new Error('gone');
    },
    metricsText: () => Promise.reject(new Error('gone')),
    peers: () => [{ big: 1n }],
  });
  for (const path of ['/stats', '/metrics', '/peers']) {
    const answer = await get(path);
    assert.equal(answer.status, 500, path);
    assert.equal(((await answer.json()) as { code: string }).code, 'internal');
  }
  assert.equal(warnings.length, 3);
  assert.equal((await get('/livez')).status, 200);
});

test('hostile bytes get an error or nothing, and the server lives', async (t) => {
  const { get, port } = await start(t);
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
    assert.ok(answer === '' || answer.startsWith('HTTP/1.1 '), answer.slice(0, 80));
  }
  assert.equal((await get('/livez')).status, 200);
});

test('who leaves in the middle of a PUT is no fault, and no log line', async (t) => {
  const { get, port, warnings } = await start(t);
  const socket = connect(port, '127.0.0.1');
  socket.write('PUT /load HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\nExpect: 100-continue\r\n\r\n{"load"');
  await once(socket, 'data'); // the 100: the request is being read
  socket.resetAndDestroy();
  await once(socket, 'close');
  for (let round = 0; round < 3; round++) assert.equal((await get('/livez')).status, 200);
  assert.deepEqual(warnings, []);
});

test('a port in use is an error that names it', async (t) => {
  const { port } = await start(t);
  const second = new Admin({ host: '127.0.0.1', port, handlers: handlers(), log: { warn: () => {} } });
  await assert.rejects(second.listen(), { code: 'EADDRINUSE' });
});

test('PUT /load: the word of the worker, and every mistake in plain words', async (t) => {
  const puts: unknown[] = [];
  const { get } = await start(t, {
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
  assert.equal((await put('{"load":0.7}')).status, 200);
  assert.equal((await put('{"service":"llm-inference","load":0}')).status, 200);
  assert.equal((await put('{"service":"unknown","load":1}')).code, 'unknown_service');
  assert.deepEqual(puts, [
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
    assert.deepEqual([(await put(body)).status, body], [400, body]);
  }
  assert.equal((await put(`{"load":0.5}${' '.repeat(5_000)}`)).status, 413);
  assert.equal((await put('{"load":1}', { origin: 'http://evil.example' })).status, 403);
  assert.equal(
    (await get('/load', { method: 'POST', body: '{"load":1}' })).headers.get('allow'),
    'GET, HEAD, PUT',
  );
  assert.equal((await get('/stats', { method: 'PUT', body: '{"load":1}' })).status, 405);
  assert.equal(puts.length, 3);
  assert.deepEqual(await (await get('/load')).json(), { services: [] });
});
