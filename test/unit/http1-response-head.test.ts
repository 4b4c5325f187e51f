import assert from 'node:assert/strict';
import test from 'node:test';
import { responseFraming } from '../../sidecar/core/http/http1-framing.ts';
import { parseResponseHead } from '../../sidecar/core/http/http1-response-head.ts';
import type { HeadLimits, ResponseHead } from '../../sidecar/core/http/message.ts';

const LIMITS: HeadLimits = { maxHeadBytes: 65_536, maxFields: 100, maxTargetBytes: 8192 };

function parse(text: string): ResponseHead {
  const bytes = Buffer.from(text, 'latin1');
  const result = parseResponseHead(bytes, 0, bytes.length, LIMITS);
  assert.equal(result.kind, 'head', JSON.stringify(result));
  return (result as { head: ResponseHead }).head;
}

function framing(lines: string, status = 200, method = 'GET', version = '1.1'): unknown {
  return responseFraming(parse(`HTTP/${version} ${status} X\r\n${lines}\r\n`), method);
}

test('a response as workers send it', () => {
  const text =
    'HTTP/1.1 200 All is well\r\nContent-Type: text/plain\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n';
  const bytes = Buffer.from(`${text}body`);
  assert.deepEqual(parseResponseHead(bytes, 0, bytes.length, LIMITS), {
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
  assert.equal(parse('HTTP/1.1 200 \r\n\r\n').reason, '');
  assert.equal(parse('HTTP/1.1 200\r\n\r\n').reason, '');
});

test('the worker says whether its connection goes on', () => {
  assert.equal(parse('HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n').keepAlive, false);
  assert.equal(parse('HTTP/1.0 200 OK\r\n\r\n').keepAlive, false);
  assert.equal(parse('HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n').keepAlive, true);
  assert.equal(parse('HTTP/1.0 200 OK\r\nConnection: keep-alive, close\r\n\r\n').keepAlive, false);
});

test('framing by length, by chunks, until the end', () => {
  assert.deepEqual(framing('Content-Length: 5\r\n'), { kind: 'length', bytes: 5 });
  assert.deepEqual(framing('Content-Length: 0\r\n'), { kind: 'length', bytes: 0 });
  assert.deepEqual(framing('Transfer-Encoding: chunked\r\n'), { kind: 'chunked' });
  assert.deepEqual(framing(''), { kind: 'close' });
  assert.deepEqual(framing('', 200, 'GET', '1.0'), { kind: 'close' });
});

test('answers that have no content, whatever they announce', () => {
  assert.deepEqual(framing('Content-Length: 5\r\n', 200, 'HEAD'), { kind: 'none' });
  assert.deepEqual(framing('Transfer-Encoding: chunked\r\n', 200, 'HEAD'), { kind: 'none' });
  assert.deepEqual(framing('Content-Length: 5\r\n', 304), { kind: 'none' });
  assert.deepEqual(framing('', 204), { kind: 'none' });
  assert.deepEqual(framing('Content-Length: 0\r\n', 204), { kind: 'none' });
  assert.deepEqual(framing('', 100), { kind: 'none' });
  assert.deepEqual(framing('', 101), { kind: 'none' });
  assert.deepEqual(framing('Content-Length: 5\r\n', 200, 'CONNECT'), { kind: 'none' });
});

test('a refused CONNECT has content like any other answer', () => {
  assert.deepEqual(framing('Content-Length: 5\r\n', 403, 'CONNECT'), { kind: 'length', bytes: 5 });
});
