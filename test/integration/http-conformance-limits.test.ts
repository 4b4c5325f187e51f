/** What is too large or too slow, with the status that says so, and that the limits of two sidecars in a row fit. */
import assert from 'node:assert/strict';
import net from 'node:net';
import test from 'node:test';
import { exchange, OK, refused, requestTo } from '../support/exchange.ts';
import { TestMesh } from '../support/mesh.ts';
import { pairFor } from '../support/sidecar-pair.ts';
import { Wire } from '../support/wire.ts';
import { answer } from '../support/wire-messages.ts';

const HEAD_BYTES = 65_536;
const TARGET_BYTES = 16_384;
const FIELDS = 100;

/** A head of exactly so many bytes. */
function headOf(bytes: number): string {
  const bare = requestTo('/', 'X: \r\n').length;
  return requestTo('/', `X: ${'a'.repeat(bytes - bare)}\r\n`);
}

test('a head of the limit passes, one byte more is answered 431', async (t) => {
  const pair = await pairFor(t);
  const { got } = await exchange(pair, headOf(HEAD_BYTES));
  assert.equal(got.head.status, 200);
  const over = await refused(pair, headOf(HEAD_BYTES + 1));
  assert.deepEqual([over.head.status, JSON.parse(over.body).code], [431, 'headers_too_large']);
});

test('as many fields as the limit pass, one more is answered 431', async (t) => {
  const pair = await pairFor(t);
  const { got } = await exchange(pair, requestTo('/', 'X: 1\r\n'.repeat(FIELDS - 1)));
  assert.equal(got.head.status, 200);
  const over = await refused(pair, requestTo('/', 'X: 1\r\n'.repeat(FIELDS)));
  assert.equal(over.head.status, 431);
});

test('a target of the limit passes, one byte more is answered 414', async (t) => {
  const pair = await pairFor(t);
  const prefix = '/service/llm-inference/'.length;
  const { sent } = await exchange(pair, requestTo(`/${'a'.repeat(TARGET_BYTES - prefix)}`));
  assert.equal(sent.head.target.length, TARGET_BYTES - prefix + 1);
  const over = await refused(pair, requestTo(`/${'a'.repeat(TARGET_BYTES - prefix + 1)}`));
  assert.deepEqual([over.head.status, JSON.parse(over.body).code], [414, 'uri_too_long']);
});

test('a method longer than any known is answered 501', async (t) => {
  const pair = await pairFor(t);
  const { sent } = await exchange(pair, requestTo('/', '', 'M'.repeat(64)));
  assert.equal(sent.head.method.length, 64);
  assert.equal((await refused(pair, requestTo('/', '', 'M'.repeat(65)))).head.status, 501);
});

test('a refusal for size names no byte of the sender, closes the connection, and is counted nowhere else', async (t) => {
  const pair = await pairFor(t);
  const client = await pair.client();
  client.send(`${headOf(HEAD_BYTES + 500)}${requestTo('/second')}`);
  const got = await answer(client);
  assert.equal(got.head.keepAlive, false);
  assert.ok(!got.body.includes('aaaa'));
  await client.ended();
  assert.equal(client.bytes.length, 0);
  assert.equal(pair.b.origin.connections.length, 0);
  assert.equal(pair.running, 0);
});

test('a head that trickles in is answered 408 in time, whatever its pace', async (t) => {
  const pair = await pairFor(t, { headTimeoutMs: 200 });
  const client = await pair.client();
  const startedMs = performance.now();
  const drip = setInterval(() => client.send('X: 1\r\n'), 20);
  t.after(() => clearInterval(drip));
  client.send('GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n');
  const got = await answer(client);
  clearInterval(drip);
  assert.deepEqual([got.head.status, JSON.parse(got.body).code], [408, 'request_timeout']);
  assert.ok(performance.now() - startedMs < 2_000);
});

test('what the first sidecar lets through, the second does too, both ways: its own fields do not count', async (t) => {
  const mesh = new TestMesh(t);
  const env = { SIDECAR_MAX_HEAD: '4KiB', SIDECAR_MAX_FIELDS: '20', SIDECAR_MAX_TARGET: '256' };
  const own = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: \r\n\r\n'.length;
  const reply = `HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: ${'b'.repeat(4096 - own)}\r\n\r\n`;
  const worker = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', () => socket.write(reply));
  });
  await new Promise<void>((resolve) => worker.listen(0, '127.0.0.1', resolve));
  t.after(() => worker.close());
  const { port } = worker.address() as net.AddressInfo;
  await mesh.join({ id: 'called', services: { 'a-service-with-a-name': `http://127.0.0.1:${port}` }, env });
  const caller = await mesh.join({ id: 'caller', env });
  await caller.knows(['called']);

  const client = await Wire.connect(caller.running.outbound.port);
  t.after(() => client.close());
  const line = (fill: string, target: string): string =>
    `GET ${target} HTTP/1.1\r\nHost: a-service-with-a-name.mesh\r\n${fill}\r\n`;
  for (const text of [
    line(`X: ${'a'.repeat(4096 - line('X: \r\n', '/').length)}\r\n`, '/'),
    line('X: 1\r\n'.repeat(19), '/'),
    line('', `/${'t'.repeat(255)}`),
  ]) {
    client.send(text);
    const got = await answer(client);
    assert.equal(got.head.status, 200, got.body);
  }
  client.send(line('X: 1\r\n'.repeat(20), '/'));
  assert.equal((await answer(client)).head.status, 431);
});

test('a response over the limit is 502 and says so', async (t) => {
  const pair = await pairFor(t);
  const client = await pair.client();
  client.send(requestTo('/'));
  const worker = await pair.b.origin.connection();
  worker.send(`HTTP/1.1 200 OK\r\nX: ${'a'.repeat(HEAD_BYTES)}\r\n\r\n`);
  const got = await answer(client);
  assert.deepEqual([got.head.status, JSON.parse(got.body).code], [502, 'upstream_protocol']);
  const { got: fine } = await exchange(pair, requestTo('/'), OK);
  assert.equal(fine.head.status, 200);
});
