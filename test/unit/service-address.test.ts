import { describe, expect, test } from '@jest/globals';
import { serviceAddress } from '../../sidecar/core/forwarding/service-address.ts';
import { parseRequestHead } from '../../sidecar/core/http/http1-request-head.ts';
import { isServiceName } from '../../sidecar/core/service-name.ts';
import { expectNamed, mustHold } from '../support/runner/expectations.ts';

const ALIASES: ReadonlyMap<string, string> = new Map([['llm', 'llm-inference']]);
const LIMITS = { maxHeadBytes: 65_536, maxFields: 100, maxTargetBytes: 8192 };

/** The response as one line, for a request that came over the wire. */
function address(target: string, lines = '', host = '127.0.0.1:8010', method = 'GET'): string {
  const bytes = Buffer.from(`${method} ${target} HTTP/1.1\r\nHost: ${host}\r\n${lines}\r\n`, 'latin1');
  const result = parseRequestHead(bytes, 0, bytes.length, LIMITS);
  mustHold(result.kind === 'head', JSON.stringify(result));
  const answer = serviceAddress(result.head, ALIASES);
  return 'error' in answer ? answer.error : `${answer.service} ${answer.target} ${answer.how}`;
}

describe('the address of a request', () => {
  test('by path: the rest is passed on byte for byte', () => {
    expect(address('/service/vision-ocr/v1/x?y=1')).toBe('vision-ocr /v1/x?y=1 path');
    expect(address('/service/a')).toBe('a / path');
    expect(address('/service/a/')).toBe('a / path');
    expect(address('/service/a?q')).toBe('a /?q path');
    expect(address('/service/a?')).toBe('a /? path');
    expect(address('/service/a//b/../%2F%2e;p?x=/service/b')).toBe('a //b/../%2F%2e;p?x=/service/b path');
    expect(address('/service/llm/v1')).toBe('llm-inference /v1 path');
  });

  test('a path without a service name addresses nothing', () => {
    for (const target of [
      '/',
      '/service',
      '/service/',
      '/service//a',
      '/service/?a',
      '/Service/a',
      '/x/service/a/b',
    ]) {
      expectNamed(address(target), target).toBe('unknown_service');
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
      expectNamed(address(`/service/${name}/x`), name).toBe('unknown_service');
    }
  });

  test('a name with capitals is refused with the name that it should be', () => {
    const detail = (head: Partial<Parameters<typeof serviceAddress>[0]>): string => {
      const answer = serviceAddress({ target: '/', host: 'a', fields: [], method: 'GET', ...head }, ALIASES);
      return 'error' in answer ? `${answer.error}: ${answer.detail}` : answer.service;
    };
    const words = 'a service name is lower case: llm-inference, not LLM-Inference';
    expect(detail({ target: '/service/LLM-Inference/v1' })).toBe(`unknown_service: ${words}`);
    expect(detail({ fields: ['sidecar-service', 'LLM-Inference'] })).toBe(`bad_request: ${words}`);
    // U+212A and U+0130 become "k" and "i" with a dot: no name of ours, in whatever case.
    for (const name of ['', '-A', 'A'.repeat(64), 'A B', '\u212aB', '\u0130', 'A%2Fb', '<B>'])
      expectNamed(detail({ target: `/service/${name}/v1` }), name).not.toMatch(/lower case/);
  });

  test('the host names the service, and the path is left alone', () => {
    expect(address('/v1//x?y', '', 'vision-ocr.mesh')).toBe('vision-ocr /v1//x?y host');
    expect(address('/', '', 'LLM.Mesh:8010')).toBe('llm-inference / host');
    expect(address('/', '', 'a.b.mesh.')).toBe('a.b / host');
    expect(address('/service/b/x', '', 'a.mesh')).toBe('a /service/b/x host');
    expect(address('*', '', 'a.mesh', 'OPTIONS')).toBe('a * host');
    expect(address('/', '', '.mesh')).toBe('unknown_service');
    expect(address('/', '', 'mesh')).toBe('unknown_service');
    expect(address('/', '', 'a.mesh.example.com')).toBe('unknown_service');
    expect(address('/', '', '-a.mesh')).toBe('unknown_service');
  });

  test('the header names the service, over path and host', () => {
    expect(address('/service/b/x', 'Sidecar-Service: llm\r\n')).toBe('llm-inference /service/b/x header');
    expect(address('/x', 'sidecar-service: a\r\n', 'b.mesh')).toBe('a /x header');
    expect(address('*', 'sidecar-service: a\r\n', 'x', 'OPTIONS')).toBe('a * header');
    expect(address('/x', 'sidecar-service: A b\r\n')).toBe('bad_request');
    expect(address('/x', 'sidecar-service:\r\n')).toBe('bad_request');
    expect(address('/x', 'sidecar-service: a\r\nsidecar-service: a\r\n')).toBe('bad_request');
  });

  test('the absolute form names the service, over everything else', () => {
    expect(address('http://a.mesh/x?y')).toBe('a /x?y absolute');
    expect(address('HTTP://LLM.MESH:80')).toBe('llm-inference / absolute');
    expect(address('http://a.mesh?q=1')).toBe('a /?q=1 absolute');
    expect(address('http://a.mesh//x/../y', 'sidecar-service: b\r\n', 'c.mesh')).toBe('a //x/../y absolute');
    expect(address('http://a.mesh', '', 'x', 'OPTIONS')).toBe('a * absolute');
    expect(address('http://a.mesh/', '', 'x', 'OPTIONS')).toBe('a / absolute');
  });

  test('an absolute form for this listener is read like a path', () => {
    expect(address('http://127.0.0.1:8010/service/a/x')).toBe('a /x path');
    expect(address('http://localhost/service/a')).toBe('a / path');
    expect(address('http://[::1]:8010/service/a?q')).toBe('a /?q path');
    expect(address('http://127.0.0.1/x', 'sidecar-service: a\r\n')).toBe('a /x header');
  });

  test('an absolute form for somebody else addresses nothing', () => {
    expect(address('http://example.com/service/a/x')).toBe('unknown_service');
    expect(address('http://10.1.2.3/service/a/x', '', 'a.mesh')).toBe('unknown_service');
    expect(address('https://a.mesh/x')).toBe('unknown_service');
    expect(address('http://example.com/x', 'sidecar-service: a\r\n')).toBe('a /x header');
  });

  test('CONNECT and OPTIONS * address no service', () => {
    expect(address('a.mesh:80', '', 'a.mesh:80', 'CONNECT')).toBe('unknown_service');
    expect(address('*', '', '127.0.0.1', 'OPTIONS')).toBe('unknown_service');
  });

  test('a service name is lower case, with dots, dashes and underscores inside', () => {
    for (const name of ['a', '0', 'a-b_c.d', 'a'.repeat(63), 'constructor'])
      expectNamed(isServiceName(name), name).toBe(true);
    for (const name of ['', '-', 'a-', '.a', 'A', 'a b', 'é', 'a/b', 'a'.repeat(64)]) {
      expectNamed(isServiceName(name), name).toBe(false);
    }
  });
});
