/** What is tried again, where, and what is never sent twice (design, "When things fail"). */
import { describe, expect, test } from '@jest/globals';
import { first } from '../../sidecar/core/http/headers.ts';
import type { Peer } from '../../sidecar/core/peers/peer.ts';
import { RetryBudget } from '../../sidecar/core/retry.ts';
import { StallWatch } from '../../sidecar/proxy/outbound/stall-watch.ts';
import { startTunnelEdge } from '../support/edges/tunnel-edge.ts';
import type { InboundSide } from '../support/meshes/inbound-side.ts';
import { pairFor, type SidecarPair } from '../support/meshes/sidecar-pair.ts';
import { expectNamed, mustHold } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import type { Wire } from '../support/wire/wire.ts';
import { answer, answerHead, request } from '../support/wire/wire-messages.ts';
import { ScriptedOrigin } from '../support/workers/scripted-origin.ts';

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
async function tunnelled(): Promise<SidecarPair> {
  const pair = await pairFor();
  const edge = await startTunnelEdge(pair.b.listener.port);
  const closed = await ScriptedOrigin.start();
  await closed.close();
  onTestEnd(() => edge.close());
  const { record } = pair.b.peer;
  pair.b.peer.adopt({ ...record, seq: record.seq + 1, inbound_port: closed.port, tunnel_url: edge.url }, 0);
  return pair;
}

