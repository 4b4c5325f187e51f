/** A service under /service/<name>: its URLs, cookies, Host and Origin fit for app and worker, by every way between them. */
import http from 'node:http';
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { all, first } from '../../sidecar/core/http/headers.ts';
import type { RequestHead } from '../../sidecar/core/http/message.ts';
import { CoarseTimers } from '../../sidecar/http/sockets/timers.ts';
import { workerPools } from '../../sidecar/http/upstream-pools.ts';
import { checkWorker } from '../../sidecar/http/worker-check.ts';
import { startTunnelEdge } from '../support/edges/tunnel-edge.ts';
import { type InboundSetup, InboundSide, LIMITS } from '../support/meshes/inbound-side.ts';
import { TestMesh } from '../support/meshes/mesh.ts';
import { type PairSetup, pairFor, type SidecarPair } from '../support/meshes/sidecar-pair.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd, sharedByTests } from '../support/runner/on-test-end.ts';
import { http1Client, http2Client } from '../support/wire/version-clients.ts';
import { acceptOf } from '../support/wire/websocket-frames.ts';
import { answer, type Received, type ReceivedAnswer, request } from '../support/wire/wire-messages.ts';
import { startHttpWorker } from '../support/workers/http-worker.ts';
import type { ScriptedOrigin } from '../support/workers/scripted-origin.ts';

const PREFIX = '/service/llm-inference';
const APP = '127.0.0.1:8010';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n';

interface Bed {
  readonly pair: SidecarPair;
  readonly origin: ScriptedOrigin;
  readonly worker: string;
}

type Place = (setup?: InboundSetup, outbound?: PairSetup['outbound']) => Promise<Bed>;

function bedOf(pair: SidecarPair, { origin }: InboundSide): Bed {
  origin.reply = null;
  return { pair, origin, worker: `127.0.0.1:${origin.port}` };
}

const PLACES: Readonly<Record<string, Place>> = {
  'beside the app': async (setup = {}, outbound = {}) => {
    const side = await InboundSide.start({ name: 'a', ...setup });
    onTestEnd(() => side.close());
    return bedOf(await pairFor({ peers: [], local: side.service, outbound }), side);
  },
  'at a peer': async (setup = {}, outbound = {}) => {
    const pair = await pairFor({ peers: [setup], outbound });
    return bedOf(pair, pair.b);
  },
  'behind a tunnel': async (setup = {}, outbound = {}) => {
    const pair = await pairFor({
      peers: [{ hasVpn: false, tunnelUrl: 'https://localhost:1', ...setup }],
      outbound,
    });
    const edge = await startTunnelEdge(pair.b.listener.port);
    onTestEnd(() => edge.close());
    const { record } = pair.b.peer;
    pair.b.peer.adopt({ ...record, seq: record.seq + 1, tunnel_url: edge.url }, 0);
    return bedOf(pair, pair.b);
  },
};

async function through(
  { pair, origin }: Bed,
  text: string,
  reply = OK,
): Promise<{ readonly sent: Received<RequestHead>; readonly got: ReceivedAnswer }> {
  const client = await pair.client();
  client.send(text);
  const wire = origin.connections.findLast(({ end }) => end === null) ?? (await origin.connection());
  const sent = await request(wire);
  wire.send(reply);
  return { sent, got: await answer(client, text.slice(0, text.indexOf(' '))) };
}

function get(target: string, lines = '', host = APP, method = 'GET'): string {
  return `${method} ${target} HTTP/1.1\r\nHost: ${host}\r\n${lines}\r\n`;
}

