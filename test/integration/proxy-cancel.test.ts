/** The app leaves: wherever its request is, the worker's is aborted, every count returns, and nobody is blamed. */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import type { View } from '../../sidecar/proxy/outbound/directory.ts';
import { assertCountsAreZero } from '../support/counts.ts';
import { fillUp } from '../support/fill-up.ts';
import { InboundSide } from '../support/inbound-side.ts';
import { ScriptedOrigin } from '../support/scripted-origin.ts';
import { pairFor, type SidecarPair } from '../support/sidecar-pair.ts';
import { skipVpnLink, VpnLink } from '../support/vpn-link.ts';
import type { Wire } from '../support/wire.ts';
import { answer, answerHead, request, requestHead } from '../support/wire-messages.ts';

const GET = 'GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n\r\n';
const POST = 'POST /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** Both ways to leave. */
const LEAVE: Readonly<Record<string, (client: Wire) => void>> = {
  'a clean close': (client) => client.close(),
  'a reset': (client) => client.reset(),
};

/** The request was given up everywhere. */
async function assertGivenUp(pair: SidecarPair): Promise<void> {
  const { b } = pair;
  const { outcome, status, peer, route } = await pair.finished.next();
  assert.deepEqual([outcome, status, peer, route], ['client_gone', 499, 'b', 'vpn']);
  assert.equal((await b.finished.next()).outcome, 'client_gone');
  assertCountsAreZero(pair);
}

for (const [how, leave] of Object.entries(LEAVE)) {
  test(`waiting for the directory: ${how}`, async (t) => {
    const pair = await pairFor(t);
    let found: (view: View) => void = () => {};
    let asked: () => void = () => {};
    const isAsked = new Promise<void>((resolve) => {
      asked = resolve;
    });
    Object.defineProperty(pair, 'lookup', {
      get: () => {
        asked();
        return new Promise<View>((resolve) => {
          found = resolve;
        });
      },
    });
    const client = await pair.client();
    client.send(GET);
    await isAsked;
    leave(client);
    const { outcome, status, peer } = await pair.finished.next(); // at once, not when the lookup ends
    assert.deepEqual([outcome, status, peer], ['client_gone', 499, null]);
    found({ kind: 'peers', peers: [pair.b.peer], ageMs: 0 });
    await new Promise(setImmediate);
    assert.equal(pair.b.origin.connections.length, 0);
    assertCountsAreZero(pair);
  });

  test(`queued at the peer: ${how}`, async (t) => {
    const pair = await pairFor(t, { peers: [{ concurrency: 1 }] });
    const first = await pair.client();
    first.send(GET);
    const worker = await pair.b.origin.connection();
    await request(worker);
    const client = await pair.client();
    const queued = pair.b.service.admission;
    client.send(`${POST}Content-Length: 5\r\n\r\nhello`);
    while (queued.queued === 0) await new Promise(setImmediate);
    leave(client);
    assert.equal((await pair.finished.next()).outcome, 'client_gone');
    assert.equal((await pair.b.finished.next()).outcome, 'client_gone');
    assert.equal(queued.queued, 0);
    worker.send(OK);
    assert.equal((await answer(first)).body, 'ok');
    await pair.finished.next();
    await pair.b.finished.next();
    assert.equal(worker.bytes.length, 0);
    assertCountsAreZero(pair);
  });

  test(`before the first byte of a response: ${how}`, async (t) => {
    const pair = await pairFor(t);
    const client = await pair.client();
    client.send(GET);
    const worker = await pair.b.origin.connection();
    await request(worker);
    leave(client);
    await worker.ended();
    await assertGivenUp(pair);
  });

  test(`in the middle of the upload: ${how}`, async (t) => {
    const pair = await pairFor(t);
    const client = await pair.client();
    client.send(`${POST}Content-Length: 1000000\r\n\r\nbegin`);
    const worker = await pair.b.origin.connection();
    await requestHead(worker);
    await worker.until('begin');
    leave(client);
    await worker.ended();
    await assertGivenUp(pair);
  });

  test(`in the middle of a chunked upload: ${how}`, async (t) => {
    const pair = await pairFor(t);
    const client = await pair.client();
    client.send(`${POST}Transfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n`);
    const worker = await pair.b.origin.connection();
    await requestHead(worker);
    await worker.until('begin');
    leave(client);
    await worker.ended();
    assert.ok(!worker.bytes.includes('0\r\n\r\n'), 'a cut upload must not look whole');
    await assertGivenUp(pair);
  });

  test(`in the middle of the response: ${how}`, async (t) => {
    const pair = await pairFor(t);
    const client = await pair.client();
    client.send(GET);
    const worker = await pair.b.origin.connection();
    await request(worker);
    worker.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
    await answerHead(client);
    await client.until('hello');
    leave(client);
    await worker.ended();
    await assertGivenUp(pair);
  });

  test(`while the response waits for a slow reader: ${how}`, async (t) => {
    const pair = await pairFor(t);
    const client = await pair.client();
    client.send(GET);
    const worker = await pair.b.origin.connection();
    await request(worker);
    worker.send('HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n');
    await answerHead(client);
    client.socket.pause();
    await fillUp(worker);
    leave(client);
    await worker.ended();
    await assertGivenUp(pair);
  });
}

