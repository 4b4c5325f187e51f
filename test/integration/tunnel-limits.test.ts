/** What a tunnel does not carry, and how a silent event stream stays alive in one. */
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { first } from '../../sidecar/core/http/headers.ts';
import type { WorkerRecord } from '../../sidecar/core/peers/record.ts';
import {
  startTunnelEdge,
  TUNNEL_CERTIFICATE,
  TUNNEL_KEY,
  type TunnelEdge,
} from '../support/edges/tunnel-edge.ts';
import type { InboundSide } from '../support/meshes/inbound-side.ts';
import { type PairSetup, pairFor, type SidecarPair } from '../support/meshes/sidecar-pair.ts';
import { expectNamed, mustHold } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { answer, answerHead, request, requestHead } from '../support/wire/wire-messages.ts';

const GET = 'GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n\r\n';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const STREAM_FIELDS = 'Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n';
const LIMITS = { maxBodyBytes: 1_000, firstByteMs: 100_000 };

function chunk(text: string): string {
  return `${text.length.toString(16)}\r\n${text}\r\n`;
}

/** Gives the first peer a tunnel that leads to it, and changes its record besides. */
async function addTunnel({ b }: SidecarPair, changes: Partial<WorkerRecord>): Promise<TunnelEdge> {
  const edge = await startTunnelEdge(b.listener.port);
  onTestEnd(() => edge.close());
  const { record } = b.peer;
  b.peer.adopt({ ...record, seq: record.seq + 1, tunnel_url: edge.url, ...changes }, 0);
  return edge;
}

/** Takes the VPN from the first peer, and gives it a tunnel that leads to it. */
async function byTunnel(setup: PairSetup): Promise<SidecarPair> {
  const pair = await pairFor(setup);
  await addTunnel(pair, { vpn_ip: null });
  return pair;
}