describe('trying a request again', () => {
  test('the app is told to repeat what was not done, or may be done twice, and nothing else', async () => {
    const advice = async (text: string, breaks: boolean): Promise<string> => {
      const pair = await pairFor();
      const client = await pair.client();
      if (breaks) {
        pair.b.origin.reply = null;
        client.send(text);
        // An idempotent one is repeated by the sidecar first, on a connection of its own.
        void pair.b.origin.connection().then(async (worker) => {
          await request(worker);
          worker.reset();
        });
      } else {
        await pair.b.origin.close();
        client.send(text);
      }
      const { head } = await answer(client, text.slice(0, text.indexOf(' ')));
      return `${head.status} ${first(head.fields, 'x-should-retry')}`;
    };
    expectNamed(await advice(POST, false), 'a POST that reached nobody').toBe('502 true');
    expectNamed(await advice(POST, true), 'a POST that a worker had').toBe('502 false');
    expectNamed(await advice(GET, true), 'a GET that a worker had').toBe('502 true');
    expectNamed(await advice('BREW /x HTTP/1.1\r\nHost: a\r\n\r\n', true), 'no address').toBe('404 false');
  });

  test('connection refused by VPN: the tunnel, and the POST arrives exactly once', async () => {
    const pair = await tunnelled();
    pair.b.origin.reply = null;
    const client = await pair.client();
    client.send(POST);
    const worker = await pair.b.origin.connection();
    const got = await request(worker);
    expect(got.body).toBe('hi');
    worker.send(OK);
    const answered = await answer(client, 'POST');
    expect(answered.head.status).toBe(200);
    expect(first(answered.head.fields, 'sidecar-route')).toBe('tunnel');
    expect(first(answered.head.fields, 'sidecar-attempts')).toBe('2');
    expect(pair.b.peer.routes.map(({ kind, health }) => `${kind} ${health.state.kind}`)).toStrictEqual([
      'vpn down',
      'tunnel up',
    ]);
    expect(pair.b.standing.health.consecutiveFailures).toBe(0);
    expectNamed(pair.suspected, 'it was reached').toStrictEqual([]);
    client.send(POST);
    await request(worker);
    worker.send(OK);
    expectNamed(
      first((await answer(client, 'POST')).head.fields, 'sidecar-attempts'),
      'the tunnel at once',
    ).toBe('1');
    expect(worker.bytes.length).toBe(0);
    expect(pair.b.origin.connections).toHaveLength(1);
  });

  test('what the edge must not be sent stays away from a tunnel', async () => {
    const pair = await tunnelled();
    const client = await pair.client();
    client.send(GET.replace('\r\n\r\n', '\r\nCF-Connecting-IP: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n\r\n'));
    const worker = await pair.b.origin.connection();
    const { head } = await request(worker);
    expect(first(head.fields, 'cf-connecting-ip')).toBe(undefined);
    expectNamed(first(head.fields, 'x-forwarded-for'), 'that of the last hop alone').toBe('127.0.0.1');
    worker.send(OK);
    expect((await answer(client)).body).toBe('ok');
  });

  test('a response that is cut behind the tunnel breaks the client’s connection', async () => {
    const pair = await tunnelled();
    const client = await pair.client();
    client.send(GET);
    const worker = await pair.b.origin.connection();
    await request(worker);
    worker.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n');
    await client.until('half');
    worker.close();
    await client.ended();
    expect(client.bytes.includes('0\r\n\r\n')).toBe(false);
    expect((await pair.finished.next()).outcome).toBe('broken');
  });

  test('a worker that cannot be reached is the peer’s affair: its tunnel is not asked, the next peer is', async () => {
    const pair = await pairFor({ peers: [{}, {}] });
    const edge = await startTunnelEdge(pair.b.listener.port);
    onTestEnd(() => edge.close());
    const { record } = pair.b.peer;
    pair.b.peer.adopt({ ...record, seq: record.seq + 1, tunnel_url: edge.url }, 0);
    await pair.b.origin.close();
    const next = pair.sides[1] as InboundSide;
    next.origin.reply = OK;
    const client = await pair.client();
    client.send(POST);
    const got = await answer(client, 'POST');
    expect(got.head.status).toBe(200);
    expect(first(got.head.fields, 'sidecar-worker')).toBe('c');
    expect(edge.connections).toBe(0);
    expect(pair.b.peer.routes[0]?.health.state.kind).toBe('up');
    expect(pair.retried).toStrictEqual(['connect_failed']);
  });

  test('a peer that no route leads to, or whose connection breaks without an answer, may be dead', async () => {
    const closed = await ScriptedOrigin.start();
    await closed.close();
    const pair = await pairFor({ peers: [{}, {}] });
    const [b, c] = pair.sides.map(({ peer }) => peer) as [Peer, Peer];
    b.adopt({ ...b.record, seq: b.record.seq + 1, inbound_port: closed.port }, 0);
    const spy = await ScriptedOrigin.start();
    onTestEnd(() => spy.close());
    c.adopt({ ...c.record, seq: c.record.seq + 1, inbound_port: spy.port }, 0);
    const client = await pair.client();
    client.send(POST);
    const asked = await spy.connection();
    expect(pair.suspected).toStrictEqual([b]);
    await request(asked);
    asked.reset();
    expect((await answer(client, 'POST')).head.status).toBe(502);
    expect(pair.suspected).toStrictEqual([b, c]);
  });

  test('a POST that was sent and reset is not sent again', async () => {
    const pair = await pairFor({ peers: [{}, {}] });
    const client = await pair.client();
    client.send(POST);
    const worker = await pair.b.origin.connection();
    await request(worker);
    worker.reset();
    const got = await answer(client, 'POST');
    expect(got.head.status).toBe(502);
    expect(tried(got.body)).toStrictEqual(['b vpn upstream_reset']);
    expectNamed(pair.suspected, 'it is its worker that broke').toStrictEqual([]);
    expect((pair.sides[1] as InboundSide).origin.connections).toHaveLength(0);
    expect(first(got.head.fields, 'proxy-status') ?? '').toMatch(/^a-outbound; error=connection_terminated/);
  });

  test('a POST with Idempotency-Key is sent again only where the service opts in', async () => {
    for (const retryPost of [false, true]) {
      const TIMES = { connectMs: 1_000, headMs: 5_000, idleMs: 5_000 };
      const pair = await pairFor({
        peers: [{}, {}],
        outbound: { callPolicy: () => ({ vpn: TIMES, tunnel: TIMES, retryPost, retryRefused: true }) },
      });
      (pair.sides[1] as InboundSide).origin.reply = OK;
      const client = await pair.client();
      client.send(POST.replace('\r\n\r\n', '\r\nIdempotency-Key: 1\r\n\r\n'));
      const worker = await pair.b.origin.connection();
      expect((await request(worker)).body).toBe('hi');
      worker.reset();
      expect((await answer(client, 'POST')).head.status).toBe(retryPost ? 200 : 502);
    }
  });

  test('of many dead peers each is asked once, until one takes it; when none does, the list stays short', async () => {
    const DEAD = 40;
    const pair = await pairFor({ peers: Array.from({ length: DEAD + 1 }, (_, n) => ({ name: `w${n}` })) });
    const alive = pair.sides[DEAD] as InboundSide;
    alive.origin.reply = OK;
    for (const side of pair.sides) if (side !== alive) await side.listener.destroy();
    for (const message of [GET, POST]) {
      const client = await pair.client();
      client.send(message);
      const got = await answer(client, message === POST ? 'POST' : 'GET');
      expect(got.head.status).toBe(200);
      // The routes of the dead ones are down after the first request.
      const attempts = Number(first(got.head.fields, 'sidecar-attempts'));
      expect(attempts).toBeLessThanOrEqual(DEAD + 1);
      if (message === GET) expect(attempts).toBeGreaterThan(8);
    }
    await alive.listener.destroy();
    const client = await pair.client();
    client.send(GET);
    const got = await answer(client);
    expect(got.head.status).toBe(502);
    expect(Number(first(got.head.fields, 'sidecar-attempts'))).toBeGreaterThan(32);
    expect(tried(got.body)).toHaveLength(32);
    expectNamed(
      JSON.parse(got.body).detail.includes((JSON.parse(got.body).attempts as Tried[]).at(-1)?.peer),
      'the last',
    ).toBe(true);
  });

  test('what workers may have done is repeated eight times at most, whatever the budget', async () => {
    const pair = await pairFor({
      peers: Array.from({ length: 12 }, () => ({})),
      outbound: { budget: new RetryBudget({ ratio: 1, perSecond: 1_000 }) },
    });
    for (const { origin } of pair.sides) origin.reply = 'nonsense\r\n\r\n';
    const client = await pair.client();
    client.send(GET);
    const got = await answer(client);
    expect([got.head.status, tried(got.body).length]).toStrictEqual([502, 8]);
    expect(JSON.parse(got.body).detail).toMatch(/8 attempts that were sent are enough/);
  });

  test('a GET that was sent and reset is sent to the next peer', async () => {
    const pair = await pairFor({ peers: [{}, {}] });
    const client = await pair.client();
    client.send(GET);
    const worker = await pair.b.origin.connection();
    await request(worker);
    worker.reset();
    const other = await (pair.sides[1] as InboundSide).origin.connection();
    await request(other);
    other.send(OK);
    const got = await answer(client);
    expect(got.head.status).toBe(200);
    expect(first(got.head.fields, 'sidecar-attempts')).toBe('2');
    expect(pair.b.standing.health.consecutiveFailures).toBe(1);
  });

  test('without retry budget what no worker saw is still sent elsewhere; what one may have seen is not', async () => {
    const pair = await pairFor({
      peers: [{ concurrency: 1, queue: 0 }, {}],
      outbound: { budget: new RetryBudget({ ratio: 0, perSecond: 0 }) },
    });
    const { origin } = pair.sides[1] as InboundSide;
    const { admission } = pair.b.service;
    const slot = admission.acquire({ expectedQueue: null, sinceMs: 0, onGranted: () => {} });
    mustHold(slot.kind === 'granted');
    const client = await pair.client();
    client.send(POST);
    const worker = await origin.connection();
    expect((await request(worker)).body).toBe('hi');
    worker.send(OK);
    expect((await answer(client, 'POST')).head.status).toBe(200);
    expect(pair.retried).toStrictEqual(['saturated']);

    slot.release(performance.now(), null);
    client.send(GET);
    const other = await pair.b.origin.connection();
    await request(other);
    other.reset();
    const got = await answer(client);
    expect([got.head.status, tried(got.body)]).toStrictEqual([502, ['b vpn upstream_reset']]);
    expect(JSON.parse(got.body).detail).toMatch(/retry budget is used up/);
    expect(worker.bytes.length).toBe(0);
  });

  test('a GET whose deadline passes is not taken to the next peer', async () => {
    const pair = await pairFor({ peers: [{}, {}] });
    const client = await pair.client();
    client.send(GET.replace('\r\n\r\n', '\r\nsidecar-deadline-ms: 200\r\n\r\n'));
    const got = await answer(client);
    expect([got.head.status, tried(got.body)]).toStrictEqual([504, ['b vpn deadline']]);
    expect((pair.sides[1] as InboundSide).origin.connections).toHaveLength(0);
  });

  test('a GET that a worker hangs at is not taken to the next one: its time is up', async () => {
    const times = { connectMs: 1_000, headMs: 60, idleMs: 5_000 };
    for (const [who, outbound, peer] of [
      [
        'the caller',
        { callPolicy: () => ({ vpn: times, tunnel: times, retryPost: false, retryRefused: true }) },
        {},
      ],
      ['the peer', {}, { timeouts: times, concurrency: 1 }],
    ] as const) {
      const pair = await pairFor({ peers: [peer, {}], outbound });
      const client = await pair.client();
      client.send(GET);
      const worker = await pair.b.origin.connection();
      await request(worker);
      const got = await answer(client);
      expectNamed(got.head.status, who).toBe(504);
      expectNamed(tried(got.body), who).toStrictEqual(['b vpn response_timeout']);
      expect((pair.sides[1] as InboundSide).origin.connections).toHaveLength(0);
      expectNamed(pair.b.standing.health.consecutiveFailures, 'a worker that hangs is to blame').toBe(1);
      await worker.ended();
      await pair.b.finished.next();
      expectNamed(pair.b.service.admission.inFlight, 'its slot is free').toBe(0);
    }
  });

  test('a response that has begun is never replaced by another', async () => {
    const pair = await pairFor({ peers: [{}, {}] });
    const client = await pair.client();
    client.send(GET);
    const worker = await pair.b.origin.connection();
    await request(worker);
    worker.send('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n');
    await answerHead(client);
    worker.reset();
    await client.ended();
    expect((await pair.finished.next()).outcome).toBe('broken');
    expect((pair.sides[1] as InboundSide).origin.connections).toHaveLength(0);
  });

  test('where a peer breaks off in silence, it is asked to give back only what could go elsewhere and not twice', async () => {
    const LONG = POST.replace('Content-Length: 2', 'Content-Length: 100000').replace(
      'hi',
      'x'.repeat(100_000),
    );
    for (const [what, message, asks] of [
      ['may go twice', GET, 0],
      ['may not go twice', POST, 1],
      ['is not kept', LONG, 0],
    ] as const) {
      let asked = 0;
      const cancelQueued = async (): Promise<boolean> => {
        asked += 1;
        return false;
      };
      const stallWatch = new StallWatch({ responds: async () => true, cancelQueued });
      const pair = await pairFor({ outbound: { stallWatch } });
      const client = await pair.client();
      client.send(message);
      await request(await pair.b.origin.connection());
      await pair.b.listener.destroy();
      const got = await answer(client, message.slice(0, message.indexOf(' ')));
      expectNamed([got.head.status, asked], what).toStrictEqual([502, asks]);
    }
  });

  test('a PUT with a body up to 64 KiB is replayed whole; a longer one is not sent again', async () => {
    for (const bytes of [60_000, 65_536, 65_537, 200_000]) {
      const pair = await pairFor({ peers: [{}, {}] });
      const client = await pair.client();
      const body = Buffer.alloc(bytes, 'abcdefghij');
      client.send(`PUT /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n`);
      client.send(`${bytes.toString(16)}\r\n`);
      client.send(body);
      client.send('\r\n0\r\nX-Sum: 1\r\n\r\n');
      const worker = await pair.b.origin.connection();
      expect((await request(worker)).body.length).toBe(bytes);
      worker.reset();
      if (bytes > 65_536) {
        const got = await answer(client, 'PUT');
        expect(got.head.status).toBe(502);
        expect(tried(got.body)).toStrictEqual(['b vpn upstream_reset']);
        continue;
      }
      const other = await (pair.sides[1] as InboundSide).origin.connection();
      const again = await request(other);
      expect(again.body).toBe(body.toString());
      expect(again.trailers).toStrictEqual(['X-Sum', '1']);
      other.send(OK);
      expect((await answer(client, 'PUT')).head.status).toBe(200);
    }
  });

  test('a kept connection that the worker closes just then: GET goes again, POST is told', async () => {
    const pair = await pairFor();
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
    expect((await answer(client)).body).toBe('ok');
    expectNamed(pair.b.standing.health.consecutiveFailures, 'nobody’s fault').toBe(0);
    client.send(POST);
    await request(fresh);
    fresh.reset();
    expect((await answer(client, 'POST')).head.status).toBe(502);
    // Closed while idle: seen in time, and not used again.
    const last = await warm();
    last.finish();
    await last.ended();
    client.send(POST);
    const next = await pair.b.origin.connection();
    await request(next);
    next.send(OK);
    expect((await answer(client, 'POST')).body).toBe('ok');
  });
});
