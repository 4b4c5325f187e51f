/** Connections of clients and to workers: pipelined, kept, and ended at the right moment. */
import { describe, expect, test } from '@jest/globals';
import { pairFor, type SidecarPair } from '../support/meshes/sidecar-pair.ts';
import type { Wire } from '../support/wire/wire.ts';
import { answer, request, requestHead } from '../support/wire/wire-messages.ts';

const POST = 'POST /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n';
const GET = 'GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n\r\n';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

async function sent(pair: SidecarPair, text: string): Promise<{ client: Wire; worker: Wire }> {
  const client = await pair.client();
  client.send(text);
  return { client, worker: await pair.b.origin.connection() };
}

describe('connections that are kept', () => {
  test('pipelined requests are answered one after the other, in order', async () => {
    const pair = await pairFor();
    const path = (n: number): string => `GET /service/llm-inference/${n} HTTP/1.1\r\nHost: a\r\n\r\n`;
    const { client, worker } = await sent(
      pair,
      `${path(1)}${POST}Content-Length: 3\r\n\r\nabc${path(3)}GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n${path(5)}`,
    );
    for (const [method, target, body] of [
      ['GET', '/1', ''],
      ['POST', '/', 'abc'],
      ['GET', '/3', ''],
    ] as const) {
      const got = await request(worker);
      expect([got.head.method, got.head.target, got.body]).toStrictEqual([method, target, body]);
      expect(worker.bytes.length).toBe(0);
      worker.send(OK);
      expect((await answer(client, method)).body).toBe('ok');
    }
    expect((await answer(client)).head.status).toBe(404);
    expect((await request(worker)).head.target).toBe('/5');
    worker.send(OK);
    expect((await answer(client)).body).toBe('ok');
    expect(pair.b.origin.connections).toHaveLength(1);
  });

  test('more pipelined requests than are read ahead keep their order', async () => {
    const pair = await pairFor();
    const count = 6_000;
    let text = '';
    for (let n = 0; n < count; n++) text += `GET /service/llm-inference/${n} HTTP/1.1\r\nHost: a\r\n\r\n`;
    const { client, worker } = await sent(pair, text); // some 300 KB, while the first one is served
    await new Promise((resolve) => setTimeout(resolve, 50));
    for (let n = 0; n < count; n++) {
      expect((await request(worker)).head.target).toBe(`/${n}`);
      worker.send(OK);
      expect((await answer(client)).body).toBe('ok');
    }
  });

  test('a response that ends before the upload does arrives whole, and ends the connection', async () => {
    const pair = await pairFor();
    const { client, worker } = await sent(pair, `${POST}Content-Length: 1000000\r\n\r\nbegin`);
    await requestHead(worker);
    worker.send('HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig');
    const got = await answer(client, 'POST');
    expect([got.head.status, got.body]).toStrictEqual([413, 'big']);
    client.send(`more of it ${GET}`); // thrown away, never a request
    expect(await client.ended()).toBe('end');
    expect(client.bytes.length).toBe(0);
    expect(await worker.ended()).toBe('end');
    expect(pair.b.origin.connections).toHaveLength(1);
    expect((await pair.finished.next()).outcome).toBe('ok');
  });

  test('kept connections are used again, on both hops', async () => {
    const pair = await pairFor();
    const client = await pair.client();
    pair.b.origin.reply = OK;
    for (let n = 0; n < 50; n++) {
      client.send(GET);
      expect((await answer(client)).body).toBe('ok');
    }
    expect(pair.b.origin.connections).toHaveLength(1);
    expect(pair.b.listener.openConnections).toBe(1);
  });
});
