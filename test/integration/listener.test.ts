/** A port that is taken before anything is there to serve it: who connects waits, and is not refused. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { HttpListener } from '../../sidecar/http/listener.ts';
import { PausedSockets } from '../../sidecar/http/sockets/paused-sockets.ts';
import { CoarseTimers } from '../../sidecar/http/sockets/timers.ts';
import { jsonReply, problemReply, sendReply } from '../../sidecar/proxy/problem.ts';
import { LIMITS } from '../support/inbound-side.ts';
import { Wire } from '../support/wire.ts';
import { answer } from '../support/wire-messages.ts';

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';

function serve(listener: HttpListener): void {
  listener.serve({
    limits: LIMITS,
    headTimeoutMs: 5_000,
    pausedSockets: new PausedSockets(),
    keepAliveMs: 60_000,
    timers: new CoarseTimers(10),
    onInternalError: (error) => assert.fail(String(error)),
    refuse: (code, detail) =>
      problemReply({ code, detail, service: null, requestId: null, attempts: [], proxyName: 'x' }),
    onRequest: (downstream) => sendReply(downstream, jsonReply(200, { isServed: true }), []),
  });
}

test('who connects before it serves is served then, and so are those who come later', async (t) => {
  const listener = await HttpListener.bind({ host: '127.0.0.1', port: 0 });
  t.after(() => listener.destroy());
  const early = await Wire.connect(listener.port);
  t.after(() => early.close());
  early.send(GET);
  // Answered by this process: by then the first connection has been accepted.
  const second = await Wire.connect(listener.port);
  t.after(() => second.close());
  await new Promise((resolve) => setImmediate(resolve));
  serve(listener);
  assert.equal((await answer(early)).head.status, 200);
  second.send(GET);
  assert.equal((await answer(second)).head.status, 200);
  const late = await Wire.connect(listener.port);
  t.after(() => late.close());
  late.send(GET);
  assert.equal((await answer(late)).head.status, 200);
  assert.equal(listener.openConnections, 3);
});

test('one that ends before it served breaks those who wait, and the port is free', async (t) => {
  const listener = await HttpListener.bind({ host: '127.0.0.1', port: 0 });
  const early = await Wire.connect(listener.port);
  t.after(() => early.close());
  const closed = new Promise((resolve) => early.socket.once('close', resolve));
  early.send(GET);
  await listener.destroy();
  await closed;
  const again = await HttpListener.bind({ host: '127.0.0.1', port: listener.port });
  await again.destroy();
});