/** The first peer's VPN address drops every packet. */
async function blackHoled(t: TestContext): Promise<SidecarPair> {
  const pair = await pairFor(t);
  const { record } = pair.b.peer;
  const at = { host: '127.0.0.4', port: pair.b.listener.port };
  await new VpnLink(t, at, at).blackHole();
  pair.b.peer.adopt({ ...record, seq: record.seq + 1, vpn_ip: at.host }, 0);
  return pair;
}

for (const [how, leave] of Object.entries(LEAVE)) {
  test(`while the peer's address drops every packet: ${how}`, { skip: skipVpnLink }, async (t) => {
    const pair = await blackHoled(t);
    const client = await pair.client();
    client.send(GET);
    while (pair.b.outstanding === 0) await new Promise(setImmediate);
    const startedMs = performance.now();
    leave(client);
    assert.equal((await pair.finished.next()).outcome, 'client_gone');
    assert.ok(performance.now() - startedMs < 700, 'long before the connect would have given up');
    assertCountsAreZero(pair);
  });

  test(`while the connection is made: ${how}`, async (t) => {
    const silent = await ScriptedOrigin.start(); // takes TCP, and never says a word of TLS
    t.after(() => silent.close());
    const pair = await pairFor(t, {
      peers: [{ tunnelUrl: `https://localhost:${silent.port}`, hasVpn: false }],
    });
    const client = await pair.client();
    client.send(`${POST}Content-Length: 5\r\n\r\nhello`);
    const dialled = await silent.connection();
    leave(client);
    await dialled.ended();
    assert.equal((await pair.finished.next()).outcome, 'client_gone');
    assertCountsAreZero(pair);
  });
}

test('a deadline ends the wait for the directory', async (t) => {
  const pair = await pairFor(t);
  pair.lookup = new Promise(() => {});
  const client = await pair.client();
  client.send('GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nsidecar-deadline-ms: 30\r\n\r\n');
  const got = await answer(client);
  assert.equal(got.head.status, 504);
  assert.equal(JSON.parse(got.body).code, 'deadline');
  assertCountsAreZero(pair);
});

test('a deadline ends the wait for a response, and the body of one', async (t) => {
  const pair = await pairFor(t);
  const client = await pair.client();
  const text = 'GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nsidecar-deadline-ms: 50\r\n\r\n';
  client.send(text);
  const worker = await pair.b.origin.connection();
  await request(worker);
  const got = await answer(client);
  assert.equal(JSON.parse(got.body).code, 'deadline');
  await worker.ended();
  await pair.finished.next();
  await pair.b.finished.next();
  assertCountsAreZero(pair);
  client.send(text);
  const second = await pair.b.origin.connection();
  await request(second);
  second.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n');
  await answerHead(client);
  await client.ended();
  assert.ok(!client.bytes.includes('0\r\n\r\n'));
  assert.equal((await pair.finished.next()).outcome, 'broken');
});

test('a deadline ends the wait for a connection', { skip: skipVpnLink }, async (t) => {
  const pair = await blackHoled(t);
  const client = await pair.client();
  const startedMs = performance.now();
  client.send('GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nsidecar-deadline-ms: 50\r\n\r\n');
  const got = await answer(client);
  assert.deepEqual([got.head.status, JSON.parse(got.body).code], [504, 'deadline']);
  assert.ok(performance.now() - startedMs < 700, 'long before the connect would have given up');
  assertCountsAreZero(pair);
});

test('a deadline holds in the queue of a peer, and is not followed by another attempt', async (t) => {
  const pair = await pairFor(t, { peers: [{ concurrency: 1 }, {}] });
  const client = await pair.client();
  client.send(GET);
  const worker = await pair.b.origin.connection();
  await request(worker);
  // Round robin: the next one is for the other peer, the one after it for the first again.
  (pair.sides[1] as InboundSide).origin.reply = OK;
  const other = await pair.client();
  other.send(GET);
  await answer(other);
  const late = await pair.client();
  late.send(`${POST}Content-Length: 5\r\nsidecar-deadline-ms: 100\r\n\r\nhello`);
  const got = await answer(late, 'POST');
  const { code, attempts } = JSON.parse(got.body);
  assert.deepEqual([code, attempts.at(-1).peer], ['deadline', 'b']);
  while (pair.b.service.admission.queued > 0) await new Promise(setImmediate);
  worker.send(OK);
  assert.equal((await answer(client)).body, 'ok');
  assert.equal(worker.bytes.length, 0, 'the worker never saw it');
});

test('a deadline holds in the queue of the local worker too', async (t) => {
  const local = await InboundSide.start({ name: 'a', concurrency: 1 });
  t.after(() => local.close());
  const pair = await pairFor(t, { local: local.service });
  const client = await pair.client();
  client.send(GET);
  const worker = await local.origin.connection();
  await request(worker);
  const late = await pair.client();
  late.send('GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nsidecar-deadline-ms: 30\r\n\r\n');
  assert.equal(JSON.parse((await answer(late)).body).code, 'deadline');
  assert.equal(local.service.admission.queued, 0);
  worker.send(OK);
  assert.equal((await answer(client)).body, 'ok');
  assert.equal(local.service.admission.inFlight, 0);
});
