/** What is tried again, where, and what is never sent twice (design, "When things fail"). */
import assert from 'node:assert/strict';
import test from 'node:test';
import { first } from '../../sidecar/core/http/headers.ts';
import type { InboundSide } from '../support/inbound-side.ts';
import { ScriptedOrigin } from '../support/scripted-origin.ts';
import { pairFor, type SidecarPair } from '../support/sidecar-pair.ts';
import { startTunnelEdge } from '../support/tunnel-edge.ts';
import type { Wire } from '../support/wire.ts';
import { answer, answerHead, request } from '../support/wire-messages.ts';

const GET = 'GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n\r\n';
const POST = 'POST /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

interface Tried {
  readonly peer: string;
  readonly route: string;
  readonly code: string;
  readonly stage: string;
}

function tried(body: string): string[] {
  return (JSON.parse(body).attempts as Tried[]).map(({ peer, route, code }) => `${peer} ${route} ${code}`);
}

/** A side whose tunnel leads to itself, in front of a VPN address where nobody listens. */
async function tunnelled(t: { after(end: () => Promise<void>): void }): Promise<SidecarPair> {
  const pair = await pairFor(t);
  const edge = await startTunnelEdge(pair.b.listener.port);
  const closed = await ScriptedOrigin.start();
  await closed.close();
  t.after(() => edge.close());
  const { record } = pair.b.peer;
  pair.b.peer.adopt({ ...record, seq: record.seq + 1, inbound_port: closed.port, tunnel_url: edge.url }, 0);
  return pair;
}

test('connection refused by VPN: the tunnel, and the POST arrives exactly once', async (t) => {
  const pair = await tunnelled(t);
  pair.b.origin.reply = null;
  const client = await pair.client();
  client.send(POST);
  const worker = await pair.b.origin.connection();
  const got = await request(worker);
  assert.equal(got.body, 'hi');
  worker.send(OK);
  const answered = await answer(client, 'POST');
  assert.equal(answered.head.status, 200);
  assert.equal(first(answered.head.fields, 'sidecar-route'), 'tunnel');
  assert.equal(first(answered.head.fields, 'sidecar-attempts'), '2');
  assert.deepEqual(
    pair.b.peer.routes.map(({ kind, health }) => `${kind} ${health.state.kind}`),
    ['vpn down', 'tunnel up'],
  );
  assert.equal(pair.b.peer.health.consecutiveFailures, 0);
  client.send(POST);
  await request(worker);
  worker.send(OK);
  assert.equal(
    first((await answer(client, 'POST')).head.fields, 'sidecar-attempts'),
    '1',
    'the tunnel at once',
  );
  assert.equal(worker.bytes.length, 0);
  assert.equal(pair.b.origin.connections.length, 1);
});

test('what the edge must not be sent stays away from a tunnel', async (t) => {
  const pair = await tunnelled(t);
  const client = await pair.client();
  client.send(GET.replace('\r\n\r\n', '\r\nCF-Connecting-IP: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n\r\n'));
  const worker = await pair.b.origin.connection();
  const { head } = await request(worker);
  assert.equal(first(head.fields, 'cf-connecting-ip'), undefined);
  assert.equal(first(head.fields, 'x-forwarded-for'), '127.0.0.1', 'that of the last hop alone');
  worker.send(OK);
  assert.equal((await answer(client)).body, 'ok');
});

test('a response that is cut behind the tunnel breaks the client’s connection', async (t) => {
  const pair = await tunnelled(t);
  const client = await pair.client();
  client.send(GET);
  const worker = await pair.b.origin.connection();
  await request(worker);
  worker.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n');
  await client.until('half');
  worker.close();
  await client.ended();
  assert.ok(!client.bytes.includes('0\r\n\r\n'));
  assert.equal((await pair.finished.next()).outcome, 'broken');
});

test('a worker that cannot be reached is the peer’s affair: its tunnel is not asked, the next peer is', async (t) => {
  const pair = await pairFor(t, { peers: [{}, {}] });
  const edge = await startTunnelEdge(pair.b.listener.port);
  t.after(() => edge.close());
  const { record } = pair.b.peer;
  pair.b.peer.adopt({ ...record, seq: record.seq + 1, tunnel_url: edge.url }, 0);
  await pair.b.origin.close();
  const next = pair.sides[1] as InboundSide;
  next.origin.reply = OK;
  const client = await pair.client();
  client.send(POST);
  const got = await answer(client, 'POST');
  assert.equal(got.head.status, 200);
  assert.equal(first(got.head.fields, 'sidecar-worker'), 'c');
  assert.equal(edge.connections, 0);
  assert.equal(pair.b.peer.routes[0]?.health.state.kind, 'up');
  assert.deepEqual(pair.retried, ['connect_failed']);
});

test('a POST that was sent and reset is not sent again', async (t) => {
  const pair = await pairFor(t, { peers: [{}, {}] });
  const client = await pair.client();
  client.send(POST);
  const worker = await pair.b.origin.connection();
  await request(worker);
  worker.reset();
  const got = await answer(client, 'POST');
  assert.equal(got.head.status, 502);
  assert.deepEqual(tried(got.body), ['b vpn upstream_reset']);
  assert.equal((pair.sides[1] as InboundSide).origin.connections.length, 0);
  assert.match(first(got.head.fields, 'proxy-status') ?? '', /^a-outbound; error=connection_terminated/);
});

