/** A worker that answers an upload before its end and closes: its answer reaches the app, by every way. */
import net, { type AddressInfo } from 'node:net';
import tls from 'node:tls';
import { describe, expect, test } from '@jest/globals';
import { Http1Pool } from '../../sidecar/http/http1/pool.ts';
import { CoarseTimers } from '../../sidecar/http/sockets/timers.ts';
import { startTunnelEdge, TUNNEL_CERTIFICATE, TUNNEL_KEY } from '../support/edges/tunnel-edge.ts';
import { InboundSide, LIMITS } from '../support/meshes/inbound-side.ts';
import { pairFor, type SidecarPair } from '../support/meshes/sidecar-pair.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import * as h2 from '../support/wire/http2-frames.ts';
import { answer } from '../support/wire/wire-messages.ts';
import { get, Http2Bed, TIMEOUTS, Told } from '../support/workers/http2-bed.ts';

const BYTES = 8 * 1024 * 1024;
const ROUNDS = 10;
const TOO_LARGE =
  'HTTP/1.1 413 Too Large\r\nContent-Type: text/plain\r\nContent-Length: 7\r\nConnection: close\r\n\r\ntoo big';

/** Answers once so much has come, and closes with the rest unread: its kernel resets the connection. */
async function hasty(
  afterBytes: number,
  port: number,
  create: (listener: (socket: net.Socket) => void) => net.Server = net.createServer,
): Promise<net.Server> {
  const server = create((socket) => {
    let bytes = 0;
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      bytes += chunk.length;
      if (bytes < afterBytes) return;
      socket.pause();
      socket.write(TOO_LARGE, () => socket.destroy());
    });
  });
  await new Promise<void>((resolve) => server.listen({ host: '127.0.0.1', port }, resolve));
  onTestEnd(() => server.close());
  return server;
}

/** What an app that goes on sending whatever comes back is told. */
async function upload(pair: SidecarPair, framing: 'length' | 'chunked'): Promise<string> {
  const client = await pair.client();
  const body = Buffer.alloc(BYTES, 'x');
  const head = framing === 'length' ? `Content-Length: ${BYTES}` : 'Transfer-Encoding: chunked';
  client.send(`POST /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n${head}\r\n\r\n`);
  if (framing === 'chunked') client.send(`${BYTES.toString(16)}\r\n`);
  client.send(body);
  const got = await answer(client, 'POST');
  return `${got.head.status} ${got.body}`;
}

/** Sends until the answer is there. */
async function pump(told: Told): Promise<Told> {
  const piece = Buffer.alloc(65_536, 'x');
  while (told.request === null) await new Promise((resolve) => setImmediate(resolve));
  for (let left = BYTES; left > 0 && told.fault === null && told.trailers === null; left -= piece.length) {
    // A turn of the loop for each: what comes back is seen as it comes.
    if (told.request?.write(piece) !== true) await new Promise((resolve) => setImmediate(resolve));
  }
  return told.over;
}

const UPLOAD = get({ method: 'POST', body: { kind: 'length', bytes: BYTES } });

describe('a worker that answers an upload early and closes', () => {
  for (const framing of ['length', 'chunked'] as const) {
    for (const afterBytes of [1, 65_536]) {
      test(`by VPN, ${framing}, after ${afterBytes} bytes: its answer reaches the app each time`, async () => {
        const pair = await pairFor();
        await pair.b.origin.close();
        await hasty(afterBytes, pair.b.origin.port);
        for (let n = 0; n < ROUNDS; n++)
          expectNamed(await upload(pair, framing), `upload ${n}`).toBe('413 too big');
      });
    }
  }

  test('beside the app', async () => {
    const local = await InboundSide.start({ name: 'x' });
    onTestEnd(() => local.close());
    await local.origin.close();
    await hasty(65_536, local.origin.port);
    const pair = await pairFor({ peers: [], local: local.service });
    for (let n = 0; n < ROUNDS; n++)
      expectNamed(await upload(pair, 'length'), `upload ${n}`).toBe('413 too big');
  });

  test('by a tunnel', async () => {
    const pair = await pairFor({ peers: [{ hasVpn: false }] });
    const edge = await startTunnelEdge(pair.b.listener.port);
    onTestEnd(() => edge.close());
    const { record } = pair.b.peer;
    pair.b.peer.adopt({ ...record, seq: record.seq + 1, tunnel_url: edge.url }, 0);
    await pair.b.origin.close();
    await hasty(65_536, pair.b.origin.port);
    for (let n = 0; n < ROUNDS; n++)
      expectNamed(await upload(pair, 'length'), `upload ${n}`).toBe('413 too big');
  });

  test('an edge of TLS', async () => {
    const server = await hasty(65_536, 0, (listener) =>
      tls.createServer({ cert: TUNNEL_CERTIFICATE, key: TUNNEL_KEY }, listener),
    );
    const options = {
      keepIdleMs: 1_000,
      connectAttempts: 1,
      reuseUnsafeMs: 1_000,
      tlsCa: TUNNEL_CERTIFICATE,
    };
    const pool = new Http1Pool({ limits: LIMITS, timers: new CoarseTimers(10), ...options });
    onTestEnd(() => pool.destroy());
    const { port } = server.address() as AddressInfo;
    for (let n = 0; n < ROUNDS; n++) {
      const told = new Told();
      pool.request({ scheme: 'https', host: 'localhost', port }, UPLOAD, TIMEOUTS, told);
      const { head, body, verdict } = await pump(told);
      expectNamed([head?.status, body, verdict], `upload ${n}`).toStrictEqual([413, 'too big', 'whole']);
    }
  });

  test('by HTTP/2, with all the room that it gives', async () => {
    for (let n = 0; n < ROUNDS; n++) {
      const bed = await Http2Bed.start();
      bed.origin.greeting = Buffer.concat([h2.settings({ 4: 2 ** 26 }), h2.windowUpdate(0, 2 ** 26)]);
      const told = bed.send(UPLOAD);
      const connection = await bed.origin.connections.next();
      const stream = await connection.request();
      const over = pump(told);
      await connection.next(h2.DATA);
      connection.socket.pause();
      const head = h2.headers(stream, [':status', '413'], 0);
      connection.socket.write(
        Buffer.concat([head, h2.frame(h2.DATA, h2.END_STREAM, stream, 'too big')]),
        () => connection.socket.destroy(),
      );
      const { head: got, body, verdict } = await over;
      expectNamed([got?.status, body, verdict], `upload ${n}`).toStrictEqual([413, 'too big', 'whole']);
    }
  });

  test('without an answer it has broken the connection, as before', async () => {
    const pair = await pairFor();
    await pair.b.origin.close();
    const server = net.createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => socket.destroy());
    });
    await new Promise<void>((resolve) =>
      server.listen({ host: '127.0.0.1', port: pair.b.origin.port }, resolve),
    );
    onTestEnd(() => server.close());
    expect((server.address() as AddressInfo).port).toBe(pair.b.origin.port);
    expect(await upload(pair, 'length')).toMatch(/^502 .*upstream_reset/);
  });
});
