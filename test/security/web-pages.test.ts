/**
 * Web pages as attackers: any page that a browser on this host shows can send requests to loopback, and a page whose
 * own name was made to resolve to this host passes for same-origin there (DNS rebinding).
 */
import http2 from 'node:http2';
import { describe, expect, test } from '@jest/globals';
import type { HostPort } from '../../sidecar/core/host-port.ts';
import { type Member, TestMesh } from '../support/meshes/mesh.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { type Answer, type Sent, send } from '../support/wire/http-client.ts';
import { Wire } from '../support/wire/wire.ts';
import { type HttpWorker, startHttpWorker } from '../support/workers/http-worker.ts';

const EVIL = 'https://evil.example';
const PAGE = 'https://app.example.org';
const TOKEN = 'a-token-of-some-length';

interface Attacked {
  readonly app: Member;
  readonly worker: HttpWorker;
  /** From an app beside `app`. */
  call(headers: Record<string, string>, sent?: Sent): Promise<Answer>;
}

/** A worker behind one sidecar, an app beside another. */
async function attacked(env: Readonly<Record<string, string>> = {}): Promise<Attacked> {
  const mesh = new TestMesh();
  const app = await mesh.start({ id: 'app', env });
  const worker = await startHttpWorker();
  await mesh.join({ id: 'w1', services: { llm: worker.url } });
  await app.knows(['w1']);
  const call = (headers: Record<string, string>, sent: Sent = {}) =>
    app.call({ target: '/service/llm/x', ...sent, headers });
  return { app, worker, call };
}

const hostOf = ({ port }: HostPort, name = '127.0.0.1') => `${name}:${port}`;

const codeOf = ({ body }: Answer): unknown => (JSON.parse(body) as { code?: unknown }).code;

const POST = { method: 'POST', body: '{}' } as const;

const WEBSOCKET = {
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
};

