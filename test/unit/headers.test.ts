import assert from 'node:assert/strict';
import test from 'node:test';
import { acceptsTrailers, endToEnd, endToEndTrailers } from '../../sidecar/core/forwarding/end-to-end.ts';
import {
  APP_HEADERS,
  isSidecarHeader,
  withoutSidecarHeaders,
} from '../../sidecar/core/forwarding/sidecar-headers.ts';
import { all, first, has, upgradeHeaders, withHost, without } from '../../sidecar/core/http/headers.ts';

test('look-ups ignore case and take the first', () => {
  const fields = ['Set-Cookie', 'a', 'X', '', 'set-COOKIE', 'b'];
  assert.equal(first(fields, 'set-cookie'), 'a');
  assert.deepEqual(all(fields, 'set-cookie'), ['a', 'b']);
  assert.equal(first(fields, 'a'), undefined);
  assert.equal(has(fields, 'x'), true);
  assert.equal(has(fields, 'b'), false);
  assert.deepEqual(
    without(fields, (name) => name === 'set-cookie'),
    ['X', ''],
  );
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
  assert.deepEqual(endToEnd(fields), [
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
  assert.deepEqual(endToEnd(fields), ['w', '4']);
});

test('Connection cannot take away length, host, credentials, origin or the sidecars own fields', () => {
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
  names.push('Idempotency-Key', 'sidecar-auth', 'Sidecar-Service', 'endpoint-load-metrics');
  const fields = names.flatMap((name) => [name, 'v']);
  assert.deepEqual(endToEnd([...fields, 'Connection', names.join(', ')]), fields);
});

test('the list is new: the caller may add to it', () => {
  const fields = ['A', 'b'];
  assert.notEqual(endToEnd(fields), fields);
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
  assert.deepEqual(endToEndTrailers(trailers, ['Connection', 'x-hop']), ['grpc-status', '0', 'Digest', 'd']);
});

test('TE: trailers, as a coding of its own', () => {
  assert.equal(acceptsTrailers(['TE', 'trailers']), true);
  assert.equal(acceptsTrailers(['te', 'gzip;q=0.5, Trailers']), true);
  assert.equal(acceptsTrailers(['te', 'trailers ;q=1']), true);
  assert.equal(acceptsTrailers(['TE', 'xtrailers, trailersx']), false);
  assert.equal(acceptsTrailers(['X', 'trailers']), false);
});

test('an upgrade is told to the next hop anew', () => {
  const fields = ['Connection', 'Upgrade, X', 'Upgrade', 'websocket', 'X', '1', 'Sec-WebSocket-Key', 'k'];
  assert.deepEqual(
    [...endToEnd(fields), ...upgradeHeaders('websocket')],
    ['Sec-WebSocket-Key', 'k', 'Connection', 'Upgrade', 'Upgrade', 'websocket'],
  );
});

test('the sidecars own fields, and those only', () => {
  for (const name of ['sidecar-auth', 'sidecar-anything', 'endpoint-load-metrics', ...APP_HEADERS]) {
    assert.equal(isSidecarHeader(name), true, name);
  }
  for (const name of ['sidecar', 'x-sidecar-auth', 'endpoint-load-metrics-format', 'server', 'etag']) {
    assert.equal(isSidecarHeader(name), false, name);
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
  assert.deepEqual(withoutSidecarHeaders(fields), ['Server', 'x', 'ETag', 'y', 'Expires', 'z']);
  assert.deepEqual(withoutSidecarHeaders(fields), without(fields, isSidecarHeader));
});

test('exactly one Host, first', () => {
  assert.deepEqual(withHost(['A', 'b', 'hOST', 'old', 'X-Host', 'c'], 'new:1'), [
    'Host',
    'new:1',
    'A',
    'b',
    'X-Host',
    'c',
  ]);
  assert.deepEqual(withHost([], ''), ['Host', '']);
});
