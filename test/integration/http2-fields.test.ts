/** Header fields through both sidecars and both versions: order, repetition and bytes, and the documented changes. */
import http from 'node:http';
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { TestMesh } from '../support/meshes/mesh.ts';
import { Arrivals } from '../support/runner/arrivals.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

const ANSWER = [
  'x-one',
  '1',
  'set-cookie',
  'a=1',
  'x-one',
  '2',
  'set-cookie',
  'b=2',
  'x-latin',
  'caf\u00e9 \u00ff',
];

interface Seen {
  readonly start: string;
  readonly raw: readonly string[];
}

async function worker(scheme: 'http' | 'h2c', seen: Arrivals<Seen>): Promise<string> {
  const server =
    scheme === 'http'
      ? http.createServer((request, response) => {
          if (request.url === '/health') return void response.end();
          seen.push({ start: `${request.method} ${request.url}`, raw: request.rawHeaders });
          response.writeHead(200, ANSWER).end();
        })
      : http2.createServer({ strictSingleValueFields: false });
  server.on(
    'stream',
    (stream: http2.ServerHttp2Stream, list: http2.IncomingHttpHeaders, _flags: number, raw: string[]) => {
      if (list[':path'] === '/health') return stream.respond({ ':status': 200 }, { endStream: true });
      seen.push({ start: `${list[':method']} ${list[':path']}`, raw });
      stream.respond([':status', '200', ...ANSWER] as never, { endStream: true });
    },
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestEnd(() => {
    server.close();
    if ('closeAllConnections' in server) server.closeAllConnections();
  });
  return `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function named(raw: readonly string[], name: string): string[] {
  return raw.filter((_, n) => n % 2 === 1 && raw[n - 1]?.toLowerCase() === name);
}

describe('header fields in both HTTP versions', () => {
  test('order, repetition and bytes are kept, but for the documented changes', async () => {
    const seen: Arrivals<Seen> = new Arrivals('a request at the worker');
    const health = { path: '/health' }; // asked in the worker's own version
    const services = {
      one: { url: await worker('http', seen), health },
      two: { url: await worker('h2c', seen), health },
    };
    const mesh = new TestMesh();
    await mesh.join({ id: 'called', services });
    const caller = await mesh.join({ id: 'caller', env: { SIDECAR_OUTBOUND_HOSTS: 'app' } });
    await caller.knows(['called']);
    const { port } = caller.running.outbound;
    const session = http2.connect(`http://127.0.0.1:${port}`);
    session.on('error', () => {});
    onTestEnd(() => session.destroy());

    const target = '/a%2Fb//c;d?q=%00&r=[{}]|';
    const fields = [
      'x-two',
      'b',
      'cookie',
      'c=3; d=4',
      'x-two',
      'a',
      'x-latin',
      '\u00fcber',
      'accept',
      '*/*',
      'x-empty',
      '',
    ];
    const calls = {
      h1: (service: string) =>
        new Promise<readonly string[]>((resolve, reject) => {
          const path = `/service/${service}${target}`;
          const request = http.request(
            { host: '127.0.0.1', port, path, headers: ['Host', 'app', ...fields] },
            (answer) => {
              answer.resume();
              resolve(answer.rawHeaders);
            },
          );
          request.on('error', reject).end();
        }),
      h2: (service: string) =>
        new Promise<readonly string[]>((resolve, reject) => {
          const crumbs = fields.flatMap((text) => (text === 'c=3; d=4' ? ['c=3', 'cookie', 'd=4'] : [text]));
          const stream = session.request([
            ':path',
            `/service/${service}${target}`,
            ':authority',
            'app',
            ...crumbs,
          ] as never);
          stream.on('response', (_list, _flags, ...raw: string[][]) => resolve(raw[0] ?? []));
          stream.on('error', reject).resume();
        }),
    };
    for (const [version, call] of Object.entries(calls)) {
      for (const service of ['one', 'two']) {
        const answer = await call(service);
        const request = await seen.next();
        const where = `${version}→${service}`;
        expectNamed(request.start, where).toBe(`GET ${target}`);
        for (const name of ['x-two', 'cookie', 'x-latin', 'accept', 'x-empty'])
          expectNamed(named(request.raw, name), `${where}: ${name}`).toStrictEqual(named(fields, name));
        for (const name of ['x-one', 'set-cookie', 'x-latin'])
          expectNamed(named(answer, name), `${where}: ${name}`).toStrictEqual(named(ANSWER, name));
        // Nothing of the sidecars' own reaches the worker.
        expect(
          request.raw.filter((text, n) => n % 2 === 0 && text.toLowerCase().startsWith('sidecar-')),
        ).toStrictEqual([]);
        const first = version === 'h2' ? '2.0' : '1.1';
        expect(named(request.raw, 'via').join(', ')).toStrictEqual(
          `${first} caller-outbound, ${first} called-inbound`,
        );
        expect(named(request.raw, 'x-forwarded-host')).toStrictEqual(['app']);
      }
    }
  });
});
