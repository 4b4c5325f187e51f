/** What is too large or too slow, with the status that says so, and that the limits of two sidecars in a row fit. */
import net from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { TestMesh } from '../support/meshes/mesh.ts';
import { pairFor } from '../support/meshes/sidecar-pair.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { exchange, OK, refused, requestTo } from '../support/wire/exchange.ts';
import { Wire } from '../support/wire/wire.ts';
import { answer } from '../support/wire/wire-messages.ts';

const HEAD_BYTES = 65_536;
const TARGET_BYTES = 16_384;
const FIELDS = 100;

/** A head of exactly so many bytes. */
function headOf(bytes: number): string {
  const bare = requestTo('/', 'X: \r\n').length;
  return requestTo('/', `X: ${'a'.repeat(bytes - bare)}\r\n`);
}

describe('a message at its limits', () => {
  test('a head of the limit passes, one byte more is answered 431', async () => {
    const pair = await pairFor();
    const { got } = await exchange(pair, headOf(HEAD_BYTES));
    expect(got.head.status).toBe(200);
    const over = await refused(pair, headOf(HEAD_BYTES + 1));
    expect([over.head.status, JSON.parse(over.body).code]).toStrictEqual([431, 'headers_too_large']);
  });

  test('as many fields as the limit pass, one more is answered 431', async () => {
    const pair = await pairFor();
    const { got } = await exchange(pair, requestTo('/', 'X: 1\r\n'.repeat(FIELDS - 1)));
    expect(got.head.status).toBe(200);
    const over = await refused(pair, requestTo('/', 'X: 1\r\n'.repeat(FIELDS)));
    expect(over.head.status).toBe(431);
  });

  test('a target of the limit passes, one byte more is answered 414', async () => {
    const pair = await pairFor();
    const prefix = '/service/llm-inference/'.length;
    const { sent } = await exchange(pair, requestTo(`/${'a'.repeat(TARGET_BYTES - prefix)}`));
    expect(sent.head.target.length).toBe(TARGET_BYTES - prefix + 1);
    const over = await refused(pair, requestTo(`/${'a'.repeat(TARGET_BYTES - prefix + 1)}`));
    expect([over.head.status, JSON.parse(over.body).code]).toStrictEqual([414, 'uri_too_long']);
  });

  test('a method longer than any known is answered 501', async () => {
    const pair = await pairFor();
    const { sent } = await exchange(pair, requestTo('/', '', 'M'.repeat(64)));
    expect(sent.head.method.length).toBe(64);
    expect((await refused(pair, requestTo('/', '', 'M'.repeat(65)))).head.status).toBe(501);
  });

  test('a refusal for size names no byte of the sender, closes the connection, and is counted nowhere else', async () => {
    const pair = await pairFor();
    const client = await pair.client();
    client.send(`${headOf(HEAD_BYTES + 500)}${requestTo('/second')}`);
    const got = await answer(client);
    expect(got.head.keepAlive).toBe(false);
    expect(got.body).not.toContain('aaaa');
    await client.ended();
    expect(client.bytes.length).toBe(0);
    expect(pair.b.origin.connections).toHaveLength(0);
    expect(pair.running).toBe(0);
  });

  test('a head that trickles in is answered 408 in time, whatever its pace', async () => {
    const pair = await pairFor({ headTimeoutMs: 200 });
    const client = await pair.client();
    const startedMs = performance.now();
    const drip = setInterval(() => client.send('X: 1\r\n'), 20);
    onTestEnd(() => clearInterval(drip));
    client.send('GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n');
    const got = await answer(client);
    clearInterval(drip);
    expect([got.head.status, JSON.parse(got.body).code]).toStrictEqual([408, 'request_timeout']);
    expect(performance.now() - startedMs).toBeLessThan(2_000);
  });

  test('what the first sidecar lets through, the second does too, both ways: its own fields do not count', async () => {
    const mesh = new TestMesh();
    const env = { SIDECAR_MAX_HEAD: '4KiB', SIDECAR_MAX_FIELDS: '20', SIDECAR_MAX_TARGET: '256' };
    const own = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: \r\n\r\n'.length;
    const reply = `HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: ${'b'.repeat(4096 - own)}\r\n\r\n`;
    const worker = net.createServer((socket) => {
      socket.on('error', () => {});
      socket.on('data', () => socket.write(reply));
    });
    await new Promise<void>((resolve) => worker.listen(0, '127.0.0.1', resolve));
    onTestEnd(() => worker.close());
    const { port } = worker.address() as net.AddressInfo;
    await mesh.join({ id: 'called', services: { 'a-service-with-a-name': `http://127.0.0.1:${port}` }, env });
    const caller = await mesh.join({ id: 'caller', env });
    await caller.knows(['called']);

    const client = await Wire.connect(caller.running.outbound.port);
    onTestEnd(() => client.close());
    const line = (fill: string, target: string): string =>
      `GET ${target} HTTP/1.1\r\nHost: a-service-with-a-name.mesh\r\n${fill}\r\n`;
    for (const text of [
      line(`X: ${'a'.repeat(4096 - line('X: \r\n', '/').length)}\r\n`, '/'),
      line('X: 1\r\n'.repeat(19), '/'),
      line('', `/${'t'.repeat(255)}`),
    ]) {
      client.send(text);
      const got = await answer(client);
      expectNamed(got.head.status, got.body).toBe(200);
    }
    client.send(line('X: 1\r\n'.repeat(20), '/'));
    expect((await answer(client)).head.status).toBe(431);
  });

  test('a response over the limit is 502 and says so', async () => {
    const pair = await pairFor();
    const client = await pair.client();
    client.send(requestTo('/'));
    const worker = await pair.b.origin.connection();
    worker.send(`HTTP/1.1 200 OK\r\nX: ${'a'.repeat(HEAD_BYTES)}\r\n\r\n`);
    const got = await answer(client);
    expect([got.head.status, JSON.parse(got.body).code]).toStrictEqual([502, 'upstream_protocol']);
    const { got: fine } = await exchange(pair, requestTo('/'), OK);
    expect(fine.head.status).toBe(200);
  });
});
