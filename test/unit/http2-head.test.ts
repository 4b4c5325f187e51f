/** HTTP/2 heads in the words of the proxy, the preface, and what is known of gRPC. */
import { describe, expect, test } from '@jest/globals';
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
import { expectNamed, fail } from '../support/runner/expectations.ts';

const LIMITS = { maxHeadBytes: 1_000, maxFields: 5, maxTargetBytes: 50 };
const GET = [':method', 'GET', ':scheme', 'http', ':path', '/a?b', ':authority', 'x:80'];

function read(raw: readonly string[], isEnded = true) {
  const request = readHttp2Request(raw, isEnded, LIMITS);
  expectNamed(request.kind, 'detail' in request ? request.detail : '').toBe('head');
  return request.kind === 'head' ? request.head : fail();
}

function fault(raw: readonly string[]): string {
  const request = readHttp2Request(raw, true, LIMITS);
  return request.kind === 'refused' ? request.code : request.kind;
}

describe('an HTTP/2 head', () => {
  test('pseudo-header fields become a request head', () => {
    const head = read([...GET, 'x-a', '1', 'x-a', '2']);
    expect(head).toStrictEqual({
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
    expect(read([...GET.slice(0, 6), 'host', 'y']).host).toBe('y');
    expect(read([...GET, 'host', 'X:80']).host).toBe('x:80');
    expect(read([...GET, 'expect', '100-Continue']).expectContinue).toBe(true);
  });

  test('the framing is that of the stream', () => {
    expect(read(GET, false).framing).toStrictEqual({ kind: 'chunked' });
    expect(read([...GET, 'content-length', '7'], false).framing).toStrictEqual({ kind: 'length', bytes: 7 });
    expect(read([...GET, 'content-length', '0'], true).framing).toStrictEqual({ kind: 'none' });
  });

  test('the crumbs of a cookie are one field again, where the first one was', () => {
    const { fields } = read([...GET, 'cookie', 'a=1', 'x', 'y', 'cookie', 'b=2', 'cookie', 'c=3']);
    expect(fields).toStrictEqual(['cookie', 'a=1; b=2; c=3', 'x', 'y']);
  });

  test('OPTIONS * and CONNECT are taken, CONNECT without a port is not', () => {
    const options = [':method', 'OPTIONS', ':scheme', 'http', ':path', '*', ':authority', 'x'];
    expect(read(options).target).toBe('*');
    const connect = read([':method', 'CONNECT', ':authority', 'x:443']);
    expect([connect.target, connect.host]).toStrictEqual(['x:443', 'x:443']);
    expect(fault([':method', 'CONNECT', ':authority', 'x'])).toBe('malformed');
  });

  test('a pseudo-header field that nobody knows is malformed, and no field like others', () => {
    for (const name of [':protocol', ':status', ':', ':Method'])
      expectNamed(fault([...GET, name, 'x']), name).toBe('malformed');
  });

  test('a path begins with a slash, and * is one for OPTIONS alone', () => {
    const pathOf = (path: string, method = 'GET') =>
      fault([':method', method, ':scheme', 'http', ':path', path, ':authority', 'x']);
    expect([pathOf('/'), pathOf('*', 'OPTIONS')]).toStrictEqual(['head', 'head']);
    for (const path of ['', 'a', 'a/b', '?q', 'http://x/', '*'])
      expectNamed(pathOf(path), path).toBe('malformed');
  });

  test('what is over a limit is refused by its code', () => {
    expect(fault([...GET.slice(0, 4), ':path', `/${'p'.repeat(50)}`, ':authority', 'x'])).toBe(
      'uri_too_long',
    );
    expect(fault([...GET, 'x', 'v'.repeat(1_000)])).toBe('headers_too_large');
    expect(fault([...GET, ...Array.from({ length: 6 }, () => ['x', 'y']).flat()])).toBe('headers_too_large');
    expect(fault([':method', 'M'.repeat(65), ...GET.slice(2)])).toBe('not_supported');
    expect(listBytes(['abc', 'de'])).toBe(37);
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
        expect(method).toMatch(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/);
        expect(method === 'CONNECT' ? `/${target}` : target).toMatch(/^(?:\/[\x21\x22\x24-\x7e]*|\*)$/);
        expect(host).toMatch(/^[^\s/@?#]+$/);
        for (let i = 0; i < fields.length; i += 2) expect(fields[i]?.[0]).not.toBe(':');
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
    expect(Object.entries(list)).toStrictEqual([
      ['te', 'trailers'],
      ['x-a', ['1', '2']],
      ['set-cookie', ['a', 'b', 'c']],
      ['__proto__', 'p'],
    ]);
    const other = http2List();
    addHttp2Fields(other, ['TE', 'gzip']);
    expect(Object.keys(other)).toStrictEqual([]);
    expect(withoutPseudoFields([':status', '200', 'a', 'b'])).toStrictEqual(['a', 'b']);
  });

  test('the preface is known however it is cut, and nothing else is taken for it', () => {
    const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
    for (let length = 0; length <= preface.length; length++) {
      const wanted = length === preface.length ? 'whole' : 'partial';
      expect(prefaceIn(Buffer.from(preface.slice(0, length)))).toBe(wanted);
    }
    expect(prefaceIn(Buffer.from(`${preface}and more`))).toBe('whole');
    for (let at = 0; at < preface.length; at++) {
      const other = Buffer.from(preface);
      other[at] = 0;
      expect(prefaceIn(other)).toBe('none');
    }
  });

  test('gRPC is known by its content type, and gRPC-Web is not taken for it', () => {
    for (const type of [
      'application/grpc',
      'application/grpc+proto',
      'Application/GRPC;x=y',
      'application/grpc ;a',
    ])
      expectNamed(isGrpc(['Content-Type', type]), type).toBe(true);
    for (const type of ['application/grpc-web', 'application/grpc-web+proto', 'application/json', ''])
      expectNamed(isGrpc(['content-type', type]), type).toBe(false);
    expect(isGrpc([])).toBe(false);
  });

  test('each status becomes one of gRPC, and its message is escaped', () => {
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
    for (const [http, grpc] of Object.entries(known)) expect(grpcStatus(Number(http))).toBe(grpc);
    expect(grpcMessage('a b: 100% "ö"\n')).toBe('a b: 100%25 "%C3%B6"%0A');
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        const message = grpcMessage(text);
        expect(message).toMatch(/^[\x20-\x7e]*$/);
        expect(decodeURIComponent(message)).toBe(text);
      }),
    );
  });
});
