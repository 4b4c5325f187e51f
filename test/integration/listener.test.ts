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
    strangers: null,
    pausedSockets: new PausedSockets(),
    keepAliveMs: 60_000,
    timers: new CoarseTimers(10),
    onInternalError: (error) => fail(String(error)),
    refuse: (code, detail) =>
      problemReply({ code, detail, service: null, requestId: null, attempts: [], proxyName: 'x' }),
    onRequest: (downstream) => sendReply(downstream, jsonReply(200, { isServed: true }), []),
  });
}

async function served(): Promise<HttpListener> {
  const listener = await HttpListener.bind({ host: '127.0.0.1', port: 0 });
  onTestEnd(() => listener.destroy());
  serve(listener);
  return listener;
}

async function connected({ port }: HttpListener): Promise<Wire> {
  const wire = await Wire.connect(port);
  onTestEnd(() => wire.close());
  return wire;
}

describe('a port that takes no more requests', () => {
  test('idle connections are closed at once, used before or not; who is sending a head is still answered', async () => {
    const listener = await served();
    const [unused, idle, sending] = [
      await connected(listener),
      await connected(listener),
      await connected(listener),
    ];
    idle.send(GET);
    expect((await answer(idle)).head.keepAlive).toBe(true);
    sending.send(`${GET}GET / HTTP/1.1\r\n`);
    await answer(sending);
    expect(listener.openConnections).toBe(3);
    listener.drain();
    expect([await unused.ended(), await idle.ended()]).toStrictEqual(['end', 'end']);
    sending.send('Host: a\r\n\r\n');
    const last = await answer(sending);
    expect([last.head.status, last.head.keepAlive]).toStrictEqual([200, false]);
    expect(await sending.ended()).toBe('end');
  });
});

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
