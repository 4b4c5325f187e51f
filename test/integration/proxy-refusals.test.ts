/** What the first sidecar refuses by itself, and how its connection goes on. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { first } from '../../sidecar/core/http/headers.ts';
import { exchange } from '../support/exchange.ts';
import { pairFor } from '../support/sidecar-pair.ts';
import { answer } from '../support/wire-messages.ts';

function get(target: string, lines = ''): string {
  return `GET ${target} HTTP/1.1\r\nHost: 127.0.0.1:8010\r\n${lines}\r\n`;
}

test('a loop is refused', async (t) => {
  const pair = await pairFor(t);
  const client = await pair.client();
  client.send(get('/service/llm-inference/', 'Via: 1.1 x, 1.1 A-Outbound (old)\r\n'));
  const own = await answer(client);
  assert.equal(own.head.status, 508);
  client.send(get('/service/llm-inference/', 'Via: 1.1 b-inbound\r\n'));
  const its = await answer(client);
  assert.equal(its.head.status, 508);
  assert.equal(JSON.parse(its.body).code, 'loop_detected');
  assert.equal(pair.b.peer.health.consecutiveFailures, 0);
  assert.equal(pair.b.origin.connections.length, 0);
});

test('CONNECT is refused, and the connection goes on', async (t) => {
  const pair = await pairFor(t);
  const client = await pair.client();
  client.send('CONNECT llm-inference.mesh:80 HTTP/1.1\r\nHost: llm-inference.mesh:80\r\n\r\n');
  assert.equal((await answer(client, 'CONNECT')).head.status, 501);
  client.send(get('/nothing'));
  const unknown = await answer(client);
  assert.equal(unknown.head.status, 404);
  assert.equal(JSON.parse(unknown.body).code, 'unknown_service');
});

test('the token is wanted where one is set, and goes no further', async (t) => {
  const pair = await pairFor(t, { outbound: { token: 'secret' } });
  const client = await pair.client();
  for (const lines of ['', 'sidecar-token: secre\r\n', 'sidecar-token: secrets\r\n']) {
    client.send(get('/service/llm-inference/', lines));
    assert.equal((await answer(client)).head.status, 401);
  }
  const { sent } = await exchange(pair, get('/service/llm-inference/', 'sidecar-token: secret\r\n'));
  assert.equal(first(sent.head.fields, 'sidecar-token'), undefined);
});
