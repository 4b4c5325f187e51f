/** HTTP/2 heads in the words of the proxy, the preface, and what is known of gRPC. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { grpcMessage, grpcStatus, isGrpc } from '../../sidecar/core/http/grpc.ts';
import {
  addHttp2Fields,
  http2List,
  listBytes,
  prefaceIn,
  readHttp2Request,
  withoutPseudoFields,
} from '../../sidecar/core/http/http2-head.ts';

const LIMITS = { maxHeadBytes: 1_000, maxFields: 5, maxTargetBytes: 50 };
const GET = [':method', 'GET', ':scheme', 'http', ':path', '/a?b', ':authority', 'x:80'];

function read(raw: readonly string[], isEnded = true) {
  const request = readHttp2Request(raw, isEnded, LIMITS);
  assert.equal(request.kind, 'head', 'detail' in request ? request.detail : '');
  return request.kind === 'head' ? request.head : assert.fail();
}

function fault(raw: readonly string[]): string {
  const request = readHttp2Request(raw, true, LIMITS);
  return request.kind === 'refused' ? request.code : request.kind;
}

test('pseudo-header fields become a request head', () => {
  const head = read([...GET, 'x-a', '1', 'x-a', '2']);
  assert.deepEqual(head, {
    method: 'GET',
    target: '/a?b',
    minor: 1,
    fields: ['x-a', '1', 'x-a', '2'],
    framing: { kind: 'none' },
    keepAlive: true,
    upgrade: null,
    expectContinue: false,
    host: 'x:80',
  });
  assert.equal(read([...GET.slice(0, 6), 'host', 'y']).host, 'y');
  assert.equal(read([...GET, 'host', 'X:80']).host, 'x:80');
  assert.equal(read([...GET, 'expect', '100-Continue']).expectContinue, true);
});

test('the framing is that of the stream', () => {
  assert.deepEqual(read(GET, false).framing, { kind: 'chunked' });
  assert.deepEqual(read([...GET, 'content-length', '7'], false).framing, { kind: 'length', bytes: 7 });
  assert.deepEqual(read([...GET, 'content-length', '0'], true).framing, { kind: 'none' });
});

test('the crumbs of a cookie are one field again, where the first one was', () => {
  const { fields } = read([...GET, 'cookie', 'a=1', 'x', 'y', 'cookie', 'b=2', 'cookie', 'c=3']);
  assert.deepEqual(fields, ['cookie', 'a=1; b=2; c=3', 'x', 'y']);
});

test('OPTIONS * and CONNECT', () => {
  const options = [':method', 'OPTIONS', ':scheme', 'http', ':path', '*', ':authority', 'x'];
  assert.equal(read(options).target, '*');
  const connect = read([':method', 'CONNECT', ':authority', 'x:443']);
  assert.deepEqual([connect.target, connect.host], ['x:443', 'x:443']);
  assert.equal(fault([':method', 'CONNECT', ':authority', 'x']), 'malformed');
});

test('limits', () => {
  assert.equal(fault([...GET.slice(0, 4), ':path', `/${'p'.repeat(50)}`, ':authority', 'x']), 'uri_too_long');
  assert.equal(fault([...GET, 'x', 'v'.repeat(1_000)]), 'headers_too_large');
  assert.equal(fault([...GET, ...Array.from({ length: 6 }, () => ['x', 'y']).flat()]), 'headers_too_large');
  assert.equal(fault([':method', 'M'.repeat(65), ...GET.slice(2)]), 'not_supported');
  assert.equal(listBytes(['abc', 'de']), 37);
});

test('no input throws, and no head holds what HTTP/1.1 could not carry', () => {
  const text = fc.string({
    unit: fc.integer({ min: 0, max: 255 }).map((octet) => String.fromCharCode(octet)),
  });
  const name = fc.oneof(
    fc.constantFrom(':method', ':path', ':scheme', ':authority', 'host', 'cookie', 'content-length', 'te'),
    text,
  );
  const value = fc.oneof(fc.constantFrom('GET', '/', '*', 'http', 'x', '0', 'a=1'), text);
  fc.assert(
    fc.property(fc.array(fc.tuple(name, value), { maxLength: 12 }), fc.boolean(), (pairs, isEnded) => {
      const request = readHttp2Request(pairs.flat(), isEnded, LIMITS);
      if (request.kind !== 'head') return;
      const { method, target, host, fields } = request.head;
      assert.match(method, /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/);
      assert.match(method === 'CONNECT' ? `/${target}` : target, /^(?:\/[\x21\x22\x24-\x7e]*|\*)$/);
      assert.match(host, /^[^\s/@?#]+$/);
      for (let i = 0; i < fields.length; i += 2) assert.notEqual(fields[i]?.[0], ':');
    }),
  );
});

test('fields for HTTP/2: lower case, in order, without those of the connection', () => {
  const list = http2List();
  addHttp2Fields(list, [
    'Host',
    'x',
    'Connection',
    'TE',
    'TE',
    'trailers',
    'Keep-Alive',
    '5',
    'X-A',
    '1',
    'Set-Cookie',
    'a',
    'x-a',
    '2',
    'set-cookie',
    'b',
    'set-cookie',
    'c',
    'Transfer-Encoding',
    'chunked',
    'Upgrade',
    'h2c',
    'HTTP2-Settings',
    'AA',
    'Proxy-Connection',
    'close',
    '__proto__',
    'p',
  ]);
  assert.deepEqual(Object.entries(list), [
    ['te', 'trailers'],
    ['x-a', ['1', '2']],
    ['set-cookie', ['a', 'b', 'c']],
    ['__proto__', 'p'],
  ]);
  const other = http2List();
  addHttp2Fields(other, ['TE', 'gzip']);
  assert.deepEqual(Object.keys(other), []);
  assert.deepEqual(withoutPseudoFields([':status', '200', 'a', 'b']), ['a', 'b']);
});

test('the preface, however it is cut', () => {
  const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
  for (let length = 0; length <= preface.length; length++) {
    const wanted = length === preface.length ? 'whole' : 'partial';
    assert.equal(prefaceIn(Buffer.from(preface.slice(0, length))), wanted);
  }
  assert.equal(prefaceIn(Buffer.from(`${preface}and more`)), 'whole');
  for (let at = 0; at < preface.length; at++) {
    const other = Buffer.from(preface);
    other[at] = 0;
    assert.equal(prefaceIn(other), 'none');
  }
});

test('gRPC by its type, and not gRPC-Web', () => {
  for (const type of [
    'application/grpc',
    'application/grpc+proto',
    'Application/GRPC;x=y',
    'application/grpc ;a',
  ])
    assert.equal(isGrpc(['Content-Type', type]), true, type);
  for (const type of ['application/grpc-web', 'application/grpc-web+proto', 'application/json', ''])
    assert.equal(isGrpc(['content-type', type]), false, type);
  assert.equal(isGrpc([]), false);
});

test('statuses and messages of gRPC', () => {
  const known = {
    400: 13,
    401: 16,
    403: 7,
    404: 12,
    421: 14,
    429: 14,
    500: 13,
    501: 12,
    502: 14,
    503: 14,
    504: 4,
  };
  for (const [http, grpc] of Object.entries(known)) assert.equal(grpcStatus(Number(http)), grpc);
  assert.equal(grpcMessage('a b: 100% "ö"\n'), 'a b: 100%25 "%C3%B6"%0A');
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (text) => {
      const message = grpcMessage(text);
      assert.match(message, /^[\x20-\x7e]*$/);
      assert.equal(decodeURIComponent(message), text);
    }),
  );
});
