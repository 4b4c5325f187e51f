/**
 * A client of HTTP/2 that does not wait for our settings: preface and first request come in one piece. RFC 9113 §3.4
 * lets it, and its first request is one like any other.
 */
import { once } from 'node:events';
import http2 from 'node:http2';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { pairFor } from '../support/meshes/sidecar-pair.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

describe('an HTTP/2 client that does not wait', () => {
  for (const [body, length] of [
    ['hello', null],
    ['', null],
    ['hello', '5'],
  ] as const) {
    const what = `${body === '' ? 'an empty body' : 'a body'} ${length === null ? 'of no told length' : 'with a length'}`;
    test(`a first request with ${what}, whole in the first bytes, is answered`, async () => {
      const pair = await pairFor({ peers: [{}] });
      pair.b.origin.reply = OK;
      const session = http2.connect(`http://127.0.0.1:${pair.port}`);
      onTestEnd(() => session.destroy());
      const headers = length === null ? {} : { 'content-length': length };
      const stream = session.request({
        ':method': 'POST',
        ':path': '/service/llm-inference/',
        ...headers,
      });
      stream.end(body);
      const got = await Promise.race([once(stream, 'response'), pause(2_000, null, { ref: false })]);
      expect((got?.[0] as http2.IncomingHttpHeaders | undefined)?.[':status']).toBe(200);
    });
  }
});
