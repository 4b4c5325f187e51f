import { describe, expect, test } from '@jest/globals';
import { responseFraming } from '../../sidecar/core/http/http1-framing.ts';
import { parseResponseHead } from '../../sidecar/core/http/http1-response-head.ts';
import type { HeadLimits, ResponseHead } from '../../sidecar/core/http/message.ts';
import { expectNamed } from '../support/runner/expectations.ts';

const LIMITS: HeadLimits = { maxHeadBytes: 65_536, maxFields: 100, maxTargetBytes: 8192 };

function parse(text: string): ResponseHead {
  const bytes = Buffer.from(text, 'latin1');
  const result = parseResponseHead(bytes, 0, bytes.length, LIMITS);
  expectNamed(result.kind, JSON.stringify(result)).toBe('head');
  return (result as { head: ResponseHead }).head;
}

function framing(lines: string, status = 200, method = 'GET', version = '1.1'): unknown {
  return responseFraming(parse(`HTTP/${version} ${status} X\r\n${lines}\r\n`), method);
}

describe('an HTTP/1.1 response head', () => {
  test('a response as workers send it is read whole', () => {
    const text =
      'HTTP/1.1 200 All is well\r\nContent-Type: text/plain\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n';
    const bytes = Buffer.from(`${text}body`);
    expect(parseResponseHead(bytes, 0, bytes.length, LIMITS)).toStrictEqual({
      kind: 'head',
      end: text.length,
      head: {
        status: 200,
        reason: 'All is well',
        minor: 1,
        fields: ['Content-Type', 'text/plain', 'Set-Cookie', 'a', 'Set-Cookie', 'b'],
        keepAlive: true,
      },
    });
  });

  test('a reason may be empty, or missing with its space', () => {
    expect(parse('HTTP/1.1 200 \r\n\r\n').reason).toBe('');
    expect(parse('HTTP/1.1 200\r\n\r\n').reason).toBe('');
  });

  test('the worker says whether its connection goes on', () => {
    expect(parse('HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n').keepAlive).toBe(false);
    expect(parse('HTTP/1.0 200 OK\r\n\r\n').keepAlive).toBe(false);
    expect(parse('HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n').keepAlive).toBe(true);
    expect(parse('HTTP/1.0 200 OK\r\nConnection: keep-alive, close\r\n\r\n').keepAlive).toBe(false);
  });

  test('the framing is by length, by chunks, or until the end', () => {
    expect(framing('Content-Length: 5\r\n')).toStrictEqual({ kind: 'length', bytes: 5 });
    expect(framing('Content-Length: 0\r\n')).toStrictEqual({ kind: 'length', bytes: 0 });
    expect(framing('Transfer-Encoding: chunked\r\n')).toStrictEqual({ kind: 'chunked' });
    expect(framing('')).toStrictEqual({ kind: 'close' });
    expect(framing('', 200, 'GET', '1.0')).toStrictEqual({ kind: 'close' });
  });

  test('answers that have no content, whatever they announce', () => {
    expect(framing('Content-Length: 5\r\n', 200, 'HEAD')).toStrictEqual({ kind: 'none' });
    expect(framing('Transfer-Encoding: chunked\r\n', 200, 'HEAD')).toStrictEqual({ kind: 'none' });
    expect(framing('Content-Length: 5\r\n', 304)).toStrictEqual({ kind: 'none' });
    expect(framing('', 204)).toStrictEqual({ kind: 'none' });
    expect(framing('Content-Length: 0\r\n', 204)).toStrictEqual({ kind: 'none' });
    expect(framing('', 100)).toStrictEqual({ kind: 'none' });
    expect(framing('', 101)).toStrictEqual({ kind: 'none' });
    expect(framing('Content-Length: 5\r\n', 200, 'CONNECT')).toStrictEqual({ kind: 'none' });
  });

  test('a refused CONNECT has content like any other answer', () => {
    expect(framing('Content-Length: 5\r\n', 403, 'CONNECT')).toStrictEqual({ kind: 'length', bytes: 5 });
  });
});
