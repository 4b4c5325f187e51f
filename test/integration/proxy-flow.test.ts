/** Back-pressure in both directions, and who is to blame when one side stands still. */
import { describe, expect, test } from '@jest/globals';
import { pairFor, SidecarPair } from '../support/meshes/sidecar-pair.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { fillUp } from '../support/wire/fill-up.ts';
import { answer, answerHead, request, requestHead } from '../support/wire/wire-messages.ts';

const GET = 'GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n\r\n';
const POST = 'POST /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** More than all kernel buffers on the way hold. */
const HUGE_BYTES = 256 * 1024 * 1024;

describe('back-pressure', () => {
  test('a worker that does not read stops the upload; when it reads, everything arrives', async () => {
    const pair = await pairFor();
    const client = await pair.client();
    client.send(`${POST}Content-Length: ${HUGE_BYTES}\r\n\r\n`);
    const worker = await pair.b.origin.connection();
    await requestHead(worker);
    worker.socket.pause();
    const heldBefore = process.memoryUsage().arrayBuffers;
    const written = await fillUp(client);
    expectNamed(
      process.memoryUsage().arrayBuffers - heldBefore,
      'the sidecars hold little of it',
    ).toBeLessThan(32 * 1024 * 1024);
    const before = worker.receivedBytes;
    worker.socket.resume();
    await worker.when('all that was written', () =>
      worker.receivedBytes - before >= written - 65_536 ? true : null,
    );
  });

  test('a client that does not read stops the worker; when it reads, everything arrives', async () => {
    for (const framing of ['Content-Length: 16777216', 'Transfer-Encoding: chunked']) {
      const pair = await pairFor();
      const client = await pair.client();
      client.send(GET);
      const worker = await pair.b.origin.connection();
      await request(worker);
      const piece = Buffer.alloc(65_536, 'y');
      const isChunked = framing.startsWith('T');
      worker.send(`HTTP/1.1 200 OK\r\n${framing}\r\n\r\n`);
      await answerHead(client);
      client.socket.pause();
      for (let sent = 0; sent < 16_777_216; sent += piece.length) {
        if (isChunked) worker.send('10000\r\n');
        worker.send(piece);
        if (isChunked) worker.send('\r\n');
      }
      if (isChunked) worker.send('0\r\n\r\n');
      client.socket.resume();
      // The chunks may be cut anew on the way, so what is counted is the content.
      await client.when('the whole body', () =>
        client.receivedBytes >= 16_777_216 && (!isChunked || client.bytes.includes('\r\n0\r\n\r\n'))
          ? true
          : null,
      );
      const content = client.bytes.filter((byte) => byte === 0x79).length;
      expect(content).toBe(16_777_216);
      client.take(client.bytes.length);
      // The connections that were paused serve the next request.
      client.send(GET);
      await request(worker);
      worker.send(OK);
      expect((await answer(client)).body).toBe('ok');
      expect(pair.b.origin.connections).toHaveLength(1);
    }
  });

  /** Content in which every byte tells its place. */
  function numbered(bytes: number): Buffer {
    const content = Buffer.alloc(bytes);
    for (let at = 0; at < bytes; at += 4) content.writeUInt32BE(at, at);
    return content;
  }

  for (const [framing, pieceBytes] of [
    ['Content-Length', 1_000],
    ['Content-Length', 100_000],
    ['chunked', 900],
    ['chunked', 50_000],
    ['until the close', 30_000],
  ] as const) {
    test(`a reader that stops and goes gets every byte in its place: ${framing}, pieces of ${pieceBytes}`, async () => {
      const pair = await pairFor();
      const content = numbered(12_000_000);
      const client = await pair.client();
      client.send(framing === 'until the close' ? GET.replace('1.1', '1.0') : GET);
      const worker = await pair.b.origin.connection();
      await request(worker);
      worker.send(`HTTP/1.1 200 OK\r\n`);
      if (framing === 'chunked') worker.send('Transfer-Encoding: chunked\r\n');
      if (framing === 'Content-Length') worker.send(`Content-Length: ${content.length}\r\n`);
      worker.send('\r\n');
      for (let at = 0; at < content.length; at += pieceBytes) {
        const piece = content.subarray(at, at + pieceBytes);
        if (framing === 'chunked') worker.send(`${piece.length.toString(16)}\r\n`);
        worker.send(piece);
        if (framing === 'chunked') worker.send('\r\n');
      }
      if (framing === 'chunked') worker.send('0\r\n\r\n');
      worker.finish();
      let turn = 0;
      const stopAndGo = (): void => {
        if (++turn % 7 !== 0) return;
        client.socket.pause();
        setImmediate(() => client.socket.resume());
      };
      client.socket.on('data', stopAndGo);
      const got = await answer(client);
      expect(got.body.length).toBe(content.length);
      expect(Buffer.from(got.body, 'latin1').equals(content)).toBe(true);
    });
  }

  test('an upload into a worker that stops and goes arrives with every byte in its place', async () => {
    const pair = await pairFor();
    const content = numbered(12_000_000);
    for (const framing of ['length', 'chunked']) {
      const client = await pair.client();
      client.send(
        framing === 'length'
          ? `${POST}Content-Length: ${content.length}\r\n\r\n`
          : `${POST}Transfer-Encoding: chunked\r\n\r\n`,
      );
      for (let at = 0; at < content.length; at += 40_000) {
        if (framing === 'chunked') client.send('9c40\r\n');
        client.send(content.subarray(at, at + 40_000));
        if (framing === 'chunked') client.send('\r\n');
      }
      if (framing === 'chunked') client.send('0\r\n\r\n');
      const worker = await pair.b.origin.connection();
      let turn = 0;
      worker.socket.on('data', () => {
        if (++turn % 7 !== 0) return;
        worker.socket.pause();
        setImmediate(() => worker.socket.resume());
      });
      const got = await request(worker);
      expect(Buffer.from(got.body, 'latin1').equals(content)).toBe(true);
      worker.send('HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok');
      await answer(client, 'POST');
    }
  });

  test('a client that stops in the middle of its upload: 408, nobody is blamed, nothing is sent again', async () => {
    const times = { connectMs: 1_000, headMs: 60, idleMs: 60 };
    const pair = await pairFor({
      peers: [{}, {}],
      outbound: { callPolicy: () => ({ vpn: times, tunnel: times, retryPost: false, retryRefused: true }) },
    });
    const client = await pair.client();
    client.send('PUT /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf');
    const worker = await pair.b.origin.connection();
    await requestHead(worker);
    const got = await answer(client, 'PUT');
    expect(got.head.status).toBe(408);
    expect(pair.retried).toStrictEqual([]);
    expect(pair.b.standing.health.consecutiveFailures).toBe(0);
    await worker.ended();
    expect(pair.b.outstanding).toBe(0);
  });

  test('a client that reads no more: broken off in time, and the peer is not blamed', async () => {
    const times = { connectMs: 1_000, headMs: 5_000, idleMs: 400 };
    const pair = await pairFor({
      outbound: { callPolicy: () => ({ vpn: times, tunnel: times, retryPost: false, retryRefused: true }) },
    });
    const client = await pair.client();
    client.send(GET);
    const worker = await pair.b.origin.connection();
    await request(worker);
    worker.send(`HTTP/1.1 200 OK\r\nContent-Length: ${HUGE_BYTES}\r\n\r\n`);
    await answerHead(client);
    client.socket.pause();
    await fillUp(worker);
    const finished = await pair.finished.next();
    expect([finished.outcome, finished.code]).toStrictEqual(['broken', 'request_timeout']);
    expect(pair.b.standing.health.consecutiveFailures).toBe(0);
    await worker.ended();
  });

  test('a worker that says nothing more is to blame', async () => {
    const times = { connectMs: 1_000, headMs: 5_000, idleMs: 60 };
    const pair = await pairFor({
      outbound: { callPolicy: () => ({ vpn: times, tunnel: times, retryPost: false, retryRefused: true }) },
    });
    const client = await pair.client();
    client.send(GET);
    const worker = await pair.b.origin.connection();
    await request(worker);
    worker.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n');
    await answerHead(client);
    const finished = await pair.finished.next();
    expect([finished.outcome, finished.code]).toStrictEqual(['broken', 'response_timeout']);
    expect(pair.b.standing.health.consecutiveFailures).toBe(1);
    await client.ended();
  });

  test('a fault of this program costs one request, and is told', async () => {
    const fault = new Error('planted');
    let isPlanted = true;
    const pair = await SidecarPair.start();
    onTestEnd(() => pair.close());
    pair.b.origin.reply = OK;
    // Read while a response is judged, in the middle of taking its bytes.
    Object.defineProperty(pair.b.peer, 'record', {
      get() {
        if (isPlanted) throw fault;
        return { worker_id: 'b' };
      },
    });
    const client = await pair.client();
    client.send(GET);
    const got = await answer(client);
    expect(got.head.status === 500 || got.head.status === 502).toBe(true);
    expect(pair.bugs).toContain(fault);
    isPlanted = false;
    expect(pair.b.outstanding).toBe(0);
    client.send(GET);
    expect((await answer(client)).body).toBe('ok');
  });
});