/** An edge that answers everything itself. */
async function edgeThatSays(status: number): Promise<string> {
  const server = https.createServer({ cert: TUNNEL_CERTIFICATE, key: TUNNEL_KEY }, (asked, response) => {
    asked.resume();
    response.writeHead(status, { server: 'cloudflare' }).end(`error code: ${status}`);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestEnd(() => {
    server.close();
    server.closeAllConnections();
  });
  return `https://localhost:${(server.address() as AddressInfo).port}`;
}

describe('the limits of a tunnel', () => {
  test('a long body goes to the peer that has a VPN; the decision says so', async () => {
    const pair = await byTunnel({ peers: [{}, {}], outbound: { tunnelLimits: LIMITS } });
    const [b, c] = pair.sides;
    mustHold(b !== undefined && c !== undefined);
    b.origin.reply = OK;
    c.origin.reply = OK;
    for (let n = 0; n < 4; n++) {
      const client = await pair.client();
      const lines = 'Host: a\r\nsidecar-explain: 1\r\nContent-Length: 1001\r\n';
      client.send(`PUT /service/llm-inference/ HTTP/1.1\r\n${lines}\r\n${'x'.repeat(1_001)}`);
      const got = await answer(client, 'PUT');
      expect(
        ['sidecar-worker', 'sidecar-route', 'sidecar-attempts'].map((name) => first(got.head.fields, name)),
      ).toStrictEqual(['c', 'vpn', '1']);
      const decision = JSON.parse(first(got.head.fields, 'sidecar-decision') ?? '{}');
      const [its] = decision.candidates.filter((each: { worker_id: string }) => each.worker_id === 'b');
      expect([its.why_not, its.routes[0].unfit]).toStrictEqual(['unfit_route', 'body_too_large']);
    }
    const routes = new Set<string | undefined>();
    for (let n = 0; n < 4; n++) {
      const client = await pair.client();
      client.send(
        `PUT /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n${'x'.repeat(1_000)}`,
      );
      routes.add(first((await answer(client, 'PUT')).head.fields, 'sidecar-route'));
    }
    expect([...routes].sort()).toStrictEqual(['tunnel', 'vpn']);
  });

  test('where there is no other way the tunnel is tried', async () => {
    const pair = await byTunnel({ outbound: { tunnelLimits: LIMITS } });
    pair.b.origin.reply = OK;
    const client = await pair.client();
    client.send(
      `PUT /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n${'x'.repeat(2_000)}`,
    );
    const got = await answer(client, 'PUT');
    expect([got.head.status, first(got.head.fields, 'sidecar-route')]).toStrictEqual([200, 'tunnel']);
  });

  test('a VPN that fails leaves the tunnel that was passed over', async () => {
    const pair = await pairFor({ outbound: { tunnelLimits: LIMITS } });
    await addTunnel(pair, { inbound_port: 1 });
    pair.b.origin.reply = OK;
    const client = await pair.client();
    client.send(
      `PUT /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n${'x'.repeat(2_000)}`,
    );
    const got = await answer(client, 'PUT');
    expect(['sidecar-route', 'sidecar-attempts'].map((name) => first(got.head.fields, name))).toStrictEqual([
      'tunnel',
      '2',
    ]);
  });

  test('gRPC is never sent by a tunnel, also where there is no other way', async () => {
    const pair = await pairFor();
    const edge = await addTunnel(pair, { vpn_ip: null });
    pair.b.origin.reply = OK;
    const client = await pair.client();
    const lines = 'Host: a\r\nContent-Type: application/grpc+proto\r\nContent-Length: 2\r\n';
    client.send(`POST /service/llm-inference/ HTTP/1.1\r\n${lines}\r\nhi`);
    await answer(client, 'POST');
    expect((await pair.finished.next()).code).toBe('grpc_not_carried');
    expect(edge.connections).toBe(0);
    expectNamed(pair.b.peer.routes[0]?.health.state.kind, 'nobody is blamed').toBe('up');
    client.send(GET);
    expectNamed((await answer(client)).body, 'anything else is').toBe('ok');
    expect(edge.connections).toBe(1);
  });

  test('the edge says 413: the app learns why, and nobody is blamed', async () => {
    const pair = await pairFor({ peers: [{ hasVpn: false, tunnelUrl: await edgeThatSays(413) }] });
    const client = await pair.client();
    client.send('POST /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi');
    const got = await answer(client, 'POST');
    expect([got.head.status, JSON.parse(got.body).code]).toStrictEqual([413, 'body_too_large']);
    expect(pair.b.standing.health.consecutiveFailures).toBe(0);
    expect(pair.b.peer.routes[0]?.health.state.kind).toBe('up');
  });

  test('the edge says 524: 504, and the service goes by VPN from then on', async () => {
    const pair = await pairFor({
      peers: [{ hasVpn: false, tunnelUrl: await edgeThatSays(524) }, {}],
      outbound: { tunnelLimits: LIMITS },
    });
    const c = pair.sides[1];
    mustHold(c !== undefined);
    c.origin.reply = OK;
    const post = 'POST /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi';
    const said: unknown[] = [];
    for (let n = 0; n < 6; n++) {
      const client = await pair.client();
      client.send(post);
      const got = await answer(client, 'POST');
      said.push(
        got.head.status === 200 ? first(got.head.fields, 'sidecar-route') : JSON.parse(got.body).code,
      );
    }
    expectNamed(
      said.filter((each) => each !== 'vpn'),
      'one request has learnt it for all',
    ).toStrictEqual(['response_timeout']);
    expect(pair.b.peer.routes[0]?.health.state.kind).toBe('up');
  });

  test('the edge says 524 to a GET: its time is not up, so it goes to a peer with a VPN', async () => {
    const pair = await pairFor({
      peers: [{ hasVpn: false, tunnelUrl: await edgeThatSays(524) }, {}],
      outbound: { tunnelLimits: LIMITS },
    });
    (pair.sides[1] as InboundSide).origin.reply = OK;
    for (let n = 0; n < 4; n++) {
      const client = await pair.client();
      client.send(GET);
      expect((await answer(client)).head.status).toBe(200);
    }
    expect(pair.retried).toStrictEqual(['response_timeout']);
  });

  /** What the app has of a stream whose worker is silent after its head. */
  async function silentStream(pair: SidecarPair, fields: string) {
    const client = await pair.client();
    client.send(GET);
    const worker = await pair.b.origin.connection();
    await request(worker);
    worker.send(`HTTP/1.1 200 OK\r\n${fields}\r\n`);
    await answerHead(client);
    return { client, worker };
  }

  /** Resolves when a stream that begins now has had three comments: one that began before would have had some too. */
  async function threeComments(pair: SidecarPair): Promise<void> {
    const { client } = await silentStream(pair, STREAM_FIELDS);
    for (let n = 0; n < 3; n++) await client.until(':\n\n');
  }

  test('a silent event stream gets comments before its first event and between two, never inside one', async () => {
    const pair = await byTunnel({ peers: [{ heartbeatMs: 30 }] });
    const { client, worker } = await silentStream(pair, STREAM_FIELDS);
    await client.until(':\n\n');
    await client.until(':\n\n');
    worker.send(chunk('data: 1\n'));
    await client.until('data: 1\n');
    await threeComments(pair);
    expect(client.bytes.toString('latin1')).not.toMatch(/:\n\n/);
    worker.send(chunk('data: 2\n\n'));
    await client.until('data: 2\n\n');
    await client.until(':\n\n');
    worker.send('0\r\n\r\n');
    await client.until('\r\n0\r\n\r\n');
  });

  for (const [what, setup, fields, isTunnelled] of [
    ['no comment where nothing cuts', { heartbeatMs: 20 }, STREAM_FIELDS, false],
    ['no comment where it is off', {}, STREAM_FIELDS, true],
    [
      'no comment in what may not be changed',
      { heartbeatMs: 20 },
      `Cache-Control: no-transform\r\n${STREAM_FIELDS}`,
      true,
    ],
    [
      'no comment in what is compressed',
      { heartbeatMs: 20 },
      `Content-Encoding: gzip\r\n${STREAM_FIELDS}`,
      true,
    ],
    [
      'no comment in another type',
      { heartbeatMs: 20 },
      'Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n',
      true,
    ],
    [
      'no comment in a known length',
      { heartbeatMs: 20 },
      'Content-Type: text/event-stream\r\nContent-Length: 4\r\n',
      true,
    ],
  ] as const) {
    test(what, async () => {
      const pair = await (isTunnelled ? byTunnel : pairFor)({ peers: [setup] });
      const { client } = await silentStream(pair, fields);
      await threeComments(await byTunnel({ peers: [{ heartbeatMs: 20 }] }));
      expect(client.bytes.length).toBe(0);
    });
  }

  test('nothing is said before the worker’s head: nobody knows the status until then', async () => {
    const pair = await byTunnel({ peers: [{ heartbeatMs: 20 }] });
    const client = await pair.client();
    client.send('GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n');
    const worker = await pair.b.origin.connection();
    expect(first((await requestHead(worker)).fields, 'sidecar-route')).toBe(undefined);
    await threeComments(pair);
    expect(client.receivedBytes).toBe(0);
    worker.send('HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n');
    expect((await answer(client)).head.status).toBe(500);
  });

  test('a client that leaves a silent stream ends it at the worker, and no comment is left waiting', async () => {
    const pair = await byTunnel({ peers: [{ heartbeatMs: 30 }] });
    const { client, worker } = await silentStream(pair, STREAM_FIELDS);
    await client.until(':\n\n');
    client.close();
    await worker.ended();
  });
});
