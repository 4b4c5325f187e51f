/** Requests to HTTP/2 origins that refuse, reset, break the rules or fall silent: stage by stage. */
import net from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { Http2Pool } from '../../sidecar/http/http2/pool.ts';
import { CoarseTimers } from '../../sidecar/http/sockets/timers.ts';
import { LIMITS } from '../support/meshes/inbound-side.ts';
import { expectNamed, fail } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import * as h2 from '../support/wire/http2-frames.ts';
import { Http2Bed as Bed, get, OK, TIMEOUTS, Told } from '../support/workers/http2-bed.ts';
import type { OriginConnection } from '../support/workers/http2-origin.ts';

describe('a request to an HTTP/2 worker', () => {
  test('a response, its body, its trailers; one connection for the next one too', async () => {
    const bed = await Bed.start();
    const { told, connection, stream } = await bed.arrived();
    connection.send(
      h2.headers(stream, [...OK, 'x-a', '1', 'x-a', '2', 'content-length', '4'], 0),
      h2.frame(h2.DATA, 0, stream, 'body'),
      h2.headers(stream, ['x-t', '3'], h2.END_STREAM),
    );
    await told.over;
    expect(told.head?.fields).toStrictEqual(['x-a', '1', 'x-a', '2', 'content-length', '4']);
    expect([told.head?.bodyBytes, told.head?.version]).toStrictEqual([4, '2.0']);
    expect([told.body, told.trailers, told.sent]).toStrictEqual(['body', ['x-t', '3'], 1]);
    const next = bed.send();
    const second = await connection.request();
    connection.send(h2.headers(second, [':status', '204'], h2.END_STREAM));
    await next.over;
    expect([next.head?.status, next.head?.bodyBytes, bed.origin.count]).toStrictEqual([204, 0, 1]);
  });

  test('no connection: not sent', async () => {
    const closed = net.createServer();
    await new Promise<void>((resolve) => closed.listen(0, '127.0.0.1', resolve));
    const { port } = closed.address() as net.AddressInfo;
    await new Promise((resolve) => closed.close(resolve));
    const bed = await Bed.start();
    bed.origin.port = port;
    const refused = await bed.send().over;
    expect([refused.verdict, refused.sent]).toStrictEqual(['connect_failed not_sent', 0]);
  });

  test('an origin that speaks HTTP/1.1: not sent, and says so', async () => {
    const bed = await Bed.start();
    bed.origin.greeting = Buffer.from('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n');
    const told = await bed.send().over;
    expect([told.verdict, told.sent]).toStrictEqual(['connect_failed not_sent', 0]);
    expect(told.fault?.detail ?? '').toMatch(/not HTTP\/2/);
    await (await bed.origin.connections.next()).closed;
  });

  test('an origin that takes the connection and says nothing: not sent', async () => {
    const bed = await Bed.start();
    bed.origin.greeting = null;
    const told = await bed.send(get(), { connectMs: 100 }).over;
    expect([told.verdict, told.sent]).toStrictEqual(['connect_timeout not_sent', 0]);
    await (await bed.origin.connections.next()).closed;
  });

  test('given up while it waits: the connection is given up too', async () => {
    const bed = await Bed.start();
    bed.origin.greeting = null;
    const told = bed.send();
    const connection = await bed.origin.connections.next();
    told.handle.abort();
    await connection.closed;
    expect([told.sent, told.fault]).toStrictEqual([0, null]);
  });

  test('a stream refused once is sent again, without the sender noticing', async () => {
    const bed = await Bed.start();
    const { told, connection, stream } = await bed.arrived();
    connection.send(h2.reset(stream, h2.REFUSED_STREAM));
    const again = await connection.request();
    expect(again).not.toBe(stream);
    connection.send(h2.headers(again, OK, h2.END_STREAM));
    expect((await told.over).verdict).toBe('whole');
  });

  test('a stream refused twice, or with its body sent: not sent', async () => {
    const bed = await Bed.start();
    const { told, connection, stream } = await bed.arrived();
    connection.send(h2.reset(stream, h2.REFUSED_STREAM));
    connection.send(h2.reset(await connection.request(), h2.REFUSED_STREAM));
    expect((await told.over).verdict).toBe('upstream_reset not_sent');
    const upload = bed.send(get({ method: 'POST', body: { kind: 'chunked' } }));
    upload.request?.write(Buffer.from('body'));
    const uploaded = await connection.request();
    await connection.next(h2.DATA);
    connection.send(h2.reset(uploaded, h2.REFUSED_STREAM));
    expect((await upload.over).verdict).toBe('upstream_reset not_sent');
  });

  /** Frames of the origin after it got the request on `stream`, and what they must be taken for. */
  const CUTS: readonly (readonly [string, (stream: number) => Buffer[], string])[] = [
    ['reset before the head', (s) => [h2.reset(s, h2.INTERNAL_ERROR)], 'upstream_reset sent'],
    ['reset by PROTOCOL_ERROR', (s) => [h2.reset(s, h2.PROTOCOL_ERROR)], 'upstream_protocol sent'],
    ['reset before the head, NO_ERROR', (s) => [h2.reset(s, h2.NO_ERROR)], 'upstream_reset sent'],
    [
      'reset after the head',
      (s) => [h2.headers(s, OK, 0), h2.frame(h2.DATA, 0, s, 'x'), h2.reset(s, h2.INTERNAL_ERROR)],
      'upstream_reset begun',
    ],
    [
      'reset after the head by CANCEL',
      (s) => [h2.headers(s, OK, 0), h2.frame(h2.DATA, 0, s, 'x'), h2.reset(s, h2.CANCEL)],
      'upstream_reset begun',
    ],
    [
      'reset after the head by NO_ERROR',
      (s) => [h2.headers(s, OK, 0), h2.frame(h2.DATA, 0, s, 'x'), h2.reset(s, h2.NO_ERROR)],
      'upstream_reset begun',
    ],
    ['no status', (s) => [h2.headers(s, ['x', '1'], h2.END_STREAM)], 'upstream_protocol sent'],
    ['status 99', (s) => [h2.headers(s, [':status', '99'], h2.END_STREAM)], 'upstream_protocol sent'],
    ['status 1000', (s) => [h2.headers(s, [':status', '1000'], h2.END_STREAM)], 'upstream_protocol sent'],
    ['status 101', (s) => [h2.headers(s, [':status', '101'], 0)], 'upstream_protocol sent'],
    ['a status of words', (s) => [h2.headers(s, [':status', 'abc'], 0)], 'upstream_protocol sent'],
    ['connection', (s) => [h2.headers(s, [...OK, 'connection', 'close'], 0)], 'upstream_protocol sent'],
    [
      'transfer-encoding',
      (s) => [h2.headers(s, [...OK, 'transfer-encoding', 'chunked'], 0)],
      'upstream_protocol sent',
    ],
    ['a name in upper case', (s) => [h2.headers(s, [...OK, 'X-A', '1'], 0)], 'upstream_protocol sent'],
    [
      'a length that is none',
      (s) => [h2.headers(s, [...OK, 'content-length', 'x'], 0)],
      'upstream_protocol sent',
    ],
    [
      'two lengths',
      (s) => [h2.headers(s, [...OK, 'content-length', '1', 'content-length', '1'], 0)],
      'upstream_protocol sent',
    ],
    [
      'a head that is too large',
      (s) => [
        h2.frame(h2.HEADERS, 0, s, h2.fieldBlock(OK)),
        ...Array.from({ length: 7 }, (_, n) =>
          h2.frame(
            h2.CONTINUATION,
            n === 6 ? h2.END_HEADERS : 0,
            s,
            h2.fieldBlock([`x-${n}`, 'v'.repeat(10_000)]),
          ),
        ),
      ],
      'upstream_protocol sent',
    ],
    [
      'too many fields',
      (s) => [h2.headers(s, [...OK, ...Array.from({ length: 300 }, (_, n) => [`x-${n}`, 'v']).flat()], 0)],
      'upstream_protocol sent',
    ],
    ['DATA before the head', (s) => [h2.frame(h2.DATA, h2.END_STREAM, s, 'x')], 'upstream_protocol sent'],
    [
      'an interim response that ends',
      (s) => [h2.headers(s, [':status', '103'], h2.END_STREAM)],
      'upstream_protocol sent',
    ],
    [
      '65 interim responses',
      (s) => Array.from({ length: 65 }, () => h2.headers(s, [':status', '103'], 0)),
      'upstream_protocol sent',
    ],
    [
      'a pseudo-header field in the trailers',
      (s) => [h2.headers(s, OK, 0), h2.headers(s, [':status', '200'], h2.END_STREAM)],
      'upstream_protocol begun',
    ],
  ];

  test('a fault of one stream ends that stream alone', async () => {
    for (const [what, frames, verdict] of CUTS) {
      const bed = await Bed.start();
      const { told, connection, stream } = await bed.arrived();
      connection.send(...frames(stream));
      expectNamed((await told.over).verdict, what).toBe(verdict);
    }
  });

  /** node:http2 makes connection errors of most of these: each request on the connection is cut. */
  const BREAKS: readonly (readonly [string, (stream: number) => Buffer[], RegExp, true?])[] = [
    [
      'more body than its length',
      (s) => [h2.headers(s, [...OK, 'content-length', '1'], 0), h2.frame(h2.DATA, h2.END_STREAM, s, 'xx')],
      /begun$/,
      true,
    ],
    [
      'less body than its length',
      (s) => [h2.headers(s, [...OK, 'content-length', '3'], 0), h2.frame(h2.DATA, h2.END_STREAM, s, 'xx')],
      /begun$/,
      true,
    ],
    [
      'a push that was forbidden',
      (s) => [h2.frame(5, 4, s, Buffer.concat([Buffer.from([0, 0, 0, 2]), h2.fieldBlock(OK)]))],
      /sent$/,
    ],
    ['DATA on stream 0', () => [h2.frame(h2.DATA, 0, 0, 'x')], /sent$/],
    [
      'broken HPACK',
      (s) => [h2.frame(h2.HEADERS, 4, s, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]))],
      /sent$/,
    ],
  ];

  test('a fault of the whole connection ends its streams, and the next request gets a new one', async () => {
    for (const [what, frames, verdict, isStreamOnly] of BREAKS) {
      const bed = await Bed.start();
      const { told, connection, stream } = await bed.arrived();
      connection.send(...frames(stream));
      expectNamed((await told.over).verdict, what).toMatch(verdict);
      expectNamed(told.verdict, what).toMatch(/^upstream_/);
      if (isStreamOnly) continue;
      const next = bed.send();
      await bed.origin.connections.next();
      next.handle.abort();
    }
  });

  test('a connection that ends: sent before the head, begun after it', async () => {
    for (const end of ['end', 'resetAndDestroy'] as const) {
      const bed = await Bed.start();
      const before = await bed.arrived();
      before.connection.socket[end]();
      expect((await before.told.over).verdict).toBe('upstream_reset sent');
      const after = await bed.arrived();
      after.connection.send(h2.headers(after.stream, OK, 0));
      await after.told.began;
      after.connection.socket[end]();
      expect((await after.told.over).verdict).toBe('upstream_reset begun');
    }
  });

  test('a whole response outlives its connection, however slow its reader', async () => {
    const bed = await Bed.start();
    const { told, connection, stream } = await bed.arrived();
    const piece = Buffer.alloc(16_384, 0x78);
    connection.send(h2.headers(stream, OK, 0), h2.frame(h2.DATA, 0, stream, 'first'));
    await told.began;
    told.request?.pause();
    connection.send(h2.frame(h2.DATA, 0, stream, piece), h2.frame(h2.DATA, h2.END_STREAM, stream, 'last'));
    connection.socket.end();
    // A request finds out that the connection is gone, so the end has been seen.
    expect((await bed.send().over).verdict).toBe('upstream_reset sent');
    const next = bed.send();
    const second = await bed.origin.connections.next();
    second.send(h2.headers(await second.request(), OK, h2.END_STREAM));
    await next.over;
    told.request?.resume();
    expect([(await told.over).verdict, told.body.length]).toStrictEqual(['whole', 5 + 16_384 + 4]);
  });

  test('time limits: of the head, and between two bytes; the connection goes on', async () => {
    const bed = await Bed.start();
    const late = bed.send(get(), { headMs: 50 });
    const connection = await bed.origin.connections.next();
    await connection.request();
    expect((await late.over).verdict).toBe('response_timeout sent');
    expect((await connection.next(h2.RST_STREAM)).payload.readUInt32BE(0)).toBe(h2.CANCEL);
    const slow = bed.send(get(), { idleMs: 50 });
    connection.send(h2.headers(await connection.request(), OK, 0));
    expect((await slow.over).verdict).toBe('response_timeout begun');
    expect(bed.origin.count).toBe(1);
  });

  test('a fault of this program costs one request', async () => {
    const bed = await Bed.start();
    const bugs: unknown[] = [];
    const pool = new Http2Pool({
      limits: LIMITS,
      timers: new CoarseTimers(10),
      keepIdleMs: 60_000,
      connectAttempts: 1,
      proveAfterMs: null,
      onInternalError: (error) => bugs.push(error),
    });
    onTestEnd(() => pool.destroy());
    const told = new Told();
    told.onData = () => fail('a bug');
    pool.request({ scheme: 'h2c', host: '127.0.0.1', port: bed.origin.port }, get(), TIMEOUTS, told);
    const connection = await bed.origin.connections.next();
    const stream = await connection.request();
    connection.send(h2.headers(stream, OK, 0), h2.frame(h2.DATA, 0, stream, 'x'));
    expect((await told.over).verdict).toBe('internal begun');
    expect((await connection.next(h2.RST_STREAM)).stream).toBe(stream);
    expect(bugs).toHaveLength(1);
  });

  test('an upload that is given up is reset, not ended', async () => {
    const bed = await Bed.start();
    const told = bed.send(get({ method: 'POST', body: { kind: 'chunked' } }));
    const connection = await bed.origin.connections.next();
    const stream = await connection.request();
    told.request?.write(Buffer.from('half'));
    const data = await connection.next(h2.DATA);
    expect(data.flags & h2.END_STREAM).toBe(0);
    told.handle.abort();
    const frame = await connection.frames.next();
    expect([frame.type, frame.stream, frame.payload.readUInt32BE(0)]).toStrictEqual([
      h2.RST_STREAM,
      stream,
      h2.CANCEL,
    ]);
  });

  test('streams beyond what the origin allows go to another connection', async () => {
    const bed = await Bed.start();
    bed.origin.greeting = h2.settings({ 3: 2 });
    const all = [bed.send(), bed.send(), bed.send()];
    const first = await bed.origin.connections.next();
    const second = await bed.origin.connections.next();
    const streams: readonly (readonly [OriginConnection, number])[] = [
      [first, await first.request()],
      [first, await first.request()],
      [second, await second.request()],
    ];
    for (const [connection, stream] of streams) connection.send(h2.headers(stream, OK, h2.END_STREAM));
    for (const told of all) expect((await told.over).verdict).toBe('whole');
    expect(bed.pool.openConnections).toBe(2);
  });

  /** Time itself is what is tested; a timer alone may fire early by the length of the tick that set it. */
  async function silence(ms: number): Promise<void> {
    const untilMs = performance.now() + ms;
    while (performance.now() < untilMs) await new Promise((resolve) => setTimeout(resolve, 5));
  }

  test('after silence a sign of life comes first; without one nothing is sent', async () => {
    const bed = await Bed.start(100);
    const { told, connection, stream } = await bed.arrived();
    connection.send(h2.headers(stream, OK, h2.END_STREAM));
    await told.over;
    await silence(130);
    const proved = bed.send();
    expect(proved.sent).toBe(0);
    await connection.next(h2.PING);
    connection.send(h2.headers(await connection.request(), OK, h2.END_STREAM));
    expect((await proved.over).verdict).toBe('whole');
    connection.socket.pause(); // a cable is pulled
    await silence(130);
    const lost = await bed.send(get({ method: 'POST' }), { connectMs: 80 }).over;
    expect([lost.verdict, lost.sent]).toStrictEqual(['connect_timeout not_sent', 0]);
    const next = bed.send();
    const second = await bed.origin.connections.next();
    second.send(h2.headers(await second.request(), OK, h2.END_STREAM));
    expect((await next.over).verdict).toBe('whole');
  });

  test('streams on a connection that has fallen silent are cut', async () => {
    const bed = await Bed.start(30);
    const { told, connection, stream } = await bed.arrived();
    connection.send(h2.headers(stream, OK, 0));
    await told.began;
    await connection.next(h2.PING);
    await connection.next(h2.PING); // answered: it lives
    expect(told.fault).toBe(null);
    connection.socket.pause();
    expect((await told.over).verdict).toBe('upstream_reset begun');
  });
});
