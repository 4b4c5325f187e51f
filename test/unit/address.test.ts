import assert from 'node:assert/strict';
import test from 'node:test';
import { serviceAddress } from '../../sidecar/core/forwarding/service-address.ts';
import { parseRequestHead } from '../../sidecar/core/http/http1-request-head.ts';
import { isServiceName } from '../../sidecar/core/service-name.ts';

const ALIASES: ReadonlyMap<string, string> = new Map([['llm', 'llm-inference']]);
const LIMITS = { maxHeadBytes: 65_536, maxFields: 100, maxTargetBytes: 8192 };

/** The response as one line, for a request that came over the wire. */
function address(target: string, lines = '', host = '127.0.0.1:8010', method = 'GET'): string {
  const bytes = Buffer.from(`${method} ${target} HTTP/1.1\r\nHost: ${host}\r\n${lines}\r\n`, 'latin1');
  const result = parseRequestHead(bytes, 0, bytes.length, LIMITS);
  assert.ok(result.kind === 'head', JSON.stringify(result));
  const answer = serviceAddress(result.head, ALIASES);
  return 'error' in answer ? answer.error : `${answer.service} ${answer.target} ${answer.how}`;
}

test('by path: the rest is passed on byte for byte', () => {
  assert.equal(address('/service/vision-ocr/v1/x?y=1'), 'vision-ocr /v1/x?y=1 path');
  assert.equal(address('/service/a'), 'a / path');
  assert.equal(address('/service/a/'), 'a / path');
  assert.equal(address('/service/a?q'), 'a /?q path');
  assert.equal(address('/service/a?'), 'a /? path');
  assert.equal(address('/service/a//b/../%2F%2e;p?x=/service/b'), 'a //b/../%2F%2e;p?x=/service/b path');
  assert.equal(address('/service/llm/v1'), 'llm-inference /v1 path');
});

test('paths that address nothing', () => {
  for (const target of [
    '/',
    '/service',
    '/service/',
    '/service//a',
    '/service/?a',
    '/Service/a',
    '/x/service/a/b',
  ]) {
    assert.equal(address(target), 'unknown_service', target);
  }
  for (const name of [
    'A',
    '%61',
    'a;x',
    '-a',
    'a-',
    '..',
    '.',
    'a%2Fb',
    'a'.repeat(64),
    'a{b',
    '__proto__',
  ]) {
    assert.equal(address(`/service/${name}/x`), 'unknown_service', name);
  }
});

test('by host', () => {
  assert.equal(address('/v1//x?y', '', 'vision-ocr.mesh'), 'vision-ocr /v1//x?y host');
  assert.equal(address('/', '', 'LLM.Mesh:8010'), 'llm-inference / host');
  assert.equal(address('/', '', 'a.b.mesh.'), 'a.b / host');
  assert.equal(address('/service/b/x', '', 'a.mesh'), 'a /service/b/x host');
  assert.equal(address('*', '', 'a.mesh', 'OPTIONS'), 'a * host');
  assert.equal(address('/', '', '.mesh'), 'unknown_service');
  assert.equal(address('/', '', 'mesh'), 'unknown_service');
  assert.equal(address('/', '', 'a.mesh.example.com'), 'unknown_service');
  assert.equal(address('/', '', '-a.mesh'), 'unknown_service');
});

test('by header', () => {
  assert.equal(address('/service/b/x', 'Sidecar-Service: llm\r\n'), 'llm-inference /service/b/x header');
  assert.equal(address('/x', 'sidecar-service: a\r\n', 'b.mesh'), 'a /x header');
  assert.equal(address('*', 'sidecar-service: a\r\n', 'x', 'OPTIONS'), 'a * header');
  assert.equal(address('/x', 'sidecar-service: A b\r\n'), 'bad_request');
  assert.equal(address('/x', 'sidecar-service:\r\n'), 'bad_request');
  assert.equal(address('/x', 'sidecar-service: a\r\nsidecar-service: a\r\n'), 'bad_request');
});

test('by absolute form, over everything else', () => {
  assert.equal(address('http://a.mesh/x?y'), 'a /x?y absolute');
  assert.equal(address('HTTP://LLM.MESH:80'), 'llm-inference / absolute');
  assert.equal(address('http://a.mesh?q=1'), 'a /?q=1 absolute');
  assert.equal(address('http://a.mesh//x/../y', 'sidecar-service: b\r\n', 'c.mesh'), 'a //x/../y absolute');
  assert.equal(address('http://a.mesh', '', 'x', 'OPTIONS'), 'a * absolute');
  assert.equal(address('http://a.mesh/', '', 'x', 'OPTIONS'), 'a / absolute');
});

test('an absolute form for this listener is read like a path', () => {
  assert.equal(address('http://127.0.0.1:8010/service/a/x'), 'a /x path');
  assert.equal(address('http://localhost/service/a'), 'a / path');
  assert.equal(address('http://[::1]:8010/service/a?q'), 'a /?q path');
  assert.equal(address('http://127.0.0.1/x', 'sidecar-service: a\r\n'), 'a /x header');
});

test('an absolute form for somebody else is not', () => {
  assert.equal(address('http://example.com/service/a/x'), 'unknown_service');
  assert.equal(address('http://10.1.2.3/service/a/x', '', 'a.mesh'), 'unknown_service');
  assert.equal(address('https://a.mesh/x'), 'unknown_service');
  assert.equal(address('http://example.com/x', 'sidecar-service: a\r\n'), 'a /x header');
});

test('CONNECT and OPTIONS * address no service', () => {
  assert.equal(address('a.mesh:80', '', 'a.mesh:80', 'CONNECT'), 'unknown_service');
  assert.equal(address('*', '', '127.0.0.1', 'OPTIONS'), 'unknown_service');
});

test('service names', () => {
  for (const name of ['a', '0', 'a-b_c.d', 'a'.repeat(63), 'constructor'])
    assert.equal(isServiceName(name), true, name);
  for (const name of ['', '-', 'a-', '.a', 'A', 'a b', 'é', 'a/b', 'a'.repeat(64)]) {
    assert.equal(isServiceName(name), false, name);
  }
});
