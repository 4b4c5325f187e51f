/** Malformed and two-faced answers of a worker: each must end as `upstream_protocol`, by its head or its framing. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { type HeadLimits, parseResponseHead, responseFraming } from '../../sidecar/core/http1-head.ts';

const LIMITS: HeadLimits = { maxHeadBytes: 65_536, maxFields: 100, maxTargetBytes: 8192 };

function ok(lines: string, status = 'HTTP/1.1 200 OK'): string {
  return `${status}\r\n${lines}\r\n`;
}

/** What becomes of an answer: `head` only if both the head and its framing are beyond doubt. */
function verdict(text: string, method = 'GET'): string {
  const bytes = Buffer.from(text, 'latin1');
  const result = parseResponseHead(bytes, 0, bytes.length, LIMITS);
  if (result.kind === 'bad') return result.code;
  if (result.kind === 'incomplete') return 'incomplete';
  return responseFraming(result.head, method).kind === 'bad' ? 'upstream_protocol' : 'head';
}

const BAD: readonly (readonly [name: string, answer: string])[] = [
  ['HTTP/2.0', ok('', 'HTTP/2.0 200 OK')],
  ['HTTP/0.9', '<html>hello</html>'],
  ['ICY 200 OK', ok('', 'ICY 200 OK')],
  ['http/1.1 in lower case', ok('', 'http/1.1 200 OK')],
  ['HTTP/1.10', ok('', 'HTTP/1.10 200 OK')],
  ['HTTP/1.x', ok('', 'HTTP/1.x 200 OK')],
  ['an empty line first', `\r\n${ok('')}`],
  ['a space first', ` ${ok('')}`],
  ['two spaces before the status', ok('', 'HTTP/1.1  200 OK')],
  ['a tab before the status', ok('', 'HTTP/1.1\t200 OK')],
  ['no status', ok('', 'HTTP/1.1 ')],
  ['a status of two digits', ok('', 'HTTP/1.1 20 OK')],
  ['a status of four digits', ok('', 'HTTP/1.1 2000 OK')],
  ['a status of letters', ok('', 'HTTP/1.1 abc OK')],
  ['status +20', ok('', 'HTTP/1.1 +20 OK')],
  ['status 099', ok('', 'HTTP/1.1 099 Low')],
  ['status 000', ok('', 'HTTP/1.1 000 None')],
  ['status 600', ok('', 'HTTP/1.1 600 High')],
  ['NUL in the reason', ok('', 'HTTP/1.1 200 O\0K')],
  ['a bare line feed after the status line', 'HTTP/1.1 200 OK\nX: 1\r\n\r\n'],
  ['a bare carriage return in the reason', 'HTTP/1.1 200 O\rK\r\n\r\n'],
  ['obs-fold', ok('X: a\r\n b\r\n')],
  ['white space before the first field', ok(' X: a\r\n')],
  ['a space before the colon', ok('Content-Length : 5\r\n')],
  ['a field without a colon', ok('garbage\r\n')],
  ['a field without a name', ok(': a\r\n')],
  ['NUL in a value', ok('X: a\0\r\n')],
  ['a bare line feed in a value', ok('X: a\nSet-Cookie: b\r\n')],
  ['a bare carriage return in a value', ok('X: a\rb\r\n')],
  ['an escape sequence in a value', ok('X: \x1b[2J\r\n')],
  ['a name beyond ASCII', ok('\xdcber: a\r\n')],
  ['101 fields', ok('X: 1\r\n'.repeat(101))],
  [
    'endless fields',
    `HTTP/1.1 200 OK\r\n${'X-Long: aaaaaaaaaaaaaaaaaaaaaaaaa\r\n'.repeat(90)}X: ${'a'.repeat(65_536)}`,
  ],
  ['a value of 65 KiB', ok(`X: ${'a'.repeat(65 * 1024)}\r\n`)],
  ['a reason that never ends', `HTTP/1.1 200 ${'a'.repeat(65_536)}`],
  ['Content-Length and Transfer-Encoding', ok('Content-Length: 5\r\nTransfer-Encoding: chunked\r\n')],
  ['two Content-Lengths that differ', ok('Content-Length: 5\r\nContent-Length: 6\r\n')],
  ['two equal Content-Lengths', ok('Content-Length: 5\r\ncontent-length: 5\r\n')],
  ['Content-Length 5, 5', ok('Content-Length: 5, 5\r\n')],
  ['Content-Length +5', ok('Content-Length: +5\r\n')],
  ['Content-Length -1', ok('Content-Length: -1\r\n')],
  ['Content-Length 0x5', ok('Content-Length: 0x5\r\n')],
  ['an empty Content-Length', ok('Content-Length:\r\n')],
  ['a Content-Length of 30 digits', ok(`Content-Length: ${'9'.repeat(30)}\r\n`)],
  ['Transfer-Encoding gzip', ok('Transfer-Encoding: gzip\r\n')],
  ['Transfer-Encoding gzip, chunked', ok('Transfer-Encoding: gzip, chunked\r\n')],
  ['Transfer-Encoding identity', ok('Transfer-Encoding: identity\r\n')],
  ['Transfer-Encoding chunked, identity', ok('Transfer-Encoding: chunked, identity\r\n')],
  ['Transfer-Encoding xchunked', ok('Transfer-Encoding: xchunked\r\n')],
  ['chunked in two fields', ok('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n')],
  ['Transfer-Encoding in HTTP/1.0', ok('Transfer-Encoding: chunked\r\n', 'HTTP/1.0 200 OK')],
  ['a 204 with Transfer-Encoding', ok('Transfer-Encoding: chunked\r\n', 'HTTP/1.1 204 No Content')],
  ['a 204 with content', ok('Content-Length: 5\r\n', 'HTTP/1.1 204 No Content')],
  ['a 100 with content', ok('Content-Length: 5\r\n', 'HTTP/1.1 100 Continue')],
  ['a 101 with Transfer-Encoding', ok('Transfer-Encoding: chunked\r\n', 'HTTP/1.1 101 Switching')],
];

for (const [name, answer] of BAD) {
  test(`upstream_protocol: ${name}`, () => assert.equal(verdict(answer), 'upstream_protocol'));
}

test('a bad length is refused for HEAD and 304 too: it would be passed on', () => {
  assert.equal(verdict(ok('Content-Length: x\r\n'), 'HEAD'), 'upstream_protocol');
  assert.equal(verdict(ok('Content-Length: 1, 2\r\n', 'HTTP/1.1 304 Not Modified')), 'upstream_protocol');
});

test('sloppy but certain answers are taken', () => {
  assert.equal(verdict(ok('', 'HTTP/1.1 200')), 'head');
  assert.equal(verdict(ok('', 'HTTP/1.1 200 ')), 'head');
  assert.equal(verdict(ok('', 'HTTP/1.1 200 D\xe9j\xe0 vu')), 'head');
  assert.equal(verdict(ok('Content-Length: 0\r\n', 'HTTP/1.1 204 No Content')), 'head');
  assert.equal(verdict(ok('X:\r\nY: \t \r\n')), 'head');
});
