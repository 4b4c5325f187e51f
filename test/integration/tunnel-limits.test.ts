/** What a tunnel does not carry, and how a silent event stream stays alive in one. */
import assert from 'node:assert/strict';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import test, { type TestContext } from 'node:test';
import { first } from '../../sidecar/core/http/headers.ts';
import type { InboundSetup, InboundSide } from '../support/inbound-side.ts';
import { type PairSetup, pairFor, type SidecarPair } from '../support/sidecar-pair.ts';
import { startTunnelEdge, TUNNEL_CERTIFICATE, TUNNEL_KEY } from '../support/tunnel-edge.ts';
import { answer, answerHead, request, requestHead } from '../support/wire-messages.ts';

const GET = 'GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n\r\n';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const STREAM_FIELDS = 'Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n';
const LIMITS = { maxBodyBytes: 1_000, firstByteMs: 100_000 };

function chunk(text: string): string {
  return `${text.length.toString(16)}\r\n${text}\r\n`;
}

/** Takes the VPN from the first peer, and gives it a tunnel that leads to it. */
async function byTunnel(t: TestContext, setup: PairSetup): Promise<SidecarPair> {
  const pair = await pairFor(t, setup);
  const edge = await startTunnelEdge(pair.b.listener.port);
  t.after(() => edge.close());
  const { record } = pair.b.peer;
  pair.b.peer.adopt({ ...record, seq: record.seq + 1, vpn_ip: null, tunnel_url: edge.url }, 0);
  return pair;
}

