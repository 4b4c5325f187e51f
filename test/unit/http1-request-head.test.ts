import assert from 'node:assert/strict';
import test from 'node:test';
import { encodeRequestHead } from '../../sidecar/core/http/http1-encode.ts';
import { parseRequestHead } from '../../sidecar/core/http/http1-request-head.ts';
import type { HeadLimits, RequestHead } from '../../sidecar/core/http/message.ts';

const LIMITS: HeadLimits = { maxHeadBytes: 65_536, maxFields: 100, maxTargetBytes: 8192 };

function parse(text: string): RequestHead {
  const bytes = Buffer.from(text, 'latin1');
  const result = parseRequestHead(bytes, 0, bytes.length, LIMITS);
  assert.equal(result.kind, 'head', JSON.stringify(result));
  return (result as { head: RequestHead }).head;
}

test('a request as clients send it', () => {
  const head = parse(
    'POST /service/llm/v1/chat?x=%2F&y=a;b HTTP/1.1\r\nHost: 127.0.0.1:8010\r\nACCEPT: */*\r\nContent-Length: 12\r\n\r\n',
  );
  assert.deepEqual(head, {
    method: 'POST',
    target: '/service/llm/v1/chat?x=%2F&y=a;b',
    minor: 1,
    fields: ['Host', '127.0.0.1:8010', 'ACCEPT', '*/*', 'Content-Length', '12'],
    framing: { kind: 'length', bytes: 12 },
    keepAlive: true,
    upgrade: null,
    expectContinue: false,
    host: '127.0.0.1:8010',
  });
});

test('the end is the index after the empty line, also within a larger buffer', () => {
  const bytes = Buffer.from('xxxxGET / HTTP/1.1\r\nHost: a\r\n\r\nGET /next', 'latin1');
  const result = parseRequestHead(bytes, 4, bytes.length, LIMITS);
  assert.ok(result.kind === 'head');
  assert.equal(bytes.toString('latin1', result.end), 'GET /next');
  assert.equal(result.head.method, 'GET');
});

test('up to two empty lines before the request line are skipped', () => {
  assert.equal(parse('\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n').target, '/');
});

test('values lose the white space around them and nothing else', () => {
  const head = parse('GET / HTTP/1.1\r\nHost:a\r\nX: \t a  b\t\xe9 \t\r\nEmpty:\r\nBlank:   \r\n\r\n');
  assert.deepEqual(head.fields, ['Host', 'a', 'X', 'a  b\t\xe9', 'Empty', '', 'Blank', '']);
});

test('an obs-text octet at the edge of a value stays: U+00A0 is no white space of HTTP', () => {
  assert.equal(parse('GET / HTTP/1.1\r\nHost: a\r\nX: \xa0a\xa0\r\n\r\n').fields[3], '\xa0a\xa0');
});

test('same-named fields stay apart and in order', () => {
  const head = parse('GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nY: 2\r\nx: 3\r\n\r\n');
  assert.deepEqual(head.fields, ['Host', 'a', 'X', '1', 'Y', '2', 'x', '3']);
});

test('more fields than the scanner first has room for', () => {
  const fields = Array.from({ length: 99 }, (_, n) => [`X-${n}`, `value ${n}`]).flat();
  const head = parse(encodeRequestHead('GET', '/', ['Host', 'a', ...fields]));
  assert.deepEqual(head.fields, ['Host', 'a', ...fields]);
});

test('the host of an absolute form replaces Host', () => {
  assert.equal(parse('GET http://llm.mesh:80/a HTTP/1.1\r\nHost: other\r\n\r\n').host, 'llm.mesh:80');
});

test('the four forms of a target', () => {
  assert.equal(parse('GET //a/../%2e?x HTTP/1.1\r\nHost: a\r\n\r\n').target, '//a/../%2e?x');
  assert.equal(parse('OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n').target, '*');
  assert.equal(parse('GET HTTP://[::1]:80?q HTTP/1.1\r\nHost: a\r\n\r\n').host, '[::1]:80');
  assert.equal(parse('CONNECT a.mesh:443 HTTP/1.1\r\nHost: a.mesh:443\r\n\r\n').host, 'a.mesh:443');
});

