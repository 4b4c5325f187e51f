/** Malformed and two-faced request heads, each with the one code it must get. None may throw or be forwarded. */
import { describe, expect, test } from '@jest/globals';
import { parseRequestHead } from '../../sidecar/core/http/http1-request-head.ts';
import type { HeadLimits } from '../../sidecar/core/http/message.ts';
import { BAD_REQUESTS, HOST, OTHER_FAULTS } from '../support/generators/hostile-requests.ts';
import { mustHold } from '../support/runner/expectations.ts';

const LIMITS: HeadLimits = { maxHeadBytes: 65_536, maxFields: 100, maxTargetBytes: 8192 };

function codeOf(head: string): string {
  const bytes = Buffer.from(head, 'latin1');
  const result = parseRequestHead(bytes, 0, bytes.length, LIMITS);
  return result.kind === 'bad' ? result.code : result.kind;
}

describe('a malformed request', () => {
  for (const [name, head] of BAD_REQUESTS) {
    test(`bad_request: ${name}`, () => expect(codeOf(head)).toBe('bad_request'));
  }

  for (const [name, head, code] of OTHER_FAULTS) {
    test(`${code}: ${name}`, () => expect(codeOf(head)).toBe(code));
  }

  test('a head of exactly the limit is taken', () => {
    const rest = `GET / HTTP/1.1\r\n${HOST}X: \r\n\r\n`;
    expect(codeOf(rest.replace('X: ', `X: ${'a'.repeat(65_536 - rest.length)}`))).toBe('head');
  });

  test('a head that lacks its last byte at the limit is refused, one byte earlier it is incomplete', () => {
    const rest = `GET / HTTP/1.1\r\n${HOST}X: \r\n\r\n`;
    const tooLong = rest.replace('X: ', `X: ${'a'.repeat(65_537 - rest.length)}`);
    expect(codeOf(tooLong.slice(0, 65_536))).toBe('headers_too_large');
    expect(codeOf(tooLong.slice(0, 65_535))).toBe('incomplete');
  });

  test('what a fault says never holds bytes of the sender', () => {
    for (const [, head] of BAD_REQUESTS) {
      const bytes = Buffer.from(head, 'latin1');
      const result = parseRequestHead(bytes, 0, bytes.length, LIMITS);
      mustHold(result.kind === 'bad' && /^[A-Za-z0-9 ()/.,-]+$/.test(result.detail));
    }
  });
});
