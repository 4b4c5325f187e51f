/** A worker's answers that break the rules: each is the fault of its own request, is named, and is said in both logs. */
import net, { type AddressInfo } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { type Member, TestMesh } from '../support/meshes/mesh.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import * as h2 from '../support/wire/http2-frames.ts';
import { http2Client } from '../support/wire/version-clients.ts';
import { get, Http2Bed, OK } from '../support/workers/http2-bed.ts';

const TEXT = "a worker's answer is not well-formed HTTP";

async function startRaw(reply: string): Promise<string> {
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', () => socket.write(reply, 'latin1'));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestEnd(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function said({ log }: Member): unknown[] {
  return log.filter(({ message }) => message.startsWith(TEXT)).map(({ service }) => service);
}

describe('an answer of HTTP/1.1 that breaks the rules', () => {
  test('with its head, or in the first chunk behind it: 502 upstream_protocol, said in the log of both once', async () => {
    const mesh = new TestMesh();
    const chunked = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';
    const services = {
      'no-size': await startRaw(`${chunked}\r\nabc\r\n`),
      'long-chunk': await startRaw(`${chunked}2\r\nabc\r\n0\r\n\r\n`),
      trailers: await startRaw(`${chunked}0\r\nX : 1\r\n\r\n`),
      head: await startRaw('HTTP/1.1 2x0 OK\r\n\r\n'),
    };
    const called = await mesh.join({ id: 'called', services });
    const caller = await mesh.join({ id: 'caller' });
    await caller.knows(['called']);
    const names = Object.keys(services);
    for (const member of [called, caller]) {
      for (const name of names) {
        for (let n = 0; n < 2; n++) {
          const got = await member.call({ target: `/service/${name}/`, method: 'POST', body: 'x' });
          expectNamed([got.status, JSON.parse(got.body).code], `${member.id} ${name}`).toStrictEqual([
            502,
            'upstream_protocol',
          ]);
        }
      }
    }
    expect(said(caller)).toStrictEqual(names);
    expectNamed(said(called), 'once for its own app, once for its peer').toStrictEqual([...names, ...names]);
  });

  test('good chunks that come with the head pass, to their end', async () => {
    const mesh = new TestMesh();
    const url = await startRaw(
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3;x=1\r\ncde\r\n0\r\nX-Sum: 1\r\n\r\n',
    );
    const called = await mesh.join({ id: 'called', services: { good: url } });
    for (let n = 0; n < 3; n++) expect((await called.get('good')).body).toBe('abcde');
    expect(said(called)).toStrictEqual([]);
  });

  test('a status of a class that nobody knows passes on', async () => {
    const mesh = new TestMesh();
    const services = {
      low: await startRaw('HTTP/1.1 600 Odd\r\nContent-Length: 2\r\n\r\nhi'),
      high: await startRaw('HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nhi'),
    };
    await mesh.join({ id: 'called', services });
    const caller = await mesh.join({ id: 'caller' });
    await caller.knows(['called']);
    const app = http2Client(caller.running.outbound.port);
    for (const [name, status] of [
      ['low', 600],
      ['high', 999],
    ] as const) {
      const got = await caller.get(name);
      expect([got.status, got.body]).toStrictEqual([status, 'hi']);
      const other = await app.call({ path: `/service/${name}/` }).done;
      expectNamed([other.status, other.body], 'node:http2 sends none above 599').toStrictEqual([500, 'hi']);
    }
  });
});

describe('an answer of HTTP/2 that breaks the rules', () => {
  const CASES: readonly (readonly [string, (stream: number) => Buffer[]])[] = [
    [
      'more than its length',
      (s) => [h2.headers(s, [...OK, 'content-length', '1'], 0), h2.frame(h2.DATA, 1, s, 'ok')],
    ],
    [
      'less than its length',
      (s) => [h2.headers(s, [...OK, 'content-length', '5'], 0), h2.frame(h2.DATA, 1, s, 'ok')],
    ],
    [
      'a body where none may be',
      (s) => [h2.headers(s, [':status', '204'], 0), h2.frame(h2.DATA, 1, s, 'ok')],
    ],
    ['a field of one connection', (s) => [h2.headers(s, [...OK, 'connection', 'close'], 1)]],
    ['two statuses', (s) => [h2.headers(s, [...OK, ':status', '201'], 1)]],
    [
      'a status in trailers',
      (s) => [h2.headers(s, OK, 0), h2.frame(h2.DATA, 0, s, 'ok'), h2.headers(s, OK, 1)],
    ],
    ['too many interim ones', (s) => Array.from({ length: 70 }, () => h2.headers(s, [':status', '103'], 0))],
  ];
  for (const [what, frames] of CASES) {
    test(`${what}: the other streams of its connection go on, and it takes new ones`, async () => {
      const bed = await Http2Bed.start();
      const others = Array.from({ length: 3 }, () => bed.send());
      const connection = await bed.origin.connections.next();
      const streams: number[] = [];
      for (const _ of others) streams.push(await connection.request());
      for (const stream of streams)
        connection.send(h2.headers(stream, OK, 0), h2.frame(h2.DATA, 0, stream, 'a'));
      const bad = bed.send(get({ method: 'POST', body: { kind: 'length', bytes: 0 } }));
      connection.send(...frames(await connection.request()));
      expect((await bad.over).verdict).toMatch(/^upstream_protocol/);
      for (const stream of streams) connection.send(h2.frame(h2.DATA, h2.END_STREAM, stream, 'b'));
      for (const other of others)
        expect([(await other.over).verdict, other.body]).toStrictEqual(['whole', 'ab']);
      const next = bed.send();
      connection.send(h2.headers(await connection.request(), OK, h2.END_STREAM));
      expect([(await next.over).verdict, bed.origin.count]).toStrictEqual(['whole', 1]);
    });
  }

  test('a connection that cannot go on is ended, and its streams are told', async () => {
    const bed = await Http2Bed.start();
    const { told, connection, stream } = await bed.arrived();
    connection.send(h2.headers(stream, OK, 0));
    await told.began;
    connection.send(h2.frame(h2.SETTINGS, 0, 1, ''));
    expect((await told.over).verdict).toBe('upstream_protocol begun');
    await connection.closed;
  });
});
