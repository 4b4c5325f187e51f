/** Where messages end, which connections go on, and what is said in between (RFC 9112 §2, §6–9; RFC 9110 §10.1.1, §15.2). */
import { describe, expect, test } from '@jest/globals';
import { all, first } from '../../sidecar/core/http/headers.ts';
import { pairFor } from '../support/meshes/sidecar-pair.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { exchange, OK, refused, requestTo } from '../support/wire/exchange.ts';
import { answer, answerHead, request, requestHead } from '../support/wire/wire-messages.ts';

describe('HTTP/1.1 message framing', () => {
  test('both hops speak HTTP/1.1, whatever version came in', async () => {
    const pair = await pairFor();
    for (const version of ['1.0', '1.1', '1.7']) {
      for (const reply of ['1.0', '1.1', '1.9']) {
        const { sent, got } = await exchange(
          pair,
          requestTo('/', '', 'GET', version),
          `HTTP/${reply} 200 OK\r\nContent-Length: 2\r\n\r\nok`,
        );
        expect(sent.head.minor).toBe(1);
        expect(got.head.minor).toBe(1);
        expect(got.body).toBe('ok');
      }
    }
  });

  test('up to two empty lines before a request are skipped, also between two', async () => {
    const pair = await pairFor();
    const client = await pair.client();
    client.send(`\r\n${requestTo('/1')}`);
    const worker = await pair.b.origin.connection();
    for (const target of ['/1', '/2']) {
      expect((await request(worker)).head.target).toBe(target);
      worker.send(OK);
      expect((await answer(client)).body).toBe('ok');
      if (target === '/1') client.send(`\r\n\r\n${requestTo('/2')}`);
    }
  });

  test('content is carried whatever the method says about its meaning', async () => {
    const pair = await pairFor();
    for (const method of ['GET', 'HEAD', 'DELETE', 'OPTIONS', 'FROBNICATE']) {
      const { sent } = await exchange(
        pair,
        `${requestTo('/', 'Content-Length: 4\r\n', method)}body`,
        method === 'HEAD' ? 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n' : OK,
        method,
      );
      expect(sent.body).toBe('body');
    }
  });

  test('a length stays a length and chunks stay chunks; never both', async () => {
    const pair = await pairFor();
    const long = await exchange(pair, `${requestTo('/', 'Content-Length: 3\r\n', 'POST')}abc`, OK, 'POST');
    expect(all(long.sent.head.fields, 'content-length')).toStrictEqual(['3']);
    expect(all(long.sent.head.fields, 'transfer-encoding')).toStrictEqual([]);
    const chunks = `${requestTo('/', 'Transfer-Encoding: chunked\r\n', 'POST')}1;a=b;c\r\na\r\n02\r\nbc\r\n000\r\n\r\n`;
    const reply =
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n1 ;x="y z"\r\no\r\nA\r\nk123456789\r\n0;e\r\n\r\n';
    const cut = await exchange(pair, chunks, reply, 'POST');
    expect(all(cut.sent.head.fields, 'transfer-encoding')).toStrictEqual(['chunked']);
    expect(all(cut.sent.head.fields, 'content-length')).toStrictEqual([]);
    expect(cut.sent.body).toBe('abc');
    expect(all(cut.got.head.fields, 'transfer-encoding')).toStrictEqual(['chunked']);
    expect(all(cut.got.head.fields, 'content-length')).toStrictEqual([]);
    expect(cut.got.body).toBe('ok123456789');
  });

  test('chunk sizes beyond what a number holds are refused, not rounded', async () => {
    const pair = await pairFor();
    for (const size of ['FFFFFFFFFFFFFFFF', '20000000000001', '100000000000000001']) {
      const got = await refused(
        pair,
        `${requestTo('/', 'Transfer-Encoding: chunked\r\n', 'POST')}${size}\r\nabc\r\n0\r\n\r\n`,
      );
      expectNamed(got.head.status, size).toBe(400);
    }
  });

  test('interim and empty answers carry no framing, those to HEAD and of 304 the length they were given', async () => {
    const pair = await pairFor();
    for (const [method, reply, length] of [
      ['GET', 'HTTP/1.1 204 No Content\r\n\r\n', []],
      ['GET', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n', ['9']],
      ['HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n', ['9']],
      ['HEAD', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', []],
      ['HEAD', 'HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n', ['0']],
    ] as const) {
      const hint = 'HTTP/1.1 103 Early Hints\r\nContent-Length: 0\r\n\r\n';
      const { got } = await exchange(pair, requestTo('/', '', method), hint + reply, method);
      expect(all(got.head.fields, 'content-length')).toStrictEqual(length);
      expect(all(got.head.fields, 'transfer-encoding')).toStrictEqual([]);
      expect(got.informational).toHaveLength(1);
      expect(first(got.informational[0]?.fields ?? [], 'content-length')).toBe(undefined);
      expect(got.head.keepAlive).toBe(true);
    }
  });

  test('a Date is added where the worker gave none, and never changed', async () => {
    const pair = await pairFor();
    const given = 'Sun, 06 Nov 1994 08:49:37 GMT';
    const kept = await exchange(
      pair,
      requestTo('/'),
      `HTTP/1.1 200 OK\r\nDate: ${given}\r\nContent-Length: 0\r\n\r\n`,
    );
    expect(all(kept.got.head.fields, 'date')).toStrictEqual([given]);
    const added = await exchange(pair, requestTo('/'));
    const [date, ...more] = all(added.got.head.fields, 'date');
    expect(more).toStrictEqual([]);
    expect(date ?? '').toMatch(/^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/);
    expect(Math.abs(Date.parse(date ?? '') - Date.now())).toBeLessThan(5_000);
    const own = await refused(pair, 'GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n');
    expect(all(own.head.fields, 'date')).toHaveLength(1);
  });

  test('a client that says close gets close, and nothing behind it is read', async () => {
    const pair = await pairFor();
    const client = await pair.client();
    client.send(requestTo('/1', 'Connection: Close\r\n') + requestTo('/2'));
    const worker = await pair.b.origin.connection();
    expect(first((await request(worker)).head.fields, 'connection')).toBe(undefined);
    worker.send(OK);
    const got = await answer(client);
    expect(all(got.head.fields, 'connection')).toStrictEqual(['close']);
    expect(await client.ended()).toBe('end');
    expect(client.bytes.length).toBe(0);
    expect(worker.bytes.length).toBe(0);
  });

  test('a worker that says close closes its own connection alone', async () => {
    const pair = await pairFor();
    const client = await pair.client();
    for (let n = 0; n < 3; n++) {
      client.send(requestTo('/'));
      const worker = await pair.b.origin.connection();
      await request(worker);
      worker.send('HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok');
      const got = await answer(client);
      expect(got.head.keepAlive).toBe(true);
      expect(first(got.head.fields, 'connection')).toBe(undefined);
      await worker.ended();
    }
  });

  test('HTTP/1.0: no keep-alive however it asks, no chunks, no interim responses, no upgrade', async () => {
    const pair = await pairFor();
    const asks =
      'Connection: keep-alive, Upgrade\r\nKeep-Alive: timeout=9\r\nUpgrade: websocket\r\nExpect: 100-continue\r\n';
    const { sent, got, client } = await exchange(
      pair,
      requestTo('/', asks, 'GET', '1.0'),
      'HTTP/1.1 103 Hint\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n',
    );
    for (const name of ['upgrade', 'expect', 'keep-alive', 'connection'])
      expectNamed(first(sent.head.fields, name), name).toBe(undefined);
    expect(got.informational).toStrictEqual([]);
    expect(first(got.head.fields, 'transfer-encoding')).toBe(undefined);
    expect(all(got.head.fields, 'connection')).toStrictEqual(['close']);
    expect(got.body).toBe('ok');
    expect(await client.ended()).toBe('end');
  });

  test('HTTP/1.0 with a length is read to its end, and closed after the response', async () => {
    const pair = await pairFor();
    const { sent, client } = await exchange(
      pair,
      `POST /service/llm-inference/ HTTP/1.0\r\nContent-Length: 4\r\n\r\nbody${requestTo('/smuggled')}`,
      OK,
      'POST',
    );
    expect(sent.body).toBe('body');
    expect(await client.ended()).toBe('end');
    expect(client.bytes.length).toBe(0);
  });

  test('every interim response passes in its order, also one that nobody expected; 101 is none', async () => {
    const pair = await pairFor();
    const statuses = [100, 102, 103, 100, 199];
    const interim = statuses.map((status) => `HTTP/1.1 ${status} Any\r\nX-N: ${status}\r\n\r\n`).join('');
    const { got } = await exchange(pair, requestTo('/'), interim + OK);
    expect(got.informational.map(({ status, fields }) => [status, first(fields, 'x-n')])).toStrictEqual(
      statuses.map((status) => [status, String(status)]),
    );
    const unasked = await exchange(
      pair,
      requestTo('/'),
      'HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n',
    );
    expect(unasked.got.head.status).toBe(502);
  });

  test('a client that does not wait for 100 is served as well', async () => {
    const pair = await pairFor();
    const client = await pair.client();
    client.send(
      `${requestTo('/', 'Expect: 100-continue\r\nContent-Length: 4\r\n', 'POST')}body${requestTo('/2')}`,
    );
    const worker = await pair.b.origin.connection();
    expect((await request(worker)).body).toBe('body');
    worker.send(OK);
    expect((await answer(client, 'POST')).body).toBe('ok');
    expect((await request(worker)).head.target).toBe('/2');
    worker.send(OK);
    expect((await answer(client)).body).toBe('ok');
  });

  test('the head of a request that waits for 100 goes out before its body comes', async () => {
    const pair = await pairFor();
    const client = await pair.client();
    client.send(requestTo('/', 'Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n', 'PUT'));
    const worker = await pair.b.origin.connection();
    expect(first((await requestHead(worker)).fields, 'expect')).toBe('100-Continue');
    expect(worker.bytes.length).toBe(0);
    worker.send('HTTP/1.1 100 Continue\r\n\r\n');
    expect((await answerHead(client)).status).toBe(100);
    client.send('2\r\nhi\r\n0\r\n\r\n');
    await worker.until('0\r\n\r\n');
    worker.send(OK);
    expect((await answer(client, 'PUT')).body).toBe('ok');
  });

  test('the sidecar never makes up a 100', async () => {
    const pair = await pairFor();
    const { got } = await exchange(
      pair,
      `${requestTo('/', 'Expect: 100-continue\r\nContent-Length: 2\r\n', 'POST')}hi`,
      OK,
      'POST',
    );
    expect(got.informational).toStrictEqual([]);
  });

  test('an expectation that nobody knows is the worker’s to refuse', async () => {
    const pair = await pairFor();
    const { sent, got } = await exchange(
      pair,
      requestTo('/', 'Expect: the-unexpected=1\r\n'),
      'HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n',
    );
    expect(first(sent.head.fields, 'expect')).toBe('the-unexpected=1');
    expect(got.head.status).toBe(417);
    expect(got.head.keepAlive).toBe(true);
  });

  test('a status line without a reason or without its space is mended', async () => {
    const pair = await pairFor();
    for (const line of ['HTTP/1.1 200', 'HTTP/1.1 200 ']) {
      const client = await pair.client();
      client.send(requestTo('/'));
      const worker = pair.b.origin.connections[0] ?? (await pair.b.origin.connection());
      await request(worker);
      worker.send(`${line}\r\nContent-Length: 0\r\n\r\n`);
      expect((await client.until('\r\n')).startsWith('HTTP/1.1 200 ')).toBe(true);
      client.close();
    }
  });

  test('white space around values is removed, and folded or spaced names never reach the other side', async () => {
    const pair = await pairFor();
    const { sent, got } = await exchange(
      pair,
      requestTo('/', 'X-A: \t a b \t\r\nX-B:c\r\n'),
      'HTTP/1.1 200 OK\r\nX-A:\t d e\t \r\nContent-Length: 0\r\n\r\n',
    );
    expect([first(sent.head.fields, 'x-a'), first(sent.head.fields, 'x-b')]).toStrictEqual(['a b', 'c']);
    expect(first(got.head.fields, 'x-a')).toBe('d e');
    for (const lines of [
      'X-A : b\r\n',
      'X-A: b\r\n c\r\n',
      ' X-A: b\r\n',
      'X-A: b\rc\r\n',
      'X-A: b\0c\r\n',
      'X-A: b\nc\r\n',
    ])
      expectNamed((await refused(pair, requestTo('/', lines))).head.status, JSON.stringify(lines)).toBe(400);
    for (const lines of [
      'X-A : b\r\n',
      'X-A: b\r\n c\r\n',
      ' X-A: b\r\n',
      'X-A: b\rc\r\n',
      'X-A: b\0c\r\n',
    ]) {
      const client = await pair.client();
      client.send(requestTo('/'));
      const worker =
        pair.b.origin.connections.findLast((wire) => wire.end === null) ?? (await pair.b.origin.connection());
      await request(worker);
      worker.send(`HTTP/1.1 200 OK\r\n${lines}Content-Length: 0\r\n\r\n`);
      expectNamed((await answer(client)).head.status, JSON.stringify(lines)).toBe(502);
      await worker.ended();
    }
  });

  test('an empty chunked response, and one that ends with its connection, end cleanly for HTTP/1.1', async () => {
    const pair = await pairFor();
    const empty = await exchange(
      pair,
      requestTo('/'),
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    );
    expect([empty.got.body, empty.got.head.keepAlive]).toStrictEqual(['', true]);
    const client = await pair.client();
    client.send(requestTo('/'));
    const worker = pair.b.origin.connections[0] ?? (await pair.b.origin.connection());
    await request(worker);
    worker.send('HTTP/1.1 200 OK\r\n\r\nall of it');
    worker.finish();
    const got = await answer(client);
    expect([got.body, first(got.head.fields, 'transfer-encoding')]).toStrictEqual(['all of it', 'chunked']);
    expect(got.head.keepAlive).toBe(true);
  });
});
