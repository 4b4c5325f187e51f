/** Bodies through both sidecars: framings, trailers, interim responses, and streams in both directions at once. */
import { describe, expect, test } from '@jest/globals';
import { all, first } from '../../sidecar/core/http/headers.ts';
import { pairFor, type SidecarPair } from '../support/meshes/sidecar-pair.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import type { Wire } from '../support/wire/wire.ts';
import { answer, answerHead, request, requestHead } from '../support/wire/wire-messages.ts';

const POST = 'POST /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n';
const GET = 'GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n\r\n';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

async function sent(pair: SidecarPair, text: string): Promise<{ client: Wire; worker: Wire }> {
  const client = await pair.client();
  client.send(text);
  return { client, worker: await pair.b.origin.connection() };
}

describe('bodies through both sidecars', () => {
  test('a body keeps its framing and its bytes', async () => {
    const pair = await pairFor();
    const client = await pair.client();
    let worker: Wire | null = null;
    for (const [text, framing, body] of [
      [`${POST}\r\n`, { kind: 'none' }, ''],
      [`${POST}Content-Length: 0\r\n\r\n`, { kind: 'length', bytes: 0 }, ''],
      [`${POST}Content-Length: 5\r\n\r\nhe\0\xff\n`, { kind: 'length', bytes: 5 }, 'he\0\xff\n'],
      [`${POST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, { kind: 'chunked' }, ''],
      [
        `${POST}Transfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n`,
        { kind: 'chunked' },
        'abcde',
      ],
    ] as const) {
      client.send(text);
      worker ??= await pair.b.origin.connection();
      const got = await request(worker);
      expect(got.head.framing).toStrictEqual(framing);
      expect(got.body).toBe(body);
      worker.send(OK);
      expect((await answer(client, 'POST')).body).toBe('ok');
    }
  });

  test('each framing of a response arrives whole, for HTTP/1.1 and HTTP/1.0 clients', async () => {
    const pair = await pairFor();
    for (const version of ['1.1', '1.0']) {
      for (const reply of [
        'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nab\r\ncd',
        'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n4\r\n\r\ncd\r\n0\r\n\r\n',
        'HTTP/1.1 200 OK\r\n\r\nab\r\ncd',
        'HTTP/1.0 200 OK\r\n\r\nab\r\ncd',
      ]) {
        const client = await pair.client();
        client.send(
          `GET /service/llm-inference/ HTTP/${version}\r\nHost: a\r\nConnection: keep-alive\r\n\r\n`,
        );
        const worker = await pair.b.origin.connection();
        await request(worker);
        worker.send(reply);
        worker.finish();
        const got = await answer(client);
        expect(got.body).toBe('ab\r\ncd');
        if (version === '1.0') {
          expect(first(got.head.fields, 'transfer-encoding')).toBe(undefined);
          expect(got.head.keepAlive).toBe(false);
          expect(await client.ended()).toBe('end');
        }
        client.close();
      }
    }
  });

  test('answers without a body keep their connection, whatever they say of a length', async () => {
    const pair = await pairFor();
    const client = await pair.client();
    const cases: readonly (readonly [method: string, reply: string, length: string | undefined])[] = [
      ['HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n', '5'],
      ['HEAD', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', undefined],
      ['HEAD', 'HTTP/1.1 200 OK\r\n\r\n', undefined],
      ['GET', 'HTTP/1.1 204 No Content\r\n\r\n', undefined],
      ['GET', 'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n', undefined],
      ['GET', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: "a"\r\n\r\n', '5'],
      ['GET', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n', '0'],
      ['GET', 'HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n', '0'],
    ];
    let worker: Wire | null = null;
    for (const [method, reply, length] of cases) {
      client.send(`${method} /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n\r\n`);
      worker ??= await pair.b.origin.connection();
      await request(worker);
      worker.send(reply);
      const got = await answer(client, method);
      expect(got.body).toBe('');
      expectNamed(all(got.head.fields, 'content-length'), reply).toStrictEqual(
        length === undefined ? [] : [length],
      );
      expect(first(got.head.fields, 'transfer-encoding')).toBe(undefined);
      expect(got.head.keepAlive).toBe(true);
    }
    expect(pair.b.origin.connections).toHaveLength(1);
  });

  test('an HTTP/1.0 request without Host is served', async () => {
    const pair = await pairFor();
    const { client, worker } = await sent(pair, 'GET /service/llm-inference/x HTTP/1.0\r\n\r\n');
    const got = await request(worker);
    expect(got.head.minor).toBe(1);
    expect(all(got.head.fields, 'via')[0]).toBe('1.0 a-outbound');
    worker.send(OK);
    expect((await answer(client)).body).toBe('ok');
    expect(await client.ended()).toBe('end');
  });

  test('trailers travel both ways, without those that may not', async () => {
    const pair = await pairFor();
    const { client, worker } = await sent(
      pair,
      `${POST}TE: trailers\r\nConnection: TE, X-Hop\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n` +
        '2\r\nhi\r\n0\r\nX-Sum: 1\r\nX-Hop: 1\r\nHost: evil\r\nContent-Length: 9\r\nsidecar-auth: forged\r\nX-Sum: 2\r\n\r\n',
    );
    const got = await request(worker);
    expect(got.trailers).toStrictEqual(['X-Sum', '1', 'X-Sum', '2']);
    expect(first(got.head.fields, 'te')).toBe('trailers');
    expect(first(got.head.fields, 'trailer')).toBe('X-Sum');
    worker.send(
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: X-Hop\r\n\r\n2\r\nok\r\n0\r\nX-Status: 0\r\nX-Hop: 1\r\nSet-Cookie: a\r\nsidecar-worker: evil\r\nTransfer-Encoding: chunked\r\n\r\n',
    );
    const answered = await answer(client, 'POST');
    expect(answered.body).toBe('ok');
    expect(answered.trailers).toStrictEqual(['X-Status', '0']);
  });

  test('Expect: 100-continue goes end to end: the body starts when the worker says so', async () => {
    const pair = await pairFor();
    const { client, worker } = await sent(pair, `${POST}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n`);
    const head = await requestHead(worker);
    expect(first(head.fields, 'expect')).toBe('100-continue');
    worker.send('HTTP/1.1 100 Continue\r\nX-Note: go\r\n\r\n');
    const interim = await answerHead(client);
    expect(interim.status).toBe(100);
    expect(first(interim.fields, 'x-note')).toBe('go');
    client.send('hello');
    expect((await worker.exactly(5)).toString()).toBe('hello');
    worker.send(OK);
    expect((await answer(client, 'POST')).head.status).toBe(200);
  });

  test('a client that waits for 100 and is refused gets the response, and the connection ends', async () => {
    const pair = await pairFor();
    const client = await pair.client();
    client.send('POST /nothing HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n');
    const refused = await answer(client, 'POST');
    expect(refused.head.status).toBe(404);
    expect(refused.head.keepAlive).toBe(false);
    client.send(`hello${GET}`);
    expect(await client.ended()).toBe('end');
    expect(client.bytes.length).toBe(0);
    expect(pair.b.origin.connections).toHaveLength(0);
  });

  test('the worker refuses instead of 100: its response arrives, nothing else is read from that connection', async () => {
    const pair = await pairFor();
    const { client, worker } = await sent(pair, `${POST}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n`);
    await requestHead(worker);
    worker.send('HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n');
    expect((await answer(client, 'POST')).head.status).toBe(417);
    client.send(GET);
    await client.ended();
    expect(client.bytes.length).toBe(0);
    expect(pair.b.origin.connections).toHaveLength(1);
  });

  test('HTTP/1.0 clients get no interim responses and no Expect', async () => {
    const pair = await pairFor();
    const { client, worker } = await sent(
      pair,
      'POST /service/llm-inference/ HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi',
    );
    const got = await request(worker);
    expect(first(got.head.fields, 'expect')).toBe(undefined);
    worker.send(`HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n${OK}`);
    const answered = await answer(client, 'POST');
    expect(answered.informational).toStrictEqual([]);
    expect(answered.body).toBe('ok');
  });

  test('103 is passed on, as often as it comes, before the response', async () => {
    const pair = await pairFor();
    const { client, worker } = await sent(pair, GET);
    await request(worker);
    worker.send('HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nLink: </b>\r\n\r\n');
    const hint = await answerHead(client);
    expect(hint.status).toBe(103);
    expect(all(hint.fields, 'link')).toStrictEqual(['</a>; rel=preload', '</b>']);
    worker.send(`HTTP/1.1 102 Processing\r\n\r\n${OK}`);
    const answered = await answer(client);
    expect(answered.informational.map(({ status }) => status)).toStrictEqual([102]);
  });

  test('a response that begins before the upload ends: both go on', async () => {
    const pair = await pairFor();
    const { client, worker } = await sent(pair, `${POST}Transfer-Encoding: chunked\r\n\r\n`);
    await requestHead(worker);
    worker.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
    const head = await answerHead(client);
    expect(head.status).toBe(200);
    for (const piece of ['one', 'two', 'three']) {
      client.send(`${piece.length}\r\n${piece}\r\n`);
      await worker.until(`${piece.length}\r\n${piece}\r\n`);
      worker.send(`${piece.length}\r\n${piece}\r\n`);
      await client.until(`${piece.length}\r\n${piece}\r\n`);
    }
    client.send('0\r\n\r\n');
    await worker.until('0\r\n\r\n');
    worker.send('0\r\n\r\n');
    await client.until('0\r\n\r\n');
    client.send(GET);
    await request(worker);
    worker.send(OK);
    expect((await answer(client)).body).toBe('ok');
  });

  test('each event of an SSE stream arrives before the next is written', async () => {
    const pair = await pairFor();
    const { client, worker } = await sent(pair, GET);
    await request(worker);
    worker.send('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n');
    expect((await answerHead(client)).status).toBe(200);
    for (let n = 0; n < 200; n++) {
      const event = `data: ${n}\n\n`;
      worker.send(`${event.length.toString(16)}\r\n${event}\r\n`);
      await client.until(event);
    }
    worker.send('0\r\n\r\n');
    await client.until('0\r\n\r\n');
  });

  test('events without a framing of their own arrive one by one too', async () => {
    const pair = await pairFor();
    const { client, worker } = await sent(pair, GET);
    await request(worker);
    worker.send('HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n');
    await answerHead(client);
    for (let n = 0; n < 20; n++) {
      worker.send(`data: ${n}\n\n`);
      await client.until(`data: ${n}\n\n`);
    }
    worker.finish();
    await client.until('0\r\n\r\n');
  });
});
