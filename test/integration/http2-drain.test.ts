/** How HTTP/2 connections of clients end: goodbyes, idle ones, clients that vanish or never leave. */
import { describe, expect, test } from '@jest/globals';
import type { Downstream } from '../../sidecar/http/exchange.ts';
import { HttpListener } from '../../sidecar/http/listener.ts';
import { PausedSockets } from '../../sidecar/http/sockets/paused-sockets.ts';
import { CoarseTimers } from '../../sidecar/http/sockets/timers.ts';
import { problemReply } from '../../sidecar/proxy/problem.ts';
import { LIMITS } from '../support/meshes/inbound-side.ts';
import { Arrivals } from '../support/runner/arrivals.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import * as h2 from '../support/wire/http2-frames.ts';
import { Wire } from '../support/wire/wire.ts';
import { OriginConnection } from '../support/workers/http2-origin.ts';

const GET = [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'x'];

class Bed {
  readonly requests: Arrivals<Downstream> = new Arrivals('a request');
  readonly bugs: unknown[] = [];
  #listener: HttpListener | null = null;

  static async start(keepAliveMs = 60_000, onRequest?: () => void): Promise<Bed> {
    const bed = new Bed();
    bed.#listener = await HttpListener.bind({ host: '127.0.0.1', port: 0 });
    bed.#listener.serve({
      limits: LIMITS,
      headTimeoutMs: 5_000,
      strangers: null,
      pausedSockets: new PausedSockets(),
      keepAliveMs,
      timers: new CoarseTimers(10),
      onInternalError: (error) => bed.bugs.push(error),
      refuse: (code, detail) =>
        problemReply({ code, detail, service: null, requestId: null, attempts: [], proxyName: 'x' }),
      onRequest: (downstream) => {
        onRequest?.();
        bed.requests.push(downstream);
      },
    });
    onTestEnd(() => bed.listener.destroy());
    return bed;
  }

  get listener(): HttpListener {
    return this.#listener as HttpListener;
  }

  /** A client whose frames are written by the test; SETTINGS and PING are acknowledged unless `isPolite` is false. */
  async client(isPolite = true): Promise<OriginConnection> {
    const { socket } = await Wire.connect(this.listener.port);
    socket.removeAllListeners();
    onTestEnd(() => socket.destroy());
    socket.write(Buffer.concat([h2.PREFACE, h2.settings()]));
    return new OriginConnection(socket, isPolite, 0);
  }
}

function goodbye(frame: h2.Frame): { last: number; code: number } {
  return { last: frame.payload.readUInt32BE(0), code: frame.payload.readUInt32BE(4) };
}

function answer(downstream: Downstream): void {
  downstream.start(200, 'OK', [], null);
  downstream.write(Buffer.from('done'));
  downstream.end([]);
}

