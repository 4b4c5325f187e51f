/** Connections that are not read: when a closed half is no leaving, and how often they are looked at. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import type { Http1Downstream } from '../../sidecar/http/http1/downstream.ts';
import { READ_AHEAD_BYTES } from '../../sidecar/http/http1/request-body.ts';
import { HttpListener } from '../../sidecar/http/listener.ts';
import { PausedSockets } from '../../sidecar/http/sockets/paused-sockets.ts';
import { TcpTable } from '../../sidecar/http/sockets/tcp-table.ts';
import { CoarseTimers } from '../../sidecar/http/sockets/timers.ts';
import { problemReply } from '../../sidecar/proxy/problem.ts';
import { LIMITS } from '../support/meshes/inbound-side.ts';
import { Arrivals } from '../support/runner/arrivals.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { Wire } from '../support/wire/wire.ts';

/** The last byte of it makes it too much to be read ahead. */
const UPLOAD_BYTES = READ_AHEAD_BYTES + 1;

/** More than the system's buffers hold. */
const ANSWER_BYTES = 16 * 1024 * 1024;

/** Several looks at sockets that are not read. */
const LOOKS_MS = 400;
const LONG_LOOK_MS = 400;

describe('a connection that is not read', () => {
  test('a response that comes before its upload is taken reaches a slow client that has closed its half', async () => {
    const requests: Arrivals<Http1Downstream> = new Arrivals('a request');
    const bugs: unknown[] = [];
    const listener = await HttpListener.bind({ host: '127.0.0.1', port: 0 });
    listener.serve({
      limits: LIMITS,
      headTimeoutMs: 5_000,
      strangers: null,
      pausedSockets: new PausedSockets(),
      keepAliveMs: 60_000,
      timers: new CoarseTimers(10),
      onInternalError: (error) => bugs.push(error),
      refuse: (code, detail) =>
        problemReply({ code, detail, service: null, requestId: null, attempts: [], proxyName: 'x' }),
      onRequest: (downstream) => requests.push(downstream as Http1Downstream),
    });
    onTestEnd(() => listener.destroy());
    const client = await Wire.connect(listener.port);
    onTestEnd(() => client.close());
    client.send(`PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: ${UPLOAD_BYTES}\r\n\r\n`);
    client.send(Buffer.alloc(UPLOAD_BYTES));
    const downstream = await requests.next();
    await eventually(
      'the whole upload is here, and the connection is not read',
      () => downstream.wantsPause,
      (isHeld) => isHeld,
    );
    client.socket.pause();
    downstream.start(200, 'OK', [], ANSWER_BYTES);
    downstream.write(Buffer.alloc(ANSWER_BYTES, 'x'));
    downstream.end([]);
    client.finish();
    await pause(LOOKS_MS); // nothing happens: that is what is tested
    client.socket.resume();
    expect(await client.ended()).toBe('end');
    const head = await client.until('\r\n\r\n');
    expect(client.receivedBytes).toBe(head.length + ANSWER_BYTES);
    expect(bugs).toStrictEqual([]);
  });

  test('a look that lasts because the host is busy does not put off the next one', async () => {
    let looks = 0;
    const held = new PausedSockets(async () => {
      looks += 1;
      if (looks === 1) await pause(LONG_LOOK_MS); // as if others had the processor
      return await TcpTable.read();
    });
    const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
    onTestEnd(() => server.close());
    await once(server, 'listening');
    const client = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1' });
    onTestEnd(() => client.destroy());
    const [socket] = (await once(server, 'connection')) as [Socket];
    onTestEnd(() => socket.destroy());
    const startedMs = performance.now();
    held.setPaused(socket, true);
    await eventually(
      'the next look',
      () => looks,
      (count) => count >= 2,
    );
    const tookMs = performance.now() - startedMs;
    // Counted as work, the first one would put it off by ten times as long.
    expectNamed(tookMs, `${tookMs} ms`).toBeLessThan(5 * LONG_LOOK_MS);
    const closed = once(socket, 'close');
    client.end();
    await closed;
  });
});
