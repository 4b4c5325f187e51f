/** A port that is taken before anything is there to serve it: who connects waits, and is not refused. */
import { describe, expect, test } from '@jest/globals';
import { HttpListener } from '../../sidecar/http/listener.ts';
import { PausedSockets } from '../../sidecar/http/sockets/paused-sockets.ts';
import { CoarseTimers } from '../../sidecar/http/sockets/timers.ts';
import { jsonReply, problemReply, sendReply } from '../../sidecar/proxy/problem.ts';
import { LIMITS } from '../support/meshes/inbound-side.ts';
import { fail } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { Wire } from '../support/wire/wire.ts';
import { answer } from '../support/wire/wire-messages.ts';

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';

function serve(listener: HttpListener): void {
  listener.serve({
    limits: LIMITS,
    headTimeoutMs: 5_000,
    pausedSockets: new PausedSockets(),
    keepAliveMs: 60_000,
    timers: new CoarseTimers(10),
    onInternalError: (error) => fail(String(error)),
    refuse: (code, detail) =>
      problemReply({ code, detail, service: null, requestId: null, attempts: [], proxyName: 'x' }),
    onRequest: (downstream) => sendReply(downstream, jsonReply(200, { isServed: true }), []),
  });
}

describe('a listening port', () => {
  test('who connects before it serves is served then, and so are those who come later', async () => {
    const listener = await HttpListener.bind({ host: '127.0.0.1', port: 0 });
    onTestEnd(() => listener.destroy());
    const early = await Wire.connect(listener.port);
    onTestEnd(() => early.close());
    early.send(GET);
    // Answered by this process: by then the first connection has been accepted.
    const second = await Wire.connect(listener.port);
    onTestEnd(() => second.close());
    await new Promise((resolve) => setImmediate(resolve));
    serve(listener);
    expect((await answer(early)).head.status).toBe(200);
    second.send(GET);
    expect((await answer(second)).head.status).toBe(200);
    const late = await Wire.connect(listener.port);
    onTestEnd(() => late.close());
    late.send(GET);
    expect((await answer(late)).head.status).toBe(200);
    expect(listener.openConnections).toBe(3);
  });

  test('one that ends before it served breaks those who wait, and the port is free', async () => {
    const listener = await HttpListener.bind({ host: '127.0.0.1', port: 0 });
    const early = await Wire.connect(listener.port);
    onTestEnd(() => early.close());
    const closed = new Promise((resolve) => early.socket.once('close', resolve));
    early.send(GET);
    await listener.destroy();
    await closed;
    const again = await HttpListener.bind({ host: '127.0.0.1', port: listener.port });
    await again.destroy();
  });
});
