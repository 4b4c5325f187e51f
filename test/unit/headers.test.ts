import { describe, expect, test } from '@jest/globals';
import { acceptsTrailers, endToEnd, endToEndTrailers } from '../../sidecar/core/forwarding/end-to-end.ts';
import { APP_HEADERS, isSidecarHeader } from '../../sidecar/core/forwarding/sidecar-headers.ts';
import { all, first, has, upgradeHeaders, withHost, without } from '../../sidecar/core/http/headers.ts';
import { expectNamed } from '../support/runner/expectations.ts';

describe('header fields on their way', () => {
  test('look-ups ignore case and take the first', () => {
    const fields = ['Set-Cookie', 'a', 'X', '', 'set-COOKIE', 'b'];
    expect(first(fields, 'set-cookie')).toBe('a');
    expect(all(fields, 'set-cookie')).toStrictEqual(['a', 'b']);
    expect(first(fields, 'a')).toBe(undefined);
    expect(has(fields, 'x')).toBe(true);
    expect(has(fields, 'b')).toBe(false);
    expect(without(fields, (name) => name === 'set-cookie')).toStrictEqual(['X', '']);
  });

  test('every hop-by-hop field goes, the rest stays in order and spelling', () => {
    const fields = [
      ...[
        'Host',
        'a',
        'Connection',
        'keep-alive',
        'Keep-Alive',
        'timeout=5',
        'PROXY-Connection',
        'x',
        'te',
        'gzip',
      ],
      ...[
        'Transfer-Encoding',
        'chunked',
        'Upgrade',
        'h2c',
        'HTTP2-Settings',
        'AA',
        'Proxy-Authorization',
        'Basic x',
      ],
      ...['Proxy-Authenticate', 'Basic', 'Proxy-Authentication-Info', 'x', 'Trailer', 'X', 'Set-Cookie', '1'],
      ...['X-te', 'kept', 'set-cookie', '2', 'Content-Length', '5'],
    ];
    expect(endToEnd(fields)).toStrictEqual([
      ...[
        'Host',
        'a',
        'Trailer',
        'X',
        'Set-Cookie',
        '1',
        'X-te',
        'kept',
        'set-cookie',
        '2',
        'Content-Length',
        '5',
      ],
    ]);
  });

  test('what Connection names goes too, in any case, from several fields', () => {
    const fields = [
      'X-Hop',
      '1',
      'connection',
      'x-hop, Y-hop ,,',
      'y-HOP',
      '2',
      'Z',
      '3',
      'Connection',
      '\tz',
      'w',
      '4',
    ];
    expect(endToEnd(fields)).toStrictEqual(['w', '4']);
  });

  test('Connection cannot take away length, host, credentials or origin', () => {
    const names = [
      'Host',
      'Content-Length',
      'Content-Type',
      'Authorization',
      'Cookie',
      'Set-Cookie',
      'Via',
      'Forwarded',
    ];
    names.push(
      'X-Forwarded-For',
      'X-Forwarded-Proto',
      'X-Forwarded-Host',
      'Expect',
      'Max-Forwards',
      'Cache-Control',
    );
    names.push('Idempotency-Key');
    const fields = names.flatMap((name) => [name, 'v']);
    expect(endToEnd([...fields, 'Connection', names.join(', ')])).toStrictEqual(fields);
  });

  test('the list is new: the caller may add to it', () => {
    const fields = ['A', 'b'];
    expect(endToEnd(fields)).not.toBe(fields);
  });

  test('trailers lose what frames, routes or authorises, and what the head nominated', () => {
    const trailers = [
      'Content-Length',
      '5',
      'Transfer-Encoding',
      'x',
      'Host',
      'b',
      'Authorization',
      'z',
      'Set-Cookie',
      'c',
    ];
    trailers.push(
      'Connection',
      'x',
      'Trailer',
      'q',
      'sidecar-auth',
      'f',
      'X-Hop',
      '1',
      'grpc-status',
      '0',
      'Digest',
      'd',
    );
    expect(endToEndTrailers(trailers, ['Connection', 'x-hop'])).toStrictEqual([
      'grpc-status',
      '0',
      'Digest',
      'd',
    ]);
  });

  test('TE asks for trailers only as a coding of its own', () => {
    expect(acceptsTrailers(['TE', 'trailers'])).toBe(true);
    expect(acceptsTrailers(['te', 'gzip;q=0.5, Trailers'])).toBe(true);
    expect(acceptsTrailers(['te', 'trailers ;q=1'])).toBe(true);
    expect(acceptsTrailers(['TE', 'xtrailers, trailersx'])).toBe(false);
    expect(acceptsTrailers(['X', 'trailers'])).toBe(false);
  });

  test('an upgrade is told to the next hop anew', () => {
    const fields = ['Connection', 'Upgrade, X', 'Upgrade', 'websocket', 'X', '1', 'Sec-WebSocket-Key', 'k'];
    expect([...endToEnd(fields), ...upgradeHeaders('websocket')]).toStrictEqual([
      'Sec-WebSocket-Key',
      'k',
      'Connection',
      'Upgrade',
      'Upgrade',
      'websocket',
    ]);
  });

  test("the sidecars' own fields are known as such, and no others", () => {
    for (const name of ['sidecar-auth', 'sidecar-anything', 'endpoint-load-metrics', ...APP_HEADERS]) {
      expectNamed(isSidecarHeader(name), name).toBe(true);
    }
    for (const name of ['sidecar', 'x-sidecar-auth', 'endpoint-load-metrics-format', 'server', 'etag']) {
      expectNamed(isSidecarHeader(name), name).toBe(false);
    }
    const fields = [
      'SIDECAR-Auth',
      '1',
      'Server',
      'x',
      'Endpoint-Load-Metrics',
      '2',
      'ETag',
      'y',
      'Expires',
      'z',
    ];
    expect(endToEnd(fields)).toStrictEqual(['Server', 'x', 'ETag', 'y', 'Expires', 'z']);
    expect(endToEnd(fields, (name, value) => name === 'ETag' && value === 'y')).toStrictEqual([
      ...['Server', 'x', 'Expires', 'z'],
    ]);
  });

  test('Host is there exactly once, and first', () => {
    expect(withHost(['A', 'b', 'hOST', 'old', 'X-Host', 'c'], 'new:1')).toStrictEqual([
      'Host',
      'new:1',
      'A',
      'b',
      'X-Host',
      'c',
    ]);
    expect(withHost([], '')).toStrictEqual(['Host', '']);
  });
});
