/** What the next hop is told of a request that came in an older version. */
import { expect, test } from '@jest/globals';
import { first } from '../../sidecar/core/http/headers.ts';
import { parseRequestHead } from '../../sidecar/core/http/http1-request-head.ts';
import { requestHeaders } from '../../sidecar/proxy/hop-headers.ts';
import { mustHold } from '../support/runner/expectations.ts';
import { TEST_LIMITS } from '../support/wire/whole-messages.ts';

test('a client of HTTP/1.0 waits for no 100, so the next hop is not asked for one', () => {
  for (const [version, expected] of [
    ['1.0', undefined],
    ['1.1', '100-continue'],
  ] as const) {
    const text = `POST / HTTP/${version}\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n`;
    const bytes = Buffer.from(text);
    const parsed = parseRequestHead(bytes, 0, bytes.length, TEST_LIMITS);
    mustHold(parsed.kind === 'head');
    const facts = {
      version,
      clientIp: '10.0.0.1',
      pseudonym: 'a',
      trusted: false,
      prefix: '',
      sender: 'app',
    } as const;
    const fields = requestHeaders(parsed.head, facts);
    expect(first(fields, 'expect')).toBe(expected);
    expect(first(fields, 'via')).toBe(`${version} a`);
  }
});
