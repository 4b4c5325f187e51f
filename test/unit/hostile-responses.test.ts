/** Malformed and two-faced answers of a worker: each must end as `upstream_protocol`, by its head or its framing. */
import { describe, expect, test } from '@jest/globals';
import { responseFraming } from '../../sidecar/core/http/http1-framing.ts';
import { parseResponseHead } from '../../sidecar/core/http/http1-response-head.ts';
import type { HeadLimits } from '../../sidecar/core/http/message.ts';
import { BAD_ANSWERS, ok } from '../support/generators/hostile-responses.ts';

const LIMITS: HeadLimits = { maxHeadBytes: 65_536, maxFields: 100, maxTargetBytes: 8192 };

/** What becomes of a response: `head` only if both the head and its framing are beyond doubt. */
function verdict(text: string, method = 'GET'): string {
  const bytes = Buffer.from(text, 'latin1');
  const result = parseResponseHead(bytes, 0, bytes.length, LIMITS);
  if (result.kind === 'bad') return result.code;
  if (result.kind === 'incomplete') return 'incomplete';
  return responseFraming(result.head, method).kind === 'bad' ? 'upstream_protocol' : 'head';
}

describe('a malformed response of a worker', () => {
  for (const [name, answer] of BAD_ANSWERS) {
    test(`upstream_protocol: ${name}`, () => expect(verdict(answer)).toBe('upstream_protocol'));
  }

  test('a bad length is refused for HEAD and 304 too: it would be passed on', () => {
    expect(verdict(ok('Content-Length: x\r\n'), 'HEAD')).toBe('upstream_protocol');
    expect(verdict(ok('Content-Length: 1, 2\r\n', 'HTTP/1.1 304 Not Modified'))).toBe('upstream_protocol');
  });

  test('sloppy but certain answers are taken', () => {
    expect(verdict(ok('', 'HTTP/1.1 200'))).toBe('head');
    expect(verdict(ok('', 'HTTP/1.1 200 '))).toBe('head');
    expect(verdict(ok('', 'HTTP/1.1 200 D\xe9j\xe0 vu'))).toBe('head');
    expect(verdict(ok('Content-Length: 0\r\n', 'HTTP/1.1 204 No Content'))).toBe('head');
    expect(verdict(ok('X:\r\nY: \t \r\n'))).toBe('head');
  });
});
