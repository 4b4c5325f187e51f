/** Hostile apps: each request gets its status and loses its connection, and no worker ever sees what it smuggled. */

import { describe, expect, test } from '@jest/globals';
import { CODES } from '../../sidecar/core/errors.ts';
import { all } from '../../sidecar/core/http/headers.ts';
import { BAD_REQUESTS, OTHER_FAULTS } from '../support/generators/hostile-requests.ts';
import { pairFor, SidecarPair } from '../support/meshes/sidecar-pair.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd, sharedByTests } from '../support/runner/on-test-end.ts';
import { isStuck } from '../support/wire/fill-up.ts';
import { answer, request, requestHead } from '../support/wire/wire-messages.ts';

const GET = 'GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n\r\n';
const POST = 'POST /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n';
const SMUGGLED = 'GET /service/llm-inference/smuggled HTTP/1.1\r\nHost: a\r\n\r\n';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** A small limit is enough for the endless ones; where they end is tested with the parser. */
const TOO_LARGE = new Set(['headers_too_large', 'uri_too_long']);

describe('a hostile app', () => {
  describe('malformed heads', () => {
    const shared = sharedByTests(async () => {
      const pair = await SidecarPair.start();
      onTestEnd(() => pair.close());
      pair.b.origin.reply = OK;
      return pair;
    });
    const cases = [
      // The preface of HTTP/2 is none here: the listener speaks that too.
      ...BAD_REQUESTS.filter(([name]) => name !== 'the preface of HTTP/2').map(
        ([name, head]) => [name, head, 'bad_request'] as const,
      ),
      ...OTHER_FAULTS.filter(([, , code]) => !TOO_LARGE.has(code)),
      [
        'a head of 80 KiB',
        `GET / HTTP/1.1\r\nHost: a\r\nX: ${'a'.repeat(81_920)}`,
        'headers_too_large',
      ] as const,
      [
        '300 fields',
        `GET / HTTP/1.1\r\nHost: a\r\n${'X: 1\r\n'.repeat(300)}\r\n`,
        'headers_too_large',
      ] as const,
      [
        'a target of 20 KiB',
        `GET /${'a'.repeat(20_480)} HTTP/1.1\r\nHost: a\r\n\r\n`,
        'uri_too_long',
      ] as const,
    ];

    test('are enough to tell', () => expect(cases.length).toBeGreaterThanOrEqual(60));

    for (const [name, head, code] of cases) {
      test(`${name}: answered ${code}, and nothing behind it is read`, async () => {
        const pair = shared();
        const client = await pair.client();
        client.send(head + SMUGGLED);
        const got = await answer(client);
        expect(got.head.status).toBe(CODES[code].status);
        expect(JSON.parse(got.body).code).toBe(code);
        expect(got.head.keepAlive).toBe(false);
        client.send(SMUGGLED);
        await client.ended();
        expectNamed(client.bytes.length, 'a second response').toBe(0);
        client.close();
        const next = await pair.client();
        next.send(GET);
        expect((await answer(next)).body).toBe('ok');
        next.close();
        await pair.finished.next();
        expectNamed(pair.b.origin.connections, 'kept all the time').toHaveLength(1);
        expect(pair.bugs).toStrictEqual([]);
      });
    }
  });

  /** After a good head: nothing that follows may reach a worker as part of a whole request. */
  const BAD_BODIES: readonly (readonly [name: string, body: string])[] = [
    ['a chunk size that is no number', 'xyz\r\n'],
    ['a negative chunk size', '-1\r\n'],
    ['a chunk size with 0x', '0x5\r\nhello\r\n0\r\n\r\n'],
    ['a chunk size that overflows', '10000000000000000000000005\r\nhello\r\n'],
    ['a space before the chunk size', ' 5\r\nhello\r\n0\r\n\r\n'],
    ['a bare line feed after the chunk size', '5\nhello\n0\n\n'],
    ['more data than the chunk says', '5\r\nhelloworld\r\n0\r\n\r\n'],
    ['less data than the chunk says', '5\r\nhel\r\n0\r\n\r\n'],
    ['a control character in a chunk extension', '5;a\x00\r\nhello\r\n0\r\n\r\n'],
    ['an endless chunk extension', `5;${'a'.repeat(20_000)}\r\nhello\r\n0\r\n\r\n`],
    ['a trailer with a space before its colon', '0\r\nX : 1\r\n\r\n'],
    ['a folded trailer', '0\r\nX: 1\r\n 2\r\n\r\n'],
    ['endless trailers', `0\r\n${'X: 1\r\n'.repeat(5_000)}`],
  ];

  describe('malformed chunked bodies', () => {
    const shared = sharedByTests(() => pairFor());

    for (const [name, body] of BAD_BODIES) {
      for (const isAhead of [true, false]) {
        test(`${name}, ${isAhead ? 'with its head' : 'after its head'}: answered 400, and cut at the worker`, async () => {
          const pair = shared();
          const client = await pair.client();
          const head = `${POST}Transfer-Encoding: chunked\r\n\r\n`;
          const before = pair.b.origin.connections.length;
          client.send(isAhead ? head + body + SMUGGLED : `${head}2\r\nok\r\n`);
          if (!isAhead) {
            const worker = await pair.b.origin.connection();
            await requestHead(worker);
            await worker.until('2\r\nok\r\n');
            client.send(body + SMUGGLED);
            await worker.ended();
            expect(worker.bytes.includes('0\r\n\r\n')).toBe(false);
            expect(worker.bytes.includes('smuggled')).toBe(false);
            expect((await pair.finished.next()).outcome).toBe('client_gone');
          }
          const got = await answer(client, 'POST');
          expect(got.head.status).toBe(400);
          await client.ended();
          expect(client.bytes.length).toBe(0);
          if (isAhead && pair.b.origin.connections.length > before) {
            expect((await pair.b.origin.connection()).bytes.includes('smuggled')).toBe(false);
          }
        });
      }
    }

    test('blame nobody, and a request after them is served', async () => {
      const pair = shared();
      expect(pair.running).toBe(0);
      expect(pair.b.standing.health.consecutiveFailures).toBe(0);
      pair.b.origin.reply = OK;
      const client = await pair.client();
      client.send(GET);
      expect((await answer(client)).body).toBe('ok');
    });
  });

  test('a body that breaks after the response began: the connection breaks, no second response', async () => {
    const pair = await pairFor();
    const client = await pair.client();
    client.send(`${POST}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n`);
    const worker = await pair.b.origin.connection();
    await requestHead(worker);
    worker.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n');
    await client.until('hi\r\n');
    client.send(`zz\r\n${SMUGGLED}`);
    await client.ended();
    expect(client.bytes.length).toBe(0);
    await worker.ended();
    expect(pair.b.origin.connections).toHaveLength(1);
  });

  test('a body longer than its length is the next request, and judged as one', async () => {
    const pair = await pairFor();
    const client = await pair.client();
    client.send(`${POST}Content-Length: 2\r\n\r\nhiGARBAGE\r\n\r\n${SMUGGLED}`);
    const worker = await pair.b.origin.connection();
    expect((await request(worker)).body).toBe('hi');
    worker.send(OK);
    expect((await answer(client, 'POST')).body).toBe('ok');
    expect((await answer(client)).head.status).toBe(400);
    await client.ended();
    expect(worker.bytes.length).toBe(0);
  });

  test('a head that does not come is answered 408, an idle connection is closed in silence', async () => {
    const pair = await pairFor({ headTimeoutMs: 60 });
    const slow = await pair.client();
    slow.send('GET /service/llm-inference/ HT');
    expect((await answer(slow)).head.status).toBe(408);
    await slow.ended();
    const silent = await pair.client();
    expect(await silent.ended()).toBe('end');
    expect(silent.receivedBytes).toBe(0);
  });

  test('a head cut by the end of the connection is answered 400', async () => {
    const pair = await pairFor();
    const client = await pair.client();
    client.send('GET /service/llm-inference/ HT');
    client.finish();
    expect((await answer(client)).head.status).toBe(400);
  });

  test('who pipelines without reading is not read any more', async () => {
    const pair = await pairFor();
    const client = await pair.client();
    client.socket.pause();
    const many = Buffer.from('GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(2_000));
    let sent = 0;
    for (;;) {
      sent += 2_000;
      if (sent > 2_000_000) throw new Error('the sidecar reads without end');
      if (client.socket.write(many)) continue;
      if (await isStuck(client.socket)) break;
    }
    const answeredSoFar = pair.finished.size;
    expect(answeredSoFar).toBeGreaterThan(0);
    expect(answeredSoFar).toBeLessThan(sent / 2);
    client.socket.resume();
    await client.when('more responses, in order', () => {
      const last = client.bytes.lastIndexOf('HTTP/1.1 ');
      if (last > 0) expect(client.take(last).includes(' 400 ')).toBe(false);
      return pair.finished.size >= answeredSoFar + 10_000 ? true : null;
    });
  });

  test('Content-Length beside chunked never reaches a worker in any spelling', async () => {
    const pair = await pairFor();
    const client = await pair.client();
    client.send(`${POST}transfer-encoding: chunked\r\nX-Content-Length: 3\r\n\r\n2\r\nhi\r\n0\r\n\r\n`);
    const worker = await pair.b.origin.connection();
    const got = await request(worker);
    expect(all(got.head.fields, 'content-length')).toStrictEqual([]);
    expect(all(got.head.fields, 'transfer-encoding')).toStrictEqual(['chunked']);
    worker.send(OK);
    await answer(client, 'POST');
  });
});
