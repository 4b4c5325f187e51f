/** Switches of protocol that do not come about: each ends as an ordinary answer, or as none. */
import { describe, expect, test } from '@jest/globals';
import { first } from '../../sidecar/core/http/headers.ts';
import { pairFor } from '../support/meshes/sidecar-pair.ts';
import { answer, request, requestHead } from '../support/wire/wire-messages.ts';

const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
const HANDSHAKE = `GET /service/llm-inference/chat?x=1 HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\nSec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n`;
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const GET = 'GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n\r\n';

describe('an upgrade that does not come about', () => {
  test('a reset during the handshake: 502, and the connection serves on', async () => {
    const pair = await pairFor();
    const client = await pair.client();
    client.send(HANDSHAKE);
    const worker = await pair.b.origin.connection();
    await requestHead(worker);
    worker.reset();
    // A GET may go to another peer; there is none.
    const got = await answer(client);
    expect(got.head.status).toBe(502);
    pair.b.origin.reply = OK;
    client.send(GET);
    expect((await answer(client)).body).toBe('ok');
  });

  test('a worker that never answers the upgrade: 504 in the time of the service', async () => {
    const pair = await pairFor({ peers: [{ timeouts: { connectMs: 1_000, headMs: 80, idleMs: 1_000 } }] });
    const client = await pair.client();
    client.send(HANDSHAKE);
    const worker = await pair.b.origin.connection();
    await requestHead(worker);
    const got = await answer(client);
    expect(got.head.status).toBe(504);
    expect(JSON.parse(got.body).code).toBe('response_timeout');
    await worker.ended();
  });

  test('the client leaves while the upgrade is pending', async () => {
    const pair = await pairFor();
    const client = await pair.client();
    client.send(HANDSHAKE);
    const worker = await pair.b.origin.connection();
    await requestHead(worker);
    client.close();
    await worker.ended();
    expect((await pair.finished.next()).outcome).toBe('client_gone');
  });

  test('another response than 101 is an ordinary one, and the connection goes on as HTTP', async () => {
    const pair = await pairFor();
    const client = await pair.client();
    client.send(HANDSHAKE);
    const worker = await pair.b.origin.connection();
    await requestHead(worker);
    worker.send('HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 8\r\nContent-Length: 2\r\n\r\nno');
    const got = await answer(client);
    expect([got.head.status, got.body]).toStrictEqual([426, 'no']);
    client.send(GET);
    expect((await request(worker)).head.upgrade).toBe(null);
    worker.send(OK);
    expect((await answer(client)).body).toBe('ok');
  });

  test('a switch to something else than was asked for is no response', async () => {
    const pair = await pairFor();
    for (const reply of [
      'HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n',
      'HTTP/1.1 101 Switching\r\n\r\n',
    ]) {
      const client = await pair.client();
      client.send(HANDSHAKE);
      const worker = await pair.b.origin.connection();
      await requestHead(worker);
      worker.send(reply);
      expect((await answer(client)).head.status).toBe(502);
      await worker.ended();
    }
  });

  test('no switch is offered with a body, to h2c, or from HTTP/1.0', async () => {
    const pair = await pairFor();
    const lines = 'Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n';
    for (const text of [
      `GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n${lines}Upgrade: h2c\r\n\r\n`,
      `GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n${lines}Upgrade: websocket, H2C\r\n\r\n`,
      `POST /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n${lines}Upgrade: websocket\r\nContent-Length: 2\r\n\r\nhi`,
      `POST /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n${lines}Upgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n`,
      `GET /service/llm-inference/ HTTP/1.0\r\n${lines}Upgrade: websocket\r\n\r\n`,
    ]) {
      const client = await pair.client();
      client.send(text);
      const worker = pair.b.origin.connections.at(-1) ?? (await pair.b.origin.connection());
      const { head } = await request(worker);
      expect(first(head.fields, 'upgrade')).toBe(undefined);
      expect(first(head.fields, 'connection')).toBe(undefined);
      expect(first(head.fields, 'http2-settings')).toBe(undefined);
      worker.send(OK);
      expect((await answer(client)).body).toBe('ok');
    }
  });
});