describe('a web page of elsewhere', () => {
  test('reaches no worker, by whatever request, and is told which option allows it', async () => {
    const { call, worker } = await attacked();
    const attempts: readonly (readonly [Record<string, string>, Sent?])[] = [
      [{ origin: EVIL, 'content-type': 'text/plain' }, POST],
      [{ origin: EVIL, 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' }, POST],
      [{ 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'image' }],
      [{ 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' }],
      [{ origin: 'null' }, POST],
      [
        { origin: EVIL, host: 'llm.mesh' },
        { ...POST, target: '/x' },
      ],
      [
        { origin: EVIL, 'sidecar-service': 'llm' },
        { ...POST, target: '/x' },
      ],
      [{ origin: EVIL }, { ...POST, target: 'http://llm.mesh/x' }],
      [{ origin: EVIL, ...WEBSOCKET }],
      [{ origin: 'http://localhost.evil.example' }, POST],
      [{ origin: 'http://127.0.0.1.evil.example' }, POST],
      [{ origin: 'http://127.0.0.1@evil.example' }, POST],
      [{ origin: `http://localhost, ${EVIL}` }, POST],
      [{ origin: EVIL, 'access-control-request-method': 'POST' }, { method: 'OPTIONS' }],
      [{ origin: EVIL, 'sidecar-explain': '1' }, { target: '/service/nobody/x' }],
    ];
    for (const [headers, sent] of attempts) {
      const answer = await call(headers, sent);
      expect([headers, answer.status, codeOf(answer)]).toStrictEqual([headers, 403, 'origin_not_allowed']);
      expect(answer.body).toContain('outbound.origins (SIDECAR_OUTBOUND_ORIGINS)');
      expect(answer.headers['access-control-allow-origin']).toBeUndefined();
    }
    expect(worker.seen).toStrictEqual([]);
  });

  test('by HTTP/2 it reaches none either: what is said there counts alike', async () => {
    const { app, worker } = await attacked();
    const session = http2.connect(`http://${hostOf(app.running.outbound)}`);
    onTestEnd(() => session.destroy());
    const ask = (fields: Record<string, string>): Promise<number> =>
      new Promise((resolve, reject) => {
        const stream = session.request({ ':method': 'POST', ':path': '/service/llm/x', ...fields });
        stream.on('response', (head) => resolve(Number(head[':status'])));
        stream.on('error', reject);
        stream.resume();
        stream.end('{}');
      });
    expect(await ask({ origin: EVIL })).toBe(403);
    expect(await ask({ ':authority': 'attacker.example:8010' })).toBe(403);
    expect(await ask({})).toBe(200);
    expect(worker.seen.length).toBe(1);
  });

  test('by a name that was made to mean this host it reads neither outbound nor the admin pages', async () => {
    const { app, call, worker } = await attacked();
    const { outbound, admin } = app.running;
    for (const name of [
      'attacker.example',
      'localhost.attacker.example',
      'mesh',
      'a.mesh.attacker.example',
    ]) {
      const host = hostOf(outbound, name);
      const answer = await call({ host, origin: `http://${host}`, 'sec-fetch-site': 'same-origin' }, POST);
      expect([name, answer.status, codeOf(answer)]).toStrictEqual([name, 403, 'host_not_allowed']);
      expect(answer.body).toContain('outbound.hosts (SIDECAR_OUTBOUND_HOSTS)');
      for (const target of ['/peers', '/stats', '/', '/metrics', '/explain?service=llm', '/load']) {
        const shown = await send(admin, { target, headers: { host: hostOf(admin, name) } });
        expect([target, shown.status, codeOf(shown)]).toStrictEqual([target, 403, 'host_not_allowed']);
        expect(shown.body).toContain('admin.hosts (SIDECAR_ADMIN_HOSTS)');
      }
      const put = { method: 'PUT', target: '/load', body: '{"load": 0.7}' };
      expect((await send(admin, { ...put, headers: { host: hostOf(admin, name) } })).status).toBe(403);
    }
    expect(worker.seen).toStrictEqual([]);
  });

  test('reads no admin page and sets no load; a link to the status page may stand anywhere', async () => {
    const { app } = await attacked();
    const { admin } = app.running;
    const ask = (headers: Record<string, string>, sent: Sent = {}) =>
      send(admin, { target: '/peers', ...sent, headers: { host: hostOf(admin), ...headers } });
    for (const headers of [{ origin: EVIL }, { 'sec-fetch-site': 'cross-site' }] as Record<
      string,
      string
    >[]) {
      const answer = await ask(headers);
      expect([answer.status, codeOf(answer)]).toStrictEqual([403, 'origin_not_allowed']);
    }
    const put = { method: 'PUT', target: '/load', body: '{"load": 0.7}' };
    expect((await ask({ origin: EVIL }, put)).status).toBe(403);
    const link = {
      'sec-fetch-site': 'cross-site',
      'sec-fetch-mode': 'navigate',
      'sec-fetch-dest': 'document',
    };
    expect((await ask(link, { target: '/' })).status).toBe(200);
    expect((await ask(link)).status).toBe(403);
    expect((await ask({ ...link, 'sec-fetch-dest': 'iframe' }, { target: '/' })).status).toBe(403);
  });
});

describe('requests that are no attack', () => {
  test('apps, proxies and names of the mesh are served as before', async () => {
    const { app, call, worker } = await attacked();
    const { outbound } = app.running;
    const served: readonly (readonly [Record<string, string>, Sent?])[] = [
      [{}],
      [{ host: hostOf(outbound, 'localhost') }],
      [{ host: hostOf(outbound, 'LOCALHOST.') }],
      [{ host: 'app.localhost' }],
      [{ host: '[::1]:8010' }],
      [{ host: '192.168.7.3:8010' }],
      [{ host: 'llm.mesh' }, { target: '/x' }],
      [{ host: 'LLM.Mesh:80' }, { target: '/x' }],
      [
        { host: 'llm.mesh', origin: 'http://llm.mesh' },
        { ...POST, target: '/x' },
      ],
      [{ host: 'elsewhere.example' }, { target: 'http://llm.mesh/x' }],
      [{ origin: `http://${hostOf(outbound)}` }, POST],
      [{ origin: `http://${hostOf(outbound)}`, 'sec-fetch-site': 'same-origin' }, POST],
      [{ 'sec-fetch-site': 'none', 'sec-fetch-mode': 'navigate' }],
    ];
    for (const [headers, sent] of served)
      expect([headers, (await call(headers, sent)).status]).toStrictEqual([headers, 200]);
    expect(worker.seen.length).toBe(served.length);
  });

  test('a page of a server on this host is served, and may read what this sidecar says itself', async () => {
    const { app, call } = await attacked();
    const origin = 'http://localhost:3000';
    const served = await call({ origin, 'sec-fetch-site': 'same-site' }, POST);
    expect(served.status).toBe(200);
    expect(served.headers['access-control-allow-origin']).toBe(origin);
    expect(served.headers.vary).toBe('Origin');
    expect(served.headers['access-control-expose-headers']).toContain('sidecar-worker');
    const failed = await call({ origin }, { target: '/service/nobody/x' });
    expect([failed.status, failed.headers['access-control-allow-origin']]).toStrictEqual([503, origin]);
    const shown = await send(app.running.admin, { target: '/stats', headers: { origin } });
    expect([shown.status, shown.headers['access-control-allow-origin']]).toStrictEqual([200, origin]);
  });

  test('the worker’s own words for pages stand', async () => {
    const mesh = new TestMesh();
    const worker = await startHttpWorker({
      answer: (_seen, response) => response.writeHead(200, { 'access-control-allow-origin': '*' }).end(),
    });
    const app = await mesh.join({ id: 'app', services: { llm: worker.url } });
    const answer = await app.call({ target: '/service/llm/', headers: { origin: 'http://localhost:3000' } });
    expect(answer.headers['access-control-allow-origin']).toBe('*');
  });

  test('a page that outbound.origins names: preflight without token, CORS on answers and refusals', async () => {
    const { call, worker } = await attacked({
      SIDECAR_OUTBOUND_ORIGINS: `${PAGE.toUpperCase()}/`,
      SIDECAR_OUTBOUND_TOKEN: TOKEN,
    });
    const asked = {
      origin: PAGE,
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization,content-type',
      'access-control-request-private-network': 'true',
    };
    const preflight = await call(asked, { method: 'OPTIONS' });
    expect(preflight.status).toBe(204);
    expect(preflight.headers).toMatchObject({
      'access-control-allow-origin': PAGE,
      'access-control-allow-methods': 'POST',
      'access-control-allow-headers': 'authorization,content-type',
      'access-control-allow-private-network': 'true',
    });
    expect(worker.seen).toStrictEqual([]);
    const without = await call({ origin: PAGE }, POST);
    expect([without.status, without.headers['access-control-allow-origin']]).toStrictEqual([401, PAGE]);
    const served = await call({ origin: PAGE, authorization: `Bearer ${TOKEN}` }, POST);
    expect([served.status, served.headers['access-control-allow-origin']]).toStrictEqual([200, PAGE]);
    for (const origin of ['http://localhost:3000', EVIL])
      expect((await call({ origin, 'sidecar-token': TOKEN }, POST)).status).toBe(403);
    // A container calls by the name of its neighbour: the token says that it may.
    expect((await call({ host: 'sidecar-a:8010', 'sidecar-token': TOKEN })).status).toBe(200);
    expect((await call({ host: 'sidecar-a:8010' })).status).toBe(401);
  });

  test('a WebSocket of a page that may call is opened', async () => {
    const { app } = await attacked();
    const wire = await Wire.connect(app.running.outbound.port);
    const lines = Object.entries({ host: 'localhost', origin: 'http://localhost:3000', ...WEBSOCKET });
    wire.send(`GET /service/llm/x HTTP/1.1\r\n${lines.map(([k, v]) => `${k}: ${v}\r\n`).join('')}\r\n`);
    // This worker knows no WebSocket, and is asked.
    expect(await wire.until('\r\n')).toContain(' 200 ');
    wire.close();
  });

  test('more names by which a listener is called, and any page, are a matter of the configuration', async () => {
    const { app, call } = await attacked({
      SIDECAR_OUTBOUND_HOSTS: 'host.docker.internal',
      SIDECAR_ADMIN_HOSTS: 'sidecar-a',
      SIDECAR_OUTBOUND_ORIGINS: '*',
    });
    expect((await call({ host: 'Host.Docker.Internal:8010' })).status).toBe(200);
    expect((await call({ host: 'sidecar-a:8010' })).status).toBe(403);
    const { admin } = app.running;
    const metrics = { target: '/metrics', headers: { host: hostOf(admin, 'sidecar-a') } };
    expect((await send(admin, metrics)).status).toBe(200);
    const answer = await call({ origin: EVIL }, POST);
    expect([answer.status, answer.headers['access-control-allow-origin']]).toStrictEqual([200, '*']);
    expect(answer.headers['access-control-allow-credentials']).toBeUndefined();
  });
});
