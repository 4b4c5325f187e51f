/** Hostile and broken workers: 502 while nothing has been passed on, a broken connection after; never a clean end. */

import { describe, expect, test } from '@jest/globals';
import { BAD_ANSWERS } from '../support/generators/hostile-responses.ts';
import { pairFor } from '../support/meshes/sidecar-pair.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { sharedByTests } from '../support/runner/on-test-end.ts';
import type { Wire } from '../support/wire/wire.ts';
import { answer, answerHead, request, requestHead } from '../support/wire/wire-messages.ts';

const POST = 'POST /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

describe('a hostile or broken worker', () => {
  describe('malformed responses', () => {
    const shared = sharedByTests(async () => {
      const pair = await pairFor();
      // The connection stays usable throughout.
      return { pair, client: await pair.client() };
    });

    test('are enough to tell', () => expect(BAD_ANSWERS.length).toBeGreaterThanOrEqual(30));

    for (const [name, bytes] of [
      ...BAD_ANSWERS,
      ['nothing at all', ''] as const,
      ['half a head', 'HTTP/1.1 200 OK\r\nContent-Le'] as const,
      [
        'a 101 that nobody asked for',
        'HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n',
      ] as const,
      ['interim responses without end', 'HTTP/1.1 103 Hint\r\n\r\n'.repeat(100)] as const,
      ['a head of 80 KiB', `HTTP/1.1 200 OK\r\nX: ${'a'.repeat(81_920)}\r\n\r\n`] as const,
      ['201 fields', `HTTP/1.1 200 OK\r\n${'X: 1\r\n'.repeat(201)}\r\n`] as const,
    ]) {
      test(`${name}: answered 502, and the connection of the client goes on`, async () => {
        const { pair, client } = shared();
        client.send(POST);
        const worker = await pair.b.origin.connection();
        await request(worker);
        worker.send(bytes);
        if (bytes === '' || name === 'half a head') worker.finish();
        // A response that is only incomplete ends with its connection.
        else if (/endless|never ends/.test(name)) worker.finish();
        const got = await answer(client, 'POST');
        expectNamed(got.head.status, got.body).toBe(502);
        const problem = JSON.parse(got.body);
        expect(problem.code).toMatch(/^upstream_(protocol|reset)$/);
        expectNamed(problem.attempts.length, 'a POST is sent once').toBe(1);
        await worker.ended();
        await pair.finished.next();
        expect(pair.openConnections).toBe(1);
      });
    }
  });

  /** What the worker says, and then: how it ends. The client got a head, so it must see a break. */
  const CUT: readonly (readonly [name: string, bytes: string, end: (worker: Wire) => void])[] = [
    [
      'a length, cut by a close',
      'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf',
      (worker) => worker.close(),
    ],
    [
      'a length, cut by a half-close',
      'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf',
      (worker) => worker.finish(),
    ],
    [
      'a length, cut by a reset',
      'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf',
      (worker) => worker.reset(),
    ],
    [
      'chunks, cut by a close',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n',
      (worker) => worker.close(),
    ],
    [
      'chunks, cut inside one',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf',
      (worker) => worker.finish(),
    ],
    [
      'chunks, cut before the last CRLF',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n',
      (worker) => worker.finish(),
    ],
    [
      'chunks, cut by a reset',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n',
      (worker) => worker.reset(),
    ],
    [
      'chunks that break the rules',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n',
      () => {},
    ],
    [
      'trailers that break the rules',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\nX : 1\r\n\r\n',
      () => {},
    ],
    ['until the close, cut by a reset', 'HTTP/1.1 200 OK\r\n\r\nhalf', (worker) => worker.reset()],
  ];

  for (const version of ['1.1', '1.0']) {
    for (const [name, bytes, end] of CUT) {
      test(`HTTP/${version} client, ${name}: the client sees a break`, async () => {
        const pair = await pairFor();
        const client = await pair.client();
        client.send(`GET /service/llm-inference/ HTTP/${version}\r\nHost: a\r\n\r\n`);
        const worker = await pair.b.origin.connection();
        await request(worker);
        worker.send(bytes);
        const head = await answerHead(client);
        expect(head.status).toBe(200);
        await client.until('half');
        end(worker);
        const how = await client.ended();
        // What has neither a length nor chunks can only be told from a whole one by a reset.
        const hasFraming = head.fields.some((field) => /^(content-length|transfer-encoding)$/i.test(field));
        if (!hasFraming) expect(how).toBe('reset');
        expect(client.bytes.includes('0\r\n\r\n')).toBe(false);
        const finished = await pair.finished.next();
        expect(finished.outcome).toBe('broken');
        expect(finished.code ?? '').toMatch(/^upstream_(reset|protocol)$/);
        await worker.ended();
        expect(pair.b.outstanding).toBe(0);
        expect(pair.b.service.admission.inFlight).toBe(0);
      });
    }
  }

  test('bytes after a response are nobody else’s answer', async () => {
    const pair = await pairFor();
    const evil = 'HTTP/1.1 200 Evil\r\nContent-Length: 4\r\n\r\nevil';
    const client = await pair.client();
    for (const bytes of [OK + evil, `${OK}x`, `HTTP/1.1 204 No Content\r\n\r\n${evil}`]) {
      client.send(POST);
      const worker = await pair.b.origin.connection();
      await request(worker);
      worker.send(bytes);
      const got = await answer(client, 'POST');
      expect(got.body).not.toBe('evil');
      expect(await worker.ended()).not.toBe(null);
    }
  });

  test('bytes on an idle connection close it', async () => {
    const pair = await pairFor();
    const client = await pair.client();
    client.send(POST);
    const worker = await pair.b.origin.connection();
    await request(worker);
    worker.send(OK);
    await answer(client, 'POST');
    worker.send('HTTP/1.1 200 Evil\r\nContent-Length: 4\r\n\r\nevil');
    await worker.ended();
    client.send(POST);
    const next = await pair.b.origin.connection();
    await request(next);
    next.send(OK);
    expect((await answer(client, 'POST')).body).toBe('ok');
  });

  test('a worker that says close is not asked again on that connection', async () => {
    const pair = await pairFor();
    const client = await pair.client();
    for (const reply of [
      'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok',
      'HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok',
    ]) {
      client.send(POST);
      const worker = await pair.b.origin.connection();
      await request(worker);
      worker.send(reply);
      expect((await answer(client, 'POST')).body).toBe('ok');
      await worker.ended();
    }
  });

  test('an early refusal of a large upload arrives although the worker closes at once', async () => {
    const pair = await pairFor();
    const body = Buffer.alloc(400_000, 'x');
    for (let n = 0; n < 30; n++) {
      const client = await pair.client();
      client.send('POST /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nContent-Length: 40000000\r\n\r\n');
      client.send(body);
      const worker = await pair.b.origin.connection();
      await requestHead(worker);
      client.send(body);
      worker.send('HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
      worker.finish();
      client.send(body);
      expect((await answer(client, 'POST')).head.status).toBe(413);
      client.close();
      worker.close();
    }
  });
});