test('a POST with Idempotency-Key is sent again only where the service opts in', async (t) => {
  for (const retryPost of [false, true]) {
    const TIMES = { connectMs: 1_000, headMs: 5_000, idleMs: 5_000 };
    const pair = await pairFor(t, {
      peers: [{}, {}],
      outbound: { callPolicy: () => ({ vpn: TIMES, tunnel: TIMES, retryPost }) },
    });
    (pair.sides[1] as InboundSide).origin.reply = OK;
    const client = await pair.client();
    client.send(POST.replace('\r\n\r\n', '\r\nIdempotency-Key: 1\r\n\r\n'));
    const worker = await pair.b.origin.connection();
    assert.equal((await request(worker)).body, 'hi');
    worker.reset();
    assert.equal((await answer(client, 'POST')).head.status, retryPost ? 200 : 502);
  }
});

test('a GET that was sent and reset is sent to the next peer', async (t) => {
  const pair = await pairFor(t, { peers: [{}, {}] });
  const client = await pair.client();
  client.send(GET);
  const worker = await pair.b.origin.connection();
  await request(worker);
  worker.reset();
  const other = await (pair.sides[1] as InboundSide).origin.connection();
  await request(other);
  other.send(OK);
  const got = await answer(client);
  assert.equal(got.head.status, 200);
  assert.equal(first(got.head.fields, 'sidecar-attempts'), '2');
  assert.equal(pair.b.peer.health.consecutiveFailures, 1);
});

test('a GET that a worker hangs at is not taken to the next one: its time is up', async (t) => {
  const times = { connectMs: 1_000, headMs: 60, idleMs: 5_000 };
  for (const [who, outbound, peer] of [
    ['the caller', { callPolicy: () => ({ vpn: times, tunnel: times, retryPost: false }) }, {}],
    ['the peer', {}, { timeouts: times, concurrency: 1 }],
  ] as const) {
    const pair = await pairFor(t, { peers: [peer, {}], outbound });
    const client = await pair.client();
    client.send(GET);
    const worker = await pair.b.origin.connection();
    await request(worker);
    const got = await answer(client);
    assert.equal(got.head.status, 504, who);
    assert.deepEqual(tried(got.body), ['b vpn response_timeout'], who);
    assert.equal((pair.sides[1] as InboundSide).origin.connections.length, 0);
    assert.equal(pair.b.peer.health.consecutiveFailures, 1, 'a worker that hangs is to blame');
    await worker.ended();
    await pair.b.finished.next();
    assert.equal(pair.b.service.admission.inFlight, 0, 'its slot is free');
  }
});

test('a response that has begun is never replaced by another', async (t) => {
  const pair = await pairFor(t, { peers: [{}, {}] });
  const client = await pair.client();
  client.send(GET);
  const worker = await pair.b.origin.connection();
  await request(worker);
  worker.send('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n');
  await answerHead(client);
  worker.reset();
  await client.ended();
  assert.equal((await pair.finished.next()).outcome, 'broken');
  assert.equal((pair.sides[1] as InboundSide).origin.connections.length, 0);
});

test('a PUT with a body up to 64 KiB is replayed whole; a longer one is not sent again', async (t) => {
  for (const bytes of [60_000, 65_536, 65_537, 200_000]) {
    const pair = await pairFor(t, { peers: [{}, {}] });
    const client = await pair.client();
    const body = Buffer.alloc(bytes, 'abcdefghij');
    client.send(`PUT /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n`);
    client.send(`${bytes.toString(16)}\r\n`);
    client.send(body);
    client.send('\r\n0\r\nX-Sum: 1\r\n\r\n');
    const worker = await pair.b.origin.connection();
    assert.equal((await request(worker)).body.length, bytes);
    worker.reset();
    if (bytes > 65_536) {
      const got = await answer(client, 'PUT');
      assert.equal(got.head.status, 502);
      assert.deepEqual(tried(got.body), ['b vpn upstream_reset']);
      continue;
    }
    const other = await (pair.sides[1] as InboundSide).origin.connection();
    const again = await request(other);
    assert.equal(again.body, body.toString());
    assert.deepEqual(again.trailers, ['X-Sum', '1']);
    other.send(OK);
    assert.equal((await answer(client, 'PUT')).head.status, 200);
  }
});

test('a kept connection that the worker closes just then: GET goes again, POST is told', async (t) => {
  const pair = await pairFor(t);
  const client = await pair.client();
  const warm = async (): Promise<Wire> => {
    client.send(GET);
    const worker = await pair.b.origin.connection();
    await request(worker);
    worker.send(OK);
    await answer(client);
    return worker;
  };
  // The worker closes when the next request is already on its way: it reads it and resets.
  const first = await warm();
  client.send(GET);
  await request(first);
  first.reset();
  const fresh = await pair.b.origin.connection();
  await request(fresh);
  fresh.send(OK);
  assert.equal((await answer(client)).body, 'ok');
  assert.equal(pair.b.peer.health.consecutiveFailures, 0, 'nobody’s fault');
  client.send(POST);
  await request(fresh);
  fresh.reset();
  assert.equal((await answer(client, 'POST')).head.status, 502);
  // Closed while idle: seen in time, and not used again.
  const last = await warm();
  last.finish();
  await last.ended();
  client.send(POST);
  const next = await pair.b.origin.connection();
  await request(next);
  next.send(OK);
  assert.equal((await answer(client, 'POST')).body, 'ok');
});
