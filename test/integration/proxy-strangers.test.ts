/** Who is not a member, and who answers in place of one: neither is served nor believed. */
import { describe, expect, test } from '@jest/globals';
import { first } from '../../sidecar/core/http/headers.ts';
import type { Peer } from '../../sidecar/core/peers/peer.ts';
import { InboundSide } from '../support/meshes/inbound-side.ts';
import { OTHER_MESH_KEY } from '../support/meshes/members.ts';
import { pairFor } from '../support/meshes/sidecar-pair.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { Wire } from '../support/wire/wire.ts';
import { answer, request } from '../support/wire/wire-messages.ts';
import { ScriptedOrigin } from '../support/workers/scripted-origin.ts';

const GET = 'GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n\r\n';
const POST = 'POST /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** What listens now at the VPN address of a peer; no member. */
async function plainAt(peer: Peer): Promise<ScriptedOrigin> {
  const plain = await ScriptedOrigin.start();
  onTestEnd(() => plain.close());
  const { record } = peer;
  peer.adopt({ ...record, seq: record.seq + 1, inbound_port: plain.port }, 0);
  return plain;
}

describe('a stranger beside the mesh', () => {
  test('another host at the address of a peer gets the request for nothing: its response is not believed', async () => {
    const stranger = await InboundSide.start({ name: 'stranger', meshKey: OTHER_MESH_KEY });
    const plain = await ScriptedOrigin.start();
    onTestEnd(() => stranger.close());
    onTestEnd(() => plain.close());
    plain.reply = 'HTTP/1.1 200 OK\r\nsidecar-auth: v1 forged\r\nContent-Length: 4\r\n\r\nevil';
    for (const port of [plain.port, stranger.listener.port]) {
      const pair = await pairFor();
      const { record } = pair.b.peer;
      pair.b.peer.adopt({ ...record, seq: record.seq + 1, inbound_port: port }, 0);
      const client = await pair.client();
      client.send(POST);
      const got = await answer(client, 'POST');
      expect(got.body).not.toContain('evil');
      expect([got.head.status, JSON.parse(got.body).code]).toStrictEqual(
        port === plain.port ? [502, 'upstream_protocol'] : [401, 'not_a_member'],
      );
      expectNamed(pair.b.peer.routes[0]?.health.state.kind, 'the route leads to somebody else').toBe('down');
    }
    expect(stranger.origin.connections).toHaveLength(0);
  });

  for (const [status, lines] of [
    [413, ''],
    [524, ''],
    [530, ''],
    [401, ''],
    [401, 'sidecar-refusal: nonsense\r\n'],
  ] as const) {
    test(`a ${status} by VPN without signature${lines && ', for no known reason,'} may come from who did the work: no repeat`, async () => {
      const pair = await pairFor({ peers: [{}, {}] });
      const plain = await plainAt(pair.b.peer);
      plain.reply = `HTTP/1.1 ${status} Said\r\n${lines}Content-Length: 2\r\n\r\nno`;
      const client = await pair.client();
      client.send(POST);
      const got = await answer(client, 'POST');
      const { code, attempts } = JSON.parse(got.body);
      expect([got.head.status, code, attempts.length]).toStrictEqual([502, 'upstream_protocol', 1]);
      expect(attempts[0].stage).toBe('sent');
      expect((pair.sides[1] as InboundSide).origin.connections).toHaveLength(0);
      expect(pair.b.peer.routes[0]?.health.state.kind).toBe('down');
    });
  }

  test('a switch of protocol that is not signed is refused, and its connection is not left open', async () => {
    const pair = await pairFor();
    const plain = await plainAt(pair.b.peer);
    const client = await pair.client();
    client.send(GET.replace('\r\n\r\n', '\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'));
    const other = await plain.connection();
    expect((await request(other)).head.upgrade).toBe('websocket');
    other.send('HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello');
    const got = await answer(client);
    expect([got.head.status, JSON.parse(got.body).code]).toStrictEqual([502, 'upstream_protocol']);
    await other.ended();
  });

  test('a refusal with a long body costs its connection: it is not read to its end', async () => {
    for (const bytes of [65_537, 1_000_000]) {
      const pair = await pairFor();
      const plain = await plainAt(pair.b.peer);
      const client = await pair.client();
      client.send(GET);
      const other = await plain.connection();
      await request(other);
      other.send(
        `HTTP/1.1 401 No\r\nsidecar-refusal: not_a_member;not_sent;\r\nContent-Length: ${bytes}\r\n\r\n`,
      );
      other.send(Buffer.alloc(bytes, 'x'));
      expect(JSON.parse((await answer(client)).body).code).toBe('not_a_member');
      await other.ended();
    }
  });

  test('a request without membership, also from loopback, is refused before the worker sees anything', async () => {
    const pair = await pairFor();
    const wire = await Wire.connect(pair.b.listener.port);
    onTestEnd(async () => wire.close());
    for (const lines of ['', 'sidecar-auth: v1 x\r\n', 'sidecar-auth:\r\n']) {
      wire.send(GET.replace('\r\n\r\n', `\r\n${lines}\r\n`));
      const got = await answer(wire);
      expect(got.head.status).toBe(401);
      expect(JSON.parse(got.body).code).toBe('not_a_member');
    }
    wire.send('GET /health HTTP/1.1\r\nHost: b\r\n\r\n');
    expect(JSON.parse((await answer(wire)).body)).toStrictEqual({ status: 'ok', worker_id: 'b' });
    expect(pair.b.origin.connections).toHaveLength(0);
  });

  test('a captured peer request is refused when it is sent again', async () => {
    const pair = await pairFor();
    const spy = await plainAt(pair.b.peer);
    const client = await pair.client();
    client.send(GET);
    const caught = await spy.connection();
    const { head } = await request(caught);
    const auth = first(head.fields, 'sidecar-auth') ?? '';
    const wire = await Wire.connect(pair.b.listener.port);
    onTestEnd(async () => wire.close());
    pair.b.origin.reply = OK;
    for (const status of [200, 401]) {
      wire.send(`GET ${head.target} HTTP/1.1\r\nHost: b\r\nsidecar-auth: ${auth}\r\n\r\n`);
      expect((await answer(wire)).head.status).toBe(status);
    }
    wire.send(`GET ${head.target}other HTTP/1.1\r\nHost: b\r\nsidecar-auth: ${auth}\r\n\r\n`);
    expect((await answer(wire)).head.status).toBe(401);
  });
});
