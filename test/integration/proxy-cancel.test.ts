/** The app leaves: wherever its request is, the worker's is aborted, every count returns, and nobody is blamed. */
import { describe, expect, test } from '@jest/globals';
import type { View } from '../../sidecar/proxy/outbound/directory.ts';
import { VpnLink, vpnLinkReason } from '../support/edges/vpn-link.ts';
import { assertCountsAreZero } from '../support/meshes/counts.ts';
import { InboundSide } from '../support/meshes/inbound-side.ts';
import { pairFor, type SidecarPair } from '../support/meshes/sidecar-pair.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { testUnless } from '../support/runner/test-unless.ts';
import { fillUp } from '../support/wire/fill-up.ts';
import type { Wire } from '../support/wire/wire.ts';
import { answer, answerHead, request, requestHead } from '../support/wire/wire-messages.ts';
import { ScriptedOrigin } from '../support/workers/scripted-origin.ts';

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
  expect([outcome, status, peer, route]).toStrictEqual(['client_gone', 499, 'b', 'vpn']);
  expect((await b.finished.next()).outcome).toBe('client_gone');
  assertCountsAreZero(pair);
}

describe('an app that leaves', () => {
  for (const [how, leave] of Object.entries(LEAVE)) {
    test(`${how} while it waits for the directory: nothing is left`, async () => {
      const pair = await pairFor();
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
      expect([outcome, status, peer]).toStrictEqual(['client_gone', 499, null]);
      found({ kind: 'peers', peers: [pair.b.peer], ageMs: 0 });
      await new Promise(setImmediate);
      expect(pair.b.origin.connections).toHaveLength(0);
      assertCountsAreZero(pair);
    });

    test(`${how} while it is queued at the peer: nothing is left`, async () => {
      const pair = await pairFor({ peers: [{ concurrency: 1 }] });
      const first = await pair.client();
      first.send(GET);
      const worker = await pair.b.origin.connection();
      await request(worker);
      const client = await pair.client();
      const queued = pair.b.service.admission;
      client.send(`${POST}Content-Length: 5\r\n\r\nhello`);
      while (queued.queued === 0) await new Promise(setImmediate);
      leave(client);
      expect((await pair.finished.next()).outcome).toBe('client_gone');
      expect((await pair.b.finished.next()).outcome).toBe('client_gone');
      expect(queued.queued).toBe(0);
      worker.send(OK);
      expect((await answer(first)).body).toBe('ok');
      await pair.finished.next();
      await pair.b.finished.next();
      expect(worker.bytes.length).toBe(0);
      assertCountsAreZero(pair);
    });

    test(`${how} before the first byte of a response: nothing is left`, async () => {
      const pair = await pairFor();
      const client = await pair.client();
      client.send(GET);
      const worker = await pair.b.origin.connection();
      await request(worker);
      leave(client);
      await worker.ended();
      await assertGivenUp(pair);
    });

    test(`${how} in the middle of the upload: nothing is left`, async () => {
      const pair = await pairFor();
      const client = await pair.client();
      client.send(`${POST}Content-Length: 1000000\r\n\r\nbegin`);
      const worker = await pair.b.origin.connection();
      await requestHead(worker);
      await worker.until('begin');
      leave(client);
      await worker.ended();
      await assertGivenUp(pair);
    });

    test(`${how} in the middle of a chunked upload: nothing is left`, async () => {
      const pair = await pairFor();
      const client = await pair.client();
      client.send(`${POST}Transfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n`);
      const worker = await pair.b.origin.connection();
      await requestHead(worker);
      await worker.until('begin');
      leave(client);
      await worker.ended();
      expectNamed(worker.bytes.includes('0\r\n\r\n'), 'a cut upload must not look whole').toBe(false);
      await assertGivenUp(pair);
    });

    test(`${how} in the middle of the response: nothing is left`, async () => {
      const pair = await pairFor();
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

    test(`${how} while the response waits for a slow reader: nothing is left`, async () => {
      const pair = await pairFor();
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

  /** The first peer's VPN address drops every packet, and the connection to it is not given up. */
  async function blackHoled(): Promise<SidecarPair> {
    const patient = { connectMs: 600_000, headMs: 600_000, idleMs: 600_000 };
    const callPolicy = () => ({ vpn: patient, tunnel: patient, retryPost: false, retryRefused: true });
    const pair = await pairFor({ outbound: { callPolicy } });
    const { record } = pair.b.peer;
    const at = { host: '127.0.0.4', port: pair.b.listener.port };
    await new VpnLink(at, at).blackHole();
    pair.b.peer.adopt({ ...record, seq: record.seq + 1, vpn_ip: at.host }, 0);
    return pair;
  }

  for (const [how, leave] of Object.entries(LEAVE)) {
    testUnless(vpnLinkReason)(
      `${how} while the peer's address drops every packet: nothing is left`,
      async () => {
        const pair = await blackHoled();
        const client = await pair.client();
        client.send(GET);
        while (pair.b.outstanding === 0) await new Promise(setImmediate);
        leave(client);
        expect((await pair.finished.next()).outcome).toBe('client_gone');
        assertCountsAreZero(pair);
      },
    );

    test(`${how} while the connection is made: nothing is left`, async () => {
      const silent = await ScriptedOrigin.start(); // takes TCP, and never says a word of TLS
      onTestEnd(() => silent.close());
      const pair = await pairFor({
        peers: [{ tunnelUrl: `https://localhost:${silent.port}`, hasVpn: false }],
      });
      const client = await pair.client();
      client.send(`${POST}Content-Length: 5\r\n\r\nhello`);
      const dialled = await silent.connection();
      leave(client);
      await dialled.ended();
      expect((await pair.finished.next()).outcome).toBe('client_gone');
      assertCountsAreZero(pair);
    });
  }

  test('a deadline ends the wait for the directory', async () => {
    const pair = await pairFor();
    pair.lookup = new Promise(() => {});
    const client = await pair.client();
    client.send('GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nsidecar-deadline-ms: 30\r\n\r\n');
    const got = await answer(client);
    expect(got.head.status).toBe(504);
    expect(JSON.parse(got.body).code).toBe('deadline');
    assertCountsAreZero(pair);
  });

  test('a deadline ends the wait for a response, and the body of one', async () => {
    const pair = await pairFor();
    const client = await pair.client();
    const text = 'GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nsidecar-deadline-ms: 50\r\n\r\n';
    client.send(text);
    const worker = await pair.b.origin.connection();
    await request(worker);
    const got = await answer(client);
    expect(JSON.parse(got.body).code).toBe('deadline');
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
    expect(client.bytes.includes('0\r\n\r\n')).toBe(false);
    expect((await pair.finished.next()).outcome).toBe('broken');
  });

  testUnless(vpnLinkReason)('a deadline ends the wait for a connection', async () => {
    const pair = await blackHoled();
    const client = await pair.client();
    client.send('GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nsidecar-deadline-ms: 50\r\n\r\n');
    const got = await answer(client);
    expect([got.head.status, JSON.parse(got.body).code]).toStrictEqual([504, 'deadline']);
    assertCountsAreZero(pair);
  });

  test('a deadline holds in the queue of a peer, and is not followed by another attempt', async () => {
    const pair = await pairFor({ peers: [{ concurrency: 1 }, {}] });
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
    expect([code, attempts.at(-1).peer]).toStrictEqual(['deadline', 'b']);
    while (pair.b.service.admission.queued > 0) await new Promise(setImmediate);
    worker.send(OK);
    expect((await answer(client)).body).toBe('ok');
    expectNamed(worker.bytes.length, 'the worker never saw it').toBe(0);
  });

  test('a deadline holds in the queue of the local worker too', async () => {
    const local = await InboundSide.start({ name: 'a', concurrency: 1 });
    onTestEnd(() => local.close());
    const pair = await pairFor({ local: local.service });
    const client = await pair.client();
    client.send(GET);
    const worker = await local.origin.connection();
    await request(worker);
    const late = await pair.client();
    late.send('GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nsidecar-deadline-ms: 30\r\n\r\n');
    expect(JSON.parse((await answer(late)).body).code).toBe('deadline');
    expect(local.service.admission.queued).toBe(0);
    worker.send(OK);
    expect((await answer(client)).body).toBe('ok');
    expect(local.service.admission.inFlight).toBe(0);
  });
});