for (const [place, start] of Object.entries(PLACES)) {
  describe(`a service that is ${place}`, () => {
    test('names its own URLs, and the app is led back by the way that it came', async () => {
      const bed = await start();
      const reply = `HTTP/1.1 307 Go\r\nLocation: http://${bed.worker}/items/?a\r\nContent-Length: 0\r\n\r\n`;
      for (const [text, wanted] of [
        [get(`${PREFIX}/items`), `${PREFIX}/items/?a`],
        [get('/service/llm/items'), '/service/llm/items/?a'],
        [get('/items', '', 'llm-inference.mesh:8010'), 'http://llm-inference.mesh:8010/items/?a'],
        [get('http://llm.mesh/items', '', 'other.example'), 'http://llm.mesh/items/?a'],
        [get('/items', 'sidecar-service: llm\r\n'), '/items/?a'],
        [get(`${PREFIX}/items`, '', APP, 'HEAD'), `${PREFIX}/items/?a`],
        [get(`${PREFIX}/items`, 'Content-Length: 0\r\n', APP, 'POST'), `${PREFIX}/items/?a`],
      ] as const) {
        const { got } = await through(bed, text, reply);
        expectNamed(first(got.head.fields, 'location'), text).toBe(wanted);
        expect(got.head.status).toBe(307);
      }
    });

    test('every field that names a place is mapped, also in interim responses', async () => {
      const bed = await start();
      const fields =
        'Location: /a\r\nContent-Location: /b\r\nRefresh: 5; url=/c\r\nSet-Cookie: s=1; Path=/\r\nLink: </d>\r\n';
      const reply = `HTTP/1.1 104 Resumable\r\n${fields}\r\nHTTP/1.1 201 Made\r\n${fields}set-cookie: t=2; path=/x\r\nContent-Length: 0\r\n\r\n`;
      const { got } = await through(bed, get(`${PREFIX}/upload`), reply);
      for (const head of [got.informational[0], got.head]) {
        expect(first(head?.fields ?? [], 'location')).toBe(`${PREFIX}/a`);
        expect(first(head?.fields ?? [], 'content-location')).toBe(`${PREFIX}/b`);
        expect(first(head?.fields ?? [], 'refresh')).toBe(`5; url=${PREFIX}/c`);
        expect(first(head?.fields ?? [], 'set-cookie')).toBe(`s=1; Path=${PREFIX}/`);
        expect(first(head?.fields ?? [], 'link')).toBe('</d>');
      }
      expect(all(got.head.fields, 'set-cookie')).toStrictEqual([
        `s=1; Path=${PREFIX}/`,
        `t=2; path=${PREFIX}/x`,
      ]);
    });

    test('has the base path of its URL taken off again', async () => {
      const bed = await start({ basePath: '/base' });
      const reply =
        'HTTP/1.1 302 Go\r\nLocation: /base/ui\r\nSet-Cookie: s=1; Path=/base\r\nContent-Length: 0\r\n\r\n';
      const { sent, got } = await through(bed, get(`${PREFIX}/login`), reply);
      expect(sent.head.target).toBe('/base/login');
      expect(first(sent.head.fields, 'x-forwarded-prefix')).toBe(PREFIX);
      expect(first(got.head.fields, 'location')).toBe(`${PREFIX}/ui`);
      expect(first(got.head.fields, 'set-cookie')).toBe(`s=1; Path=${PREFIX}/`);
      const { got: byHost } = await through(bed, get('/login', '', 'llm.mesh'), reply);
      expect(first(byHost.head.fields, 'location')).toBe('/ui');
    });

    test('is told the prefix and the host that the app called, and not what the app says of them', async () => {
      const bed = await start();
      const forged =
        'X-Forwarded-Prefix: /evil\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Prefix: /more\r\n';
      const { sent } = await through(bed, get(`${PREFIX}/docs`, forged));
      expect(all(sent.head.fields, 'x-forwarded-prefix')).toStrictEqual([PREFIX]);
      expect(all(sent.head.fields, 'x-forwarded-host')).toStrictEqual([APP]);
      const { sent: byHost } = await through(bed, get('/docs', forged, 'llm.mesh'));
      expect(all(byHost.head.fields, 'x-forwarded-prefix')).toStrictEqual([]);
      expect(all(byHost.head.fields, 'x-forwarded-host')).toStrictEqual(['llm.mesh']);
    });

    test('is told the prefix of a proxy before the sidecar where forwarded fields are trusted', async () => {
      const bed = await start({}, { trustForwarded: true });
      const reply = 'HTTP/1.1 302 Go\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n';
      const { sent, got } = await through(bed, get(`${PREFIX}/`, 'X-Forwarded-Prefix: /outer/\r\n'), reply);
      expect(first(sent.head.fields, 'x-forwarded-prefix')).toBe(`/outer${PREFIX}`);
      expect(first(got.head.fields, 'location')).toBe(`/outer${PREFIX}/x`);
      for (const bad of [
        '//evil.example',
        'evil',
        '/a b',
        '/a;b',
        '/../x',
        '/a/./b',
        `/${'a'.repeat(300)}`,
        '/a, /b',
        '/"',
      ]) {
        const { sent: refused } = await through(bed, get(`${PREFIX}/`, `X-Forwarded-Prefix: ${bad}\r\n`));
        expectNamed(all(refused.head.fields, 'x-forwarded-prefix'), bad).toStrictEqual([PREFIX]);
      }
    });

    test('never sees forwarding fields in another spelling, in head or trailers', async () => {
      for (const trustForwarded of [false, true]) {
        const bed = await start({}, { trustForwarded });
        const names = [
          'X_Forwarded_For',
          'x-forwarded_proto',
          'X_FORWARDED-HOST',
          'X.Forwarded.Prefix',
          'X_Forwarded_Port',
          'sidecar_token',
          'Sidecar.Auth',
        ];
        const forged = names.map((name) => `${name}: 6.6.6.6\r\n`).join('');
        const { sent } = await through(
          bed,
          `POST ${PREFIX}/ HTTP/1.1\r\nHost: a\r\n${forged}X_Other: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n${forged}X_Sum: 1\r\n\r\n`,
        );
        expect([...sent.head.fields, ...sent.trailers]).not.toContain('6.6.6.6');
        expect(first(sent.head.fields, 'x_other')).toBe('1');
        expect(sent.trailers).toStrictEqual(['X_Sum', '1']);
      }
    });

    test('is sent the Host that its sidecar is told to send', async () => {
      for (const [sentHost, wanted] of [
        [{ kind: 'worker' }, null],
        [{ kind: 'keep' }, APP],
        [{ kind: 'name', name: 'jupyter.example' }, 'jupyter.example'],
      ] as const) {
        const bed = await start({ sentHost });
        const { sent } = await through(bed, get(`${PREFIX}/`));
        expectNamed(sent.head.host, sentHost.kind).toBe(wanted ?? bed.worker);
        expect(all(sent.head.fields, 'host')).toHaveLength(1);
      }
      const bed = await start({ sentHost: { kind: 'keep' } });
      const { sent } = await through(bed, get('/', '', 'LLM.mesh:8010'));
      expect(sent.head.host).toBe('LLM.mesh:8010');
      const { sent: old } = await through(bed, `GET ${PREFIX}/ HTTP/1.0\r\n\r\n`);
      expectNamed(old.head.host, 'an app that says none').toBe(bed.worker);
    });

    test('that keeps the Host gets that of this hop, whatever a trusted proxy says of an earlier one', async () => {
      const bed = await start({ sentHost: { kind: 'keep' } }, { trustForwarded: true });
      const { sent } = await through(
        bed,
        get(
          `${PREFIX}/`,
          'X-Forwarded-Host: outer.example\r\nForwarded: for=1.1.1.1;host=first.example;proto=http\r\n',
        ),
      );
      expect(sent.head.host).toBe(APP);
      if (place !== 'behind a tunnel')
        expect(first(sent.head.fields, 'x-forwarded-host')).toBe('outer.example');
    });

    test('takes a page that came through the sidecar for its own, and no other', async () => {
      for (const [sentHost, host] of [
        [{ kind: 'worker' }, null],
        [{ kind: 'name', name: 'jupyter.example' }, 'jupyter.example'],
        [{ kind: 'keep' }, APP],
      ] as const) {
        const bed = await start({ sentHost });
        const lines = `Origin: http://${APP}\r\nReferer: http://${APP}${PREFIX}/lab\r\n`;
        const { sent } = await through(bed, get(`${PREFIX}/`, lines));
        expect(first(sent.head.fields, 'origin')).toBe(`http://${host ?? bed.worker}`);
        const page = sentHost.kind === 'keep' ? `${PREFIX}/lab` : '/lab';
        expect(first(sent.head.fields, 'referer')).toBe(`http://${host ?? bed.worker}${page}`);
        const { sent: foreign } = await through(bed, get(`${PREFIX}/`, 'Origin: http://evil.example\r\n'));
        expect(first(foreign.head.fields, 'origin')).toBe('http://evil.example');
        const rebound = 'Origin: http://evil.example:8010\r\n';
        const { sent: named } = await through(bed, get(`${PREFIX}/`, rebound, 'evil.example:8010'));
        expect(first(named.head.fields, 'origin')).toBe('http://evil.example:8010');
      }
    });

    test('switches to WebSocket with its Host, Origin and cookies mapped alike', async () => {
      const bed = await start();
      const key = 'dGhlIHNhbXBsZSBub25jZQ==';
      const upgrade = `Connection: Upgrade\r\nUpgrade: websocket\r\n`;
      const { sent, got } = await through(
        bed,
        get(
          `${PREFIX}/kernel`,
          `${upgrade}Origin: http://${APP}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n`,
        ),
        `HTTP/1.1 101 Switching Protocols\r\n${upgrade}Sec-WebSocket-Accept: ${acceptOf(key)}\r\nSet-Cookie: s=1; Path=/\r\n\r\n`,
      );
      expect(sent.head.host).toBe(bed.worker);
      expect(first(sent.head.fields, 'origin')).toBe(`http://${bed.worker}`);
      expect(first(sent.head.fields, 'x-forwarded-prefix')).toBe(PREFIX);
      expect(got.head.status).toBe(101);
      expect(first(got.head.fields, 'set-cookie')).toBe(`s=1; Path=${PREFIX}/`);
    });
  });
}