test('characters that clients send unescaped pass untouched', () => {
  const target = '/q?query=up{job="x"}|[1]^\\`<>';
  assert.equal(parse(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`).target, target);
});

test('hosts that are valid', () => {
  for (const host of [
    '',
    'a',
    'a.mesh',
    'a.mesh:',
    'A_b.mesh:65535',
    '10.0.0.1:1',
    '[fe80::1]:8010',
    '[::1]',
    'x%20y',
  ]) {
    assert.equal(parse(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`).host, host);
  }
});

test('Content-Length and chunked, in any case', () => {
  assert.deepEqual(parse('GET / HTTP/1.1\r\nHost: a\r\n\r\n').framing, { kind: 'none' });
  assert.deepEqual(parse('PUT / HTTP/1.1\r\nHost: a\r\ncontent-LENGTH: 0\r\n\r\n').framing, {
    kind: 'length',
    bytes: 0,
  });
  assert.deepEqual(parse('PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 007\r\n\r\n').framing, {
    kind: 'length',
    bytes: 7,
  });
  assert.deepEqual(parse('PUT / HTTP/1.1\r\nHost: a\r\nTRANSFER-encoding: \tChunked \r\n\r\n').framing, {
    kind: 'chunked',
  });
});

test('the connection goes on unless somebody says close, and never with HTTP/1.0', () => {
  const keepAlive = (lines: string, version = '1.1'): boolean =>
    parse(`GET / HTTP/${version}\r\nHost: a\r\n${lines}\r\n`).keepAlive;
  assert.equal(keepAlive(''), true);
  assert.equal(keepAlive('Connection: close\r\n'), false);
  assert.equal(keepAlive('Connection: CLOSE\r\n'), false);
  assert.equal(keepAlive('Connection: keep-alive, Close\r\n'), false);
  assert.equal(keepAlive('Connection: keep-alive\r\nConnection: \t,close ,\r\n'), false);
  assert.equal(keepAlive('Connection: closed\r\n'), true);
  assert.equal(keepAlive('', '1.0'), false);
  assert.equal(keepAlive('Connection: keep-alive\r\n', '1.0'), false);
});

test('an upgrade needs Connection, Upgrade and HTTP/1.1', () => {
  const upgrade = (lines: string, version = '1.1'): string | null =>
    parse(`GET / HTTP/${version}\r\nHost: a\r\n${lines}\r\n`).upgrade;
  assert.equal(upgrade('Connection: Upgrade\r\nUpgrade: websocket\r\n'), 'websocket');
  assert.equal(upgrade('Upgrade: websocket\r\nConnection: keep-alive, upgrade\r\n'), 'websocket');
  assert.equal(upgrade('Upgrade: websocket\r\n'), null);
  assert.equal(upgrade('Connection: Upgrade\r\n'), null);
  assert.equal(upgrade('Connection: Upgrade\r\nUpgrade: websocket\r\n', '1.0'), null);
  assert.equal(upgrade('Connection: Upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n'), 'a, b');
});

test('Expect: 100-continue counts in HTTP/1.1 alone', () => {
  assert.equal(parse('PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n\r\n').expectContinue, true);
  assert.equal(parse('PUT / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\n\r\n').expectContinue, false);
  assert.equal(parse('PUT / HTTP/1.1\r\nHost: a\r\nExpect: other\r\n\r\n').expectContinue, false);
});

test('HTTP/1.0 needs no Host, a later minor counts as 1.1', () => {
  assert.deepEqual(parse('GET / HTTP/1.0\r\n\r\n').host, '');
  assert.equal(parse('GET / HTTP/1.0\r\n\r\n').minor, 0);
  assert.equal(parse('GET / HTTP/1.7\r\nHost: a\r\n\r\n').minor, 1);
});

test('methods nobody has heard of pass as they are', () => {
  assert.equal(parse('M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n').method, 'M-SEARCH');
  assert.equal(parse('get / HTTP/1.1\r\nHost: a\r\n\r\n').method, 'get');
  assert.equal(parse(`${'M'.repeat(64)} / HTTP/1.1\r\nHost: a\r\n\r\n`).method.length, 64);
});

test('a target of exactly the limit is taken', () => {
  const target = `/${'a'.repeat(LIMITS.maxTargetBytes - 1)}`;
  assert.equal(parse(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`).target, target);
});
