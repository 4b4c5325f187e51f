/** A worker that answers an upload before its end and closes: its answer reaches the app, by every way. */
import net, { type AddressInfo } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { startTunnelEdge } from '../support/edges/tunnel-edge.ts';
import { InboundSide } from '../support/meshes/inbound-side.ts';
import { pairFor, type SidecarPair } from '../support/meshes/sidecar-pair.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { answer } from '../support/wire/wire-messages.ts';

const BYTES = 8 * 1024 * 1024;
const ROUNDS = 10;
const TOO_LARGE =
  'HTTP/1.1 413 Too Large\r\nContent-Type: text/plain\r\nContent-Length: 7\r\nConnection: close\r\n\r\ntoo big';

/** Answers once so much has come, and closes with the rest unread: its kernel resets the connection. */
async function hasty(afterBytes: number, port: number): Promise<net.Server> {
  const server = net.createServer((socket) => {
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