/** A worker of `h2c://` that redirects to itself by the authority that it is called by. */
async function startHttp2Redirect(): Promise<{ readonly url: string; readonly seen: string[] }> {
  const seen: string[] = [];
  const server = http2.createServer((asked, answered) => {
    seen.push(asked.authority);
    answered
      .writeHead(302, { location: `http://${asked.authority}/next`, 'set-cookie': 's=1; Path=/' })
      .end();
  });
  const sessions = new Set<http2.ServerHttp2Session>();
  server.on('session', (session) => void sessions.add(session));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestEnd(() => {
    server.close();
    for (const session of sessions) session.destroy();
  });
  return { url: `h2c://127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
}

describe('the health check of a worker with virtual hosts', () => {
  test('asks by the name that requests are sent', async () => {
    const timers = new CoarseTimers(20);
    const upstreams = workerPools({ limits: LIMITS, timers, tlsCa: null });
    onTestEnd(() => upstreams.destroy());
    const asked: (string | undefined)[] = [];
    const one = http.createServer((request, response) => {
      asked.push(request.headers.host);
      response.end();
    });
    await new Promise<void>((resolve) => one.listen(0, '127.0.0.1', resolve));
    onTestEnd(() => void one.close());
    const two = await startHttp2Redirect();
    const ports = { http: (one.address() as AddressInfo).port, h2c: Number(new URL(two.url).port) } as const;
    for (const scheme of ['http', 'h2c'] as const) {
      const origin = { scheme, host: '127.0.0.1', port: ports[scheme] };
      for (const host of [undefined, 'jupyter.example']) {
        const ask = { kind: 'get', path: '/health' } as const;
        const limits = { timeoutMs: 5_000, limitMs: 5_000 };
        const check = { origin, ask, host, ...limits, upstreams, isFresh: true };
        expect((await checkWorker(check)).fault).toBe(null);
        const seen = scheme === 'http' ? asked.at(-1) : two.seen.at(-1);
        expect(seen).toBe(host ?? `127.0.0.1:${origin.port}`);
      }
    }
  });
});

describe('a mounted service in both versions of HTTP', () => {
  const bed = sharedByTests(async () => {
    const mesh = new TestMesh();
    const seen: string[] = [];
    const one = await startHttpWorker({
      answer: ({ headers }, response) => {
        seen.push(headers.host ?? '');
        response
          .writeHead(302, { location: `http://${headers.host}/next`, 'set-cookie': 's=1; Path=/' })
          .end();
      },
    });
    const two = await startHttp2Redirect();
    const called = await mesh.join({
      id: 'called',
      services: {
        'one-worker': one.url,
        'one-keep': { url: one.url, host: 'keep' },
        'two-worker': two.url,
        'two-keep': { url: two.url, host: 'keep' },
      },
    });
    const caller = await mesh.join({ id: 'caller' });
    await caller.knows(['called']);
    return { caller, called, seen: { one: seen, two: two.seen } };
  });

  for (const version of ['HTTP/1.1', 'HTTP/2']) {
    for (const worker of ['one', 'two'] as const) {
      for (const host of ['worker', 'keep']) {
        test(`${version} to a worker of ${worker}, host: ${host}`, async () => {
          const { caller, called, seen } = bed();
          for (const { running } of [caller, called]) {
            const { port } = running.outbound;
            const client = version === 'HTTP/2' ? http2Client(port) : http1Client(port);
            const prefix = `/service/${worker}-${host}`;
            const { status, fields } = await client.call({ path: `${prefix}/x` }).done;
            expect(status).toBe(302);
            expect(fields.location).toBe(`${prefix}/next`);
            expect(fields['set-cookie']).toStrictEqual([`s=1; Path=${prefix}/`]);
            const wasKept = seen[worker].at(-1)?.endsWith(`:${port}`);
            expect(wasKept).toBe(host === 'keep');
          }
        });
      }
    }
  }
});
