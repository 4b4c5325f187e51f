/** Switches of protocol that do not come about: each ends as an ordinary answer, or as none. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { first } from '../../sidecar/core/http/headers.ts';
import { pairFor } from '../support/sidecar-pair.ts';
import { answer, request, requestHead } from '../support/wire-messages.ts';

const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
const HANDSHAKE = `GET /service/llm-inference/chat?x=1 HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\nSec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n`;
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const GET = 'GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n\r\n';

test('a reset during the handshake: 502, and the connection serves on', async (t) => {
  const pair = await pairFor(t);
  const client = await pair.client();
  client.send(HANDSHAKE);
  const worker = await pair.b.origin.connection();
  await requestHead(worker);
  worker.reset();
  // A GET may go to another peer; there is none.
  const got = await answer(client);
  assert.equal(got.head.status, 502);
  pair.b.origin.reply = OK;
  client.send(GET);
  assert.equal((await answer(client)).body, 'ok');
});

test('a worker that never answers the upgrade: 504 in the time of the service', async (t) => {
  const pair = await pairFor(t, { peers: [{ timeouts: { connectMs: 1_000, headMs: 80, idleMs: 1_000 } }] });
  const client = await pair.client();
  client.send(HANDSHAKE);
  const worker = await pair.b.origin.connection();
  await requestHead(worker);
  const got = await answer(client);
  assert.equal(got.head.status, 504);
  assert.equal(JSON.parse(got.body).code, 'response_timeout');
  await worker.ended();
});

test('the client leaves while the upgrade is pending', async (t) => {
  const pair = await pairFor(t);
  const client = await pair.client();
  client.send(HANDSHAKE);
  const worker = await pair.b.origin.connection();
  await requestHead(worker);
  client.close();
  await worker.ended();
  assert.equal((await pair.finished.next()).outcome, 'client_gone');
});

test('another response than 101 is an ordinary one, and the connection goes on as HTTP', async (t) => {
  const pair = await pairFor(t);
  const client = await pair.client();
  client.send(HANDSHAKE);
  const worker = await pair.b.origin.connection();
  await requestHead(worker);
  worker.send('HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 8\r\nContent-Length: 2\r\n\r\nno');
  const got = await answer(client);
  assert.deepEqual([got.head.status, got.body], [426, 'no']);
  client.send(GET);
  assert.equal((await request(worker)).head.upgrade, null);
  worker.send(OK);
  assert.equal((await answer(client)).body, 'ok');
});

test('a switch to something else than was asked for is no response', async (t) => {
  const pair = await pairFor(t);
  for (const reply of [
    'HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n',
    'HTTP/1.1 101 Switching\r\n\r\n',
  ]) {
    const client = await pair.client();
    client.send(HANDSHAKE);
    const worker = await pair.b.origin.connection();
    await requestHead(worker);
    worker.send(reply);
    assert.equal((await answer(client)).head.status, 502);
    await worker.ended();
  }
});

test('no switch is offered with a body, to h2c, or from HTTP/1.0', async (t) => {
  const pair = await pairFor(t);
  const lines = 'Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n';
  for (const text of [
    `GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n${lines}Upgrade: h2c\r\n\r\n`,
    `GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n${lines}Upgrade: websocket, H2C\r\n\r\n`,
    `POST /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n${lines}Upgrade: websocket\r\nContent-Length: 2\r\n\r\nhi`,
    `GET /service/llm-inference/ HTTP/1.0\r\n${lines}Upgrade: websocket\r\n\r\n`,
  ]) {
    const client = await pair.client();
    client.send(text);
    const worker = pair.b.origin.connections.at(-1) ?? (await pair.b.origin.connection());
    const { head } = await request(worker);
    assert.equal(first(head.fields, 'upgrade'), undefined);
    assert.equal(first(head.fields, 'connection'), undefined);
    assert.equal(first(head.fields, 'http2-settings'), undefined);
    worker.send(OK);
    assert.equal((await answer(client)).body, 'ok');
  }
});
