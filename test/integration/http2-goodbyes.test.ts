/** HTTP/2 origins that say goodbye: which requests they have seen, and where the next one goes. */
import { describe, expect, test } from '@jest/globals';
import { expectNamed } from '../support/runner/expectations.ts';
import * as h2 from '../support/wire/http2-frames.ts';
import { Http2Bed as Bed, get, OK } from '../support/workers/http2-bed.ts';

describe('an HTTP/2 worker that says goodbye', () => {
  for (const [name, code] of [
    ['a goodbye', h2.NO_ERROR],
    ['a goodbye in anger', h2.ENHANCE_YOUR_CALM],
  ] as const) {
    test(`${name} that leaves the stream out: sent again on a new connection`, async () => {
      const bed = await Bed.start();
      const { told, connection } = await bed.arrived();
      connection.send(h2.goaway(0, code));
      const second = await bed.origin.connections.next();
      second.send(h2.headers(await second.request(), OK, h2.END_STREAM));
      expect((await told.over).verdict).toBe('whole');
    });
  }

  test('a goodbye that leaves out a stream with its body sent: not sent', async () => {
    const bed = await Bed.start();
    const told = bed.send(get({ method: 'POST', body: { kind: 'length', bytes: 4 } }));
    const connection = await bed.origin.connections.next();
    await connection.request();
    told.request?.write(Buffer.from('body'));
    await connection.next(h2.DATA);
    connection.send(h2.goaway(0, h2.NO_ERROR));
    expect((await told.over).verdict).toBe('upstream_reset not_sent');
  });

  test('a goodbye that counts the stream in: it goes on, new requests go elsewhere', async () => {
    const bed = await Bed.start();
    const { told, connection, stream } = await bed.arrived();
    connection.send(h2.headers(stream, OK, 0), h2.goaway(2 ** 31 - 1, h2.NO_ERROR));
    await told.began;
    const next = bed.send();
    const second = await bed.origin.connections.next();
    second.send(h2.headers(await second.request(), OK, h2.END_STREAM));
    expect((await next.over).verdict).toBe('whole');
    connection.send(h2.frame(h2.DATA, h2.END_STREAM, stream, 'late'));
    expect([(await told.over).verdict, told.body]).toStrictEqual(['whole', 'late']);
  });

  test('a goodbye that counts in the last stream alone, then a break: that one was sent, the later one goes again', async () => {
    const bed = await Bed.start();
    const post = get({ method: 'POST', body: { kind: 'length', bytes: 4 } });
    const counted = bed.send(post);
    const connection = await bed.origin.connections.next();
    const last = await connection.request();
    counted.request?.write(Buffer.from('body'));
    await connection.next(h2.DATA);
    const later = bed.send();
    await connection.request();
    connection.send(h2.goaway(last, h2.NO_ERROR));
    const second = await bed.origin.connections.next();
    second.send(h2.headers(await second.request(), OK, h2.END_STREAM));
    expect((await later.over).verdict).toBe('whole');
    connection.socket.resetAndDestroy();
    expectNamed((await counted.over).verdict, 'it may have been done').toBe('upstream_reset sent');
  });

  test('an idle connection is closed, with a goodbye', async () => {
    const bed = await Bed.start(null, 30);
    const { told, connection, stream } = await bed.arrived();
    connection.send(h2.headers(stream, OK, h2.END_STREAM));
    await told.over;
    expect((await connection.next(h2.GOAWAY)).payload.readUInt32BE(4)).toBe(h2.NO_ERROR);
    connection.socket.end();
    await connection.closed;
  });
});