describe('the end of an HTTP/2 connection', () => {
  test('drain: what runs is finished, what comes later is told to be unseen, the connection closes', async () => {
    const bed = await Bed.start();
    const client = await bed.client();
    client.send(h2.headers(1, GET, h2.END_STREAM));
    const running = await bed.requests.next();
    bed.listener.drain();
    expect(goodbye(await client.next(h2.GOAWAY))).toStrictEqual({ last: 1, code: h2.NO_ERROR });
    client.send(h2.headers(3, GET, h2.END_STREAM)); // too late: the client knows from the GOAWAY
    answer(running);
    for (;;) {
      const frame = await client.next(h2.DATA);
      expect(frame.stream).toBe(1);
      if ((frame.flags & h2.END_STREAM) !== 0) break;
    }
    await client.closed;
    expect(bed.requests.size).toBe(0);
    await eventually(
      'no connection is left',
      () => bed.listener.openConnections,
      (open) => open === 0,
    );
  });

  test('drain: an idle connection is closed, also if the client never answers or leaves', async () => {
    const bed = await Bed.start();
    const polite = await bed.client();
    const deaf = await bed.client(false);
    await polite.next(h2.SETTINGS);
    await deaf.next(h2.SETTINGS);
    deaf.socket.removeAllListeners('end'); // it stays
    bed.listener.drain();
    expect(goodbye(await polite.next(h2.GOAWAY))).toStrictEqual({ last: 0, code: h2.NO_ERROR });
    await polite.closed;
    await eventually(
      'no connection is left',
      () => bed.listener.openConnections,
      (open) => open === 0,
    );
  });

  test('drain: a connection made later serves one stream', async () => {
    const bed = await Bed.start();
    bed.listener.drain();
    const client = await bed.client();
    client.send(h2.headers(1, GET, h2.END_STREAM));
    const running = await bed.requests.next();
    expect(goodbye(await client.next(h2.GOAWAY))).toStrictEqual({ last: 1, code: h2.NO_ERROR });
    answer(running);
    await client.closed;
  });

  test('an idle connection is closed after its time', async () => {
    const bed = await Bed.start(50);
    const client = await bed.client();
    expect(goodbye(await client.next(h2.GOAWAY))).toStrictEqual({ last: 0, code: h2.NO_ERROR });
    await client.closed;
  });

  test('a stream that runs keeps its connection beyond that time', async () => {
    const bed = await Bed.start(50);
    const client = await bed.client();
    client.send(h2.headers(1, GET, h2.END_STREAM));
    const running = await bed.requests.next();
    await new Promise((resolve) => setTimeout(resolve, 150)); // the time itself is what is tested
    answer(running);
    expect((await client.next(h2.DATA)).stream).toBe(1);
    await client.next(h2.GOAWAY);
  });

  test('a client that vanishes is gone for each of its streams', async () => {
    for (const end of ['end', 'resetAndDestroy'] as const) {
      const bed = await Bed.start();
      const client = await bed.client();
      const gone: number[] = [];
      const body = { onBody: () => true, onBodyEnd: () => {}, onDrain: () => {}, holdsBody: false };
      for (const stream of [1, 3, 5]) {
        client.send(h2.headers(stream, GET, h2.END_STREAM));
        const downstream = await bed.requests.next();
        downstream.attach({ ...body, onGone: () => gone.push(stream) });
        if (stream === 3) downstream.start(200, 'OK', [], null);
        if (stream === 5) answer(downstream);
      }
      client.socket[end]();
      await eventually(
        'two are gone, one was answered',
        () => gone,
        (all) => all.length === 2,
      );
      expect(gone.sort()).toStrictEqual([1, 3]);
    }
  });

  test('a fault of this program costs one stream', async () => {
    let isFirst = true;
    const bed = await Bed.start(60_000, () => {
      if (!isFirst) return;
      isFirst = false;
      throw new Error('a bug');
    });
    const client = await bed.client();
    client.send(h2.headers(1, GET, h2.END_STREAM));
    expect((await client.next(h2.HEADERS)).stream).toBe(1);
    client.send(h2.headers(3, GET, h2.END_STREAM));
    answer(await bed.requests.next());
    expect((await client.next(h2.HEADERS)).stream).toBe(3);
    expect(bed.bugs).toHaveLength(1);
  });

  test('a response that breaks is reset, not ended; also when it promised a length', async () => {
    const bed = await Bed.start();
    const client = await bed.client();
    const breaks: readonly ((downstream: Downstream) => void)[] = [
      (downstream) => downstream.destroy(),
      (downstream) => {
        downstream.start(200, 'OK', [], null);
        downstream.write(Buffer.from('x'));
        setImmediate(() => downstream.destroy());
      },
      (downstream) => {
        downstream.start(200, 'OK', [], 5);
        downstream.write(Buffer.from('x'));
        downstream.end([]); // 4 bytes short
      },
    ];
    for (const [n, broken] of breaks.entries()) {
      const stream = 2 * n + 1;
      client.send(h2.headers(stream, GET, h2.END_STREAM));
      broken(await bed.requests.next());
      for (;;) {
        const frame = await client.frames.next();
        if (frame.stream !== stream) continue;
        expect(frame.flags & h2.END_STREAM).toBe(0);
        if (frame.type !== h2.RST_STREAM) continue;
        expect(frame.payload.readUInt32BE(0)).toBe(h2.INTERNAL_ERROR);
        break;
      }
    }
  });

  test('an upload that nobody wants any more is stopped by NO_ERROR, after the whole response', async () => {
    const bed = await Bed.start();
    const client = await bed.client();
    for (const [stream, trailers] of [
      [1, []],
      [3, ['x-t', '1']],
    ] as const) {
      client.send(
        h2.headers(stream, ['x-up', '1', ...GET].slice(2), 0),
        h2.frame(h2.DATA, 0, stream, 'some'),
      );
      const downstream = await bed.requests.next();
      downstream.start(200, 'OK', [], null);
      downstream.write(Buffer.from('done'));
      downstream.end([...trailers]);
      const seen: number[] = [];
      for (;;) {
        const frame = await client.frames.next();
        if (frame.stream !== stream) continue;
        if ((frame.flags & h2.END_STREAM) !== 0 && frame.type <= h2.HEADERS) seen.push(-1);
        if (frame.type === h2.RST_STREAM) {
          expect(frame.payload.readUInt32BE(0)).toBe(h2.NO_ERROR);
          break;
        }
      }
      expectNamed(seen, 'the response ended first').toStrictEqual([-1]);
    }
  });
});
