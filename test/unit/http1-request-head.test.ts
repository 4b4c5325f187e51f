import { describe, expect, test } from '@jest/globals';
import { encodeRequestHead } from '../../sidecar/core/http/http1-encode.ts';
import { parseRequestHead } from '../../sidecar/core/http/http1-request-head.ts';
import type { HeadLimits, RequestHead } from '../../sidecar/core/http/message.ts';
import { expectNamed, mustHold } from '../support/runner/expectations.ts';

const LIMITS: HeadLimits = { maxHeadBytes: 65_536, maxFields: 100, maxTargetBytes: 8192 };

function parse(text: string): RequestHead {
  const bytes = Buffer.from(text, 'latin1');
  const result = parseRequestHead(bytes, 0, bytes.length, LIMITS);
  expectNamed(result.kind, JSON.stringify(result)).toBe('head');
  return (result as { head: RequestHead }).head;
}

describe('an HTTP/1.1 request head', () => {
  test('a request as clients send it is read whole', () => {
    const head = parse(
      'POST /service/llm/v1/chat?x=%2F&y=a;b HTTP/1.1\r\nHost: 127.0.0.1:8010\r\nACCEPT: */*\r\nContent-Length: 12\r\n\r\n',
    );
    expect(head).toStrictEqual({
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
    mustHold(result.kind === 'head');
    expect(bytes.toString('latin1', result.end)).toBe('GET /next');
    expect(result.head.method).toBe('GET');
  });

  test('up to two empty lines before the request line are skipped', () => {
    expect(parse('\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n').target).toBe('/');
  });

  test('values lose the white space around them and nothing else', () => {
    const head = parse('GET / HTTP/1.1\r\nHost:a\r\nX: \t a  b\t\xe9 \t\r\nEmpty:\r\nBlank:   \r\n\r\n');
    expect(head.fields).toStrictEqual(['Host', 'a', 'X', 'a  b\t\xe9', 'Empty', '', 'Blank', '']);
  });

  test('an obs-text octet at the edge of a value stays: U+00A0 is no white space of HTTP', () => {
    expect(parse('GET / HTTP/1.1\r\nHost: a\r\nX: \xa0a\xa0\r\n\r\n').fields[3]).toBe('\xa0a\xa0');
  });

  test('same-named fields stay apart and in order', () => {
    const head = parse('GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nY: 2\r\nx: 3\r\n\r\n');
    expect(head.fields).toStrictEqual(['Host', 'a', 'X', '1', 'Y', '2', 'x', '3']);
  });

  test('more fields than the scanner first has room for', () => {
    const fields = Array.from({ length: 99 }, (_, n) => [`X-${n}`, `value ${n}`]).flat();
    const head = parse(encodeRequestHead('GET', '/', ['Host', 'a', ...fields]));
    expect(head.fields).toStrictEqual(['Host', 'a', ...fields]);
  });

  test('the host of an absolute form replaces Host', () => {
    expect(parse('GET http://llm.mesh:80/a HTTP/1.1\r\nHost: other\r\n\r\n').host).toBe('llm.mesh:80');
  });

  test('each of the four forms of a target is taken', () => {
    expect(parse('GET //a/../%2e?x HTTP/1.1\r\nHost: a\r\n\r\n').target).toBe('//a/../%2e?x');
    expect(parse('OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n').target).toBe('*');
    expect(parse('GET HTTP://[::1]:80?q HTTP/1.1\r\nHost: a\r\n\r\n').host).toBe('[::1]:80');
    expect(parse('CONNECT a.mesh:443 HTTP/1.1\r\nHost: a.mesh:443\r\n\r\n').host).toBe('a.mesh:443');
  });

  test('characters that clients send unescaped pass untouched', () => {
    const target = '/q?query=up{job="x"}|[1]^\\`<>';
    expect(parse(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`).target).toBe(target);
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
      expect(parse(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`).host).toBe(host);
    }
  });

  test('Content-Length and chunked give the framing, in any case of letters', () => {
    expect(parse('GET / HTTP/1.1\r\nHost: a\r\n\r\n').framing).toStrictEqual({ kind: 'none' });
    expect(parse('PUT / HTTP/1.1\r\nHost: a\r\ncontent-LENGTH: 0\r\n\r\n').framing).toStrictEqual({
      kind: 'length',
      bytes: 0,
    });
    expect(parse('PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 007\r\n\r\n').framing).toStrictEqual({
      kind: 'length',
      bytes: 7,
    });
    expect(parse('PUT / HTTP/1.1\r\nHost: a\r\nTRANSFER-encoding: \tChunked \r\n\r\n').framing).toStrictEqual(
      {
        kind: 'chunked',
      },
    );
  });

  test('the connection goes on unless somebody says close, and never with HTTP/1.0', () => {
    const keepAlive = (lines: string, version = '1.1'): boolean =>
      parse(`GET / HTTP/${version}\r\nHost: a\r\n${lines}\r\n`).keepAlive;
    expect(keepAlive('')).toBe(true);
    expect(keepAlive('Connection: close\r\n')).toBe(false);
    expect(keepAlive('Connection: CLOSE\r\n')).toBe(false);
    expect(keepAlive('Connection: keep-alive, Close\r\n')).toBe(false);
    expect(keepAlive('Connection: keep-alive\r\nConnection: \t,close ,\r\n')).toBe(false);
    expect(keepAlive('Connection: closed\r\n')).toBe(true);
    expect(keepAlive('', '1.0')).toBe(false);
    expect(keepAlive('Connection: keep-alive\r\n', '1.0')).toBe(false);
  });

  test('an upgrade needs Connection, Upgrade and HTTP/1.1', () => {
    const upgrade = (lines: string, version = '1.1'): string | null =>
      parse(`GET / HTTP/${version}\r\nHost: a\r\n${lines}\r\n`).upgrade;
    expect(upgrade('Connection: Upgrade\r\nUpgrade: websocket\r\n')).toBe('websocket');
    expect(upgrade('Upgrade: websocket\r\nConnection: keep-alive, upgrade\r\n')).toBe('websocket');
    expect(upgrade('Upgrade: websocket\r\n')).toBe(null);
    expect(upgrade('Connection: Upgrade\r\n')).toBe(null);
    expect(upgrade('Connection: Upgrade\r\nUpgrade: websocket\r\n', '1.0')).toBe(null);
    expect(upgrade('Connection: Upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n')).toBe('a, b');
  });

  test('Expect: 100-continue counts in HTTP/1.1 alone', () => {
    expect(parse('PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n\r\n').expectContinue).toBe(true);
    expect(parse('PUT / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\n\r\n').expectContinue).toBe(false);
    expect(parse('PUT / HTTP/1.1\r\nHost: a\r\nExpect: other\r\n\r\n').expectContinue).toBe(false);
  });

  test('HTTP/1.0 needs no Host, a later minor counts as 1.1', () => {
    expect(parse('GET / HTTP/1.0\r\n\r\n').host).toStrictEqual('');
    expect(parse('GET / HTTP/1.0\r\n\r\n').minor).toBe(0);
    expect(parse('GET / HTTP/1.7\r\nHost: a\r\n\r\n').minor).toBe(1);
  });

  test('methods nobody has heard of pass as they are', () => {
    expect(parse('M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n').method).toBe('M-SEARCH');
    expect(parse('get / HTTP/1.1\r\nHost: a\r\n\r\n').method).toBe('get');
    expect(parse(`${'M'.repeat(64)} / HTTP/1.1\r\nHost: a\r\n\r\n`).method.length).toBe(64);
  });

  test('a target of exactly the limit is taken', () => {
    const target = `/${'a'.repeat(LIMITS.maxTargetBytes - 1)}`;
    expect(parse(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`).target).toBe(target);
  });
});