/** An edge that answers everything itself. */
async function edgeThatSays(t: TestContext, status: number): Promise<string> {
  const server = https.createServer({ cert: TUNNEL_CERTIFICATE, key: TUNNEL_KEY }, (asked, response) => {
    asked.resume();
    response.writeHead(status, { server: 'cloudflare' }).end(`error code: ${status}`);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return `https://localhost:${(server.address() as AddressInfo).port}`;
}

test('a long body goes to the peer that has a VPN; the decision says so', async (t) => {
  const pair = await byTunnel(t, { peers: [{}, {}], outbound: { tunnelLimits: LIMITS } });
  const [b, c] = pair.sides;
  assert.ok(b !== undefined && c !== undefined);
  b.origin.reply = OK;
  c.origin.reply = OK;
  for (let n = 0; n < 4; n++) {
    const client = await pair.client();
    const lines = 'Host: a\r\nsidecar-explain: 1\r\nContent-Length: 1001\r\n';
    client.send(`PUT /service/llm-inference/ HTTP/1.1\r\n${lines}\r\n${'x'.repeat(1_001)}`);
    const got = await answer(client, 'PUT');
    assert.deepEqual(
      ['sidecar-worker', 'sidecar-route', 'sidecar-attempts'].map((name) => first(got.head.fields, name)),
      ['c', 'vpn', '1'],
    );
    const decision = JSON.parse(first(got.head.fields, 'sidecar-decision') ?? '{}');
    const [its] = decision.candidates.filter((each: { worker_id: string }) => each.worker_id === 'b');
    assert.deepEqual([its.why_not, its.routes[0].unfit], ['unfit_route', 'body_too_large']);
  }
  const routes = new Set<string | undefined>();
  for (let n = 0; n < 4; n++) {
    const client = await pair.client();
    client.send(
      `PUT /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n${'x'.repeat(1_000)}`,
    );
    routes.add(first((await answer(client, 'PUT')).head.fields, 'sidecar-route'));
  }
  assert.deepEqual([...routes].sort(), ['tunnel', 'vpn']);
});

test('where there is no other way the tunnel is tried', async (t) => {
  const pair = await byTunnel(t, { outbound: { tunnelLimits: LIMITS } });
  pair.b.origin.reply = OK;
  const client = await pair.client();
  client.send(
    `PUT /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n${'x'.repeat(2_000)}`,
  );
  const got = await answer(client, 'PUT');
  assert.deepEqual([got.head.status, first(got.head.fields, 'sidecar-route')], [200, 'tunnel']);
});

test('a VPN that fails leaves the tunnel that was passed over', async (t) => {
  const pair = await pairFor(t, { outbound: { tunnelLimits: LIMITS } });
  const edge = await startTunnelEdge(pair.b.listener.port);
  t.after(() => edge.close());
  const { record } = pair.b.peer;
  pair.b.peer.adopt({ ...record, seq: record.seq + 1, inbound_port: 1, tunnel_url: edge.url }, 0);
  pair.b.origin.reply = OK;
  const client = await pair.client();
  client.send(
    `PUT /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n${'x'.repeat(2_000)}`,
  );
  const got = await answer(client, 'PUT');
  assert.deepEqual(
    ['sidecar-route', 'sidecar-attempts'].map((name) => first(got.head.fields, name)),
    ['tunnel', '2'],
  );
});

test('the edge says 413: the app learns why, and nobody is blamed', async (t) => {
  const pair = await pairFor(t, { peers: [{ hasVpn: false, tunnelUrl: await edgeThatSays(t, 413) }] });
  const client = await pair.client();
  client.send('POST /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi');
  const got = await answer(client, 'POST');
  assert.deepEqual([got.head.status, JSON.parse(got.body).code], [413, 'body_too_large']);
  assert.equal(pair.b.peer.health.consecutiveFailures, 0);
  assert.equal(pair.b.peer.routes[0]?.health.state.kind, 'up');
});

test('the edge says 524: 504, and the service goes by VPN from then on', async (t) => {
  const pair = await pairFor(t, {
    peers: [{ hasVpn: false, tunnelUrl: await edgeThatSays(t, 524) }, {}],
    outbound: { tunnelLimits: LIMITS },
  });
  const c = pair.sides[1];
  assert.ok(c !== undefined);
  c.origin.reply = OK;
  const post = 'POST /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi';
  const said: unknown[] = [];
  for (let n = 0; n < 6; n++) {
    const client = await pair.client();
    client.send(post);
    const got = await answer(client, 'POST');
    said.push(got.head.status === 200 ? first(got.head.fields, 'sidecar-route') : JSON.parse(got.body).code);
  }
  assert.deepEqual(
    said.filter((each) => each !== 'vpn'),
    ['response_timeout'],
    'one request has learnt it for all',
  );
  assert.equal(pair.b.peer.routes[0]?.health.state.kind, 'up');
});

test('the edge says 524 to a GET: its time is not up, so it goes to a peer with a VPN', async (t) => {
  const pair = await pairFor(t, {
    peers: [{ hasVpn: false, tunnelUrl: await edgeThatSays(t, 524) }, {}],
    outbound: { tunnelLimits: LIMITS },
  });
  (pair.sides[1] as InboundSide).origin.reply = OK;
  for (let n = 0; n < 4; n++) {
    const client = await pair.client();
    client.send(GET);
    assert.equal((await answer(client)).head.status, 200);
  }
  assert.deepEqual(pair.retried, ['response_timeout']);
});

/** What the app has of a stream whose worker is silent after its head, and then says one event. */
async function silentStream(t: TestContext, setup: InboundSetup, fields: string, isTunnelled = true) {
  const pair = await (isTunnelled ? byTunnel : pairFor)(t, { peers: [setup] });
  const client = await pair.client();
  client.send(GET);
  const worker = await pair.b.origin.connection();
  await request(worker);
  worker.send(`HTTP/1.1 200 OK\r\n${fields}\r\n`);
  await answerHead(client);
  return { client, worker };
}

test('a silent event stream gets comments before its first event and between two, never inside one', async (t) => {
  const { client, worker } = await silentStream(t, { heartbeatMs: 30 }, STREAM_FIELDS);
  await client.until(':\n\n');
  await client.until(':\n\n');
  worker.send(chunk('data: 1\n'));
  await client.until('data: 1\n');
  await new Promise((resolve) => setTimeout(resolve, 150));
  assert.doesNotMatch(client.bytes.toString('latin1'), /:\n\n/);
  worker.send(chunk('data: 2\n\n'));
  await client.until('data: 2\n\n');
  await client.until(':\n\n');
  worker.send('0\r\n\r\n');
  await client.until('\r\n0\r\n\r\n');
});

test('no comment where nothing cuts, where it is off, and where it may not be', async (t) => {
  for (const [setup, fields, isTunnelled] of [
    [{ heartbeatMs: 20 }, STREAM_FIELDS, false],
    [{}, STREAM_FIELDS, true],
    [{ heartbeatMs: 20 }, `Cache-Control: no-transform\r\n${STREAM_FIELDS}`, true],
    [{ heartbeatMs: 20 }, `Content-Encoding: gzip\r\n${STREAM_FIELDS}`, true],
    [{ heartbeatMs: 20 }, 'Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n', true],
    [{ heartbeatMs: 20 }, 'Content-Type: text/event-stream\r\nContent-Length: 4\r\n', true],
  ] as const) {
    const { client } = await silentStream(t, setup, fields, isTunnelled);
    await new Promise((resolve) => setTimeout(resolve, 120));
    assert.equal(client.bytes.length, 0, fields);
  }
});

test('nothing is said before the worker’s head: nobody knows the status until then', async (t) => {
  const pair = await byTunnel(t, { peers: [{ heartbeatMs: 20 }] });
  const client = await pair.client();
  client.send('GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n');
  const worker = await pair.b.origin.connection();
  assert.equal(first((await requestHead(worker)).fields, 'sidecar-route'), undefined);
  await new Promise((resolve) => setTimeout(resolve, 120));
  assert.equal(client.receivedBytes, 0);
  worker.send('HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n');
  assert.equal((await answer(client)).head.status, 500);
});

test('a client that leaves a silent stream ends it at the worker, and no comment is left waiting', async (t) => {
  const { client, worker } = await silentStream(t, { heartbeatMs: 30 }, STREAM_FIELDS);
  await client.until(':\n\n');
  client.close();
  await worker.ended();
});
