/** What both sidecars do to a message, and what they leave alone (RFC 9110 §7, RFC 9112 §3). */
import { describe, expect, test } from '@jest/globals';
import { all, first } from '../../sidecar/core/http/headers.ts';
import { LIMITS } from '../support/meshes/inbound-side.ts';
import { pairFor } from '../support/meshes/sidecar-pair.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { exchange, OK } from '../support/wire/exchange.ts';

function get(target: string, lines = ''): string {
  return `GET ${target} HTTP/1.1\r\nHost: 127.0.0.1:8010\r\n${lines}\r\n`;
}

describe('forwarding a message', () => {
  test('any method arrives as it was sent', async () => {
    const pair = await pairFor();
    for (const method of [
      'GET',
      'POST',
      'PUT',
      'PATCH',
      'DELETE',
      'OPTIONS',
      'PROPFIND',
      'M-SEARCH',
      'get',
    ]) {
      const { sent } = await exchange(
        pair,
        `${method} /service/llm-inference/x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n`,
        OK,
        method,
      );
      expect(sent.head.method).toBe(method);
    }
  });

  test('path and query arrive byte for byte', async () => {
    const pair = await pairFor();
    for (const rest of [
      '/',
      '//',
      '/a//b/',
      '/a/../b/./c',
      '/%2e%2e/%2F%00?',
      '/a;b=c;d?x=1&x=2&;=%20+',
      '/?',
      '/??a?',
      '/{a}|"^`\\<>?{}',
      '/service/llm-inference/again',
    ]) {
      const { sent } = await exchange(pair, get(`/service/llm-inference${rest}`));
      expect(sent.head.target).toBe(rest);
    }
    expect((await exchange(pair, get('/service/llm-inference'))).sent.head.target).toBe('/');
    expect((await exchange(pair, get('/service/llm-inference?q=/'))).sent.head.target).toBe('/?q=/');
  });

  test('the base path of the worker comes first', async () => {
    const pair = await pairFor({ peers: [{ basePath: '/base' }] });
    const { sent } = await exchange(pair, get('/service/llm-inference//x?y'));
    expect(sent.head.target).toBe('/base//x?y');
  });

  test('every form of address reaches the service', async () => {
    const pair = await pairFor();
    const line = (target: string, lines: string): string => `GET ${target} HTTP/1.1\r\n${lines}\r\n`;
    for (const text of [
      line('/p?q', 'Host: llm-inference.mesh\r\n'),
      line('/p?q', 'Host: LLM-Inference.MESH:8010\r\n'),
      line('http://llm-inference.mesh/p?q', 'Host: llm-inference.mesh\r\n'),
      line('http://llm.mesh/p?q', 'Host: other.example\r\n'),
      line('/p?q', 'Host: x\r\nsidecar-service: llm\r\n'),
      line('/service/llm/p?q', 'Host: x\r\n'),
    ]) {
      const { sent } = await exchange(pair, text);
      expect(sent.head.target).toBe('/p?q');
      expect(first(sent.head.fields, 'sidecar-service')).toBe(undefined);
    }
  });

  test('OPTIONS * reaches the worker as OPTIONS *', async () => {
    const pair = await pairFor();
    for (const line of ['OPTIONS * HTTP/1.1', 'OPTIONS http://llm-inference.mesh HTTP/1.1']) {
      const { sent, got } = await exchange(
        pair,
        `${line}\r\nHost: llm-inference.mesh\r\n\r\n`,
        OK,
        'OPTIONS',
      );
      expect(sent.head.target).toBe('*');
      expect(got.head.status).toBe(200);
    }
  });

  test('fields keep their order, spelling, bytes and number', async () => {
    const pair = await pairFor();
    const lines = [
      'X-A',
      '1',
      'x-b',
      '',
      'X-A',
      '2 ,3',
      'Cookie',
      'a=b',
      'cookie',
      'c=d',
      'X-C',
      '\xe9\xff"\t,',
    ];
    const text = lines.map((part, i) => (i % 2 === 0 ? `${part}:  ` : `${part} \r\n`)).join('');
    const { sent, got } = await exchange(
      pair,
      get('/service/llm-inference/', text),
      `HTTP/1.1 299 Odd\xe9 reason\r\n${text}Set-Cookie: a=1; Expires=Wed, 09 Jun 2027 10:18:14 GMT\r\nSET-COOKIE: b=2\r\nContent-Length: 0\r\n\r\n`,
    );
    const mine = (fields: readonly string[]): readonly string[] => {
      const kept = [];
      for (let i = 0; i < fields.length; i += 2) {
        if (/^(x-[abc]|cookie)$/i.test(fields[i] as string))
          kept.push(fields[i] as string, fields[i + 1] as string);
      }
      return kept;
    };
    expect(mine(sent.head.fields)).toStrictEqual(lines);
    expect(mine(got.head.fields)).toStrictEqual(lines);
    expect(got.head.status).toBe(299);
    expect(got.head.reason).toBe('Odd\xe9 reason');
    expect(all(got.head.fields, 'set-cookie')).toStrictEqual([
      'a=1; Expires=Wed, 09 Jun 2027 10:18:14 GMT',
      'b=2',
    ]);
  });

  test('a head that the first sidecar takes is taken by the second, both ways', async () => {
    const pair = await pairFor();
    const target = `/service/llm-inference/${'t'.repeat(LIMITS.maxTargetBytes - 24)}`;
    const start = get(target, 'X-Fill: \r\n');
    const fill = 'f'.repeat(LIMITS.maxHeadBytes - start.length);
    const reply = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Fill: \r\n\r\nok';
    const { sent, got } = await exchange(
      pair,
      get(target, `X-Fill: ${fill}\r\n`),
      reply.replace('X-Fill: ', `X-Fill: ${'g'.repeat(LIMITS.maxHeadBytes - reply.length + 2)}`),
    );
    expect(first(sent.head.fields, 'x-fill')).toBe(fill);
    expect(got.head.status).toBe(200);
    const many = await exchange(
      pair,
      get('/service/llm-inference/', 'X: 1\r\n'.repeat(LIMITS.maxFields - 1)),
    );
    expect(all(many.sent.head.fields, 'x')).toHaveLength(LIMITS.maxFields - 1);
  });

  test('hop-by-hop fields, and those that Connection names, end at the sidecar', async () => {
    const pair = await pairFor();
    const hop =
      'Connection: X-Hop, close\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n' +
      'Proxy-Authorization: Basic x\r\nX-End: 1\r\n';
    const { sent, got } = await exchange(
      pair,
      get('/service/llm-inference/', hop),
      `HTTP/1.1 200 OK\r\n${hop}Content-Length: 0\r\n\r\n`,
    );
    for (const fields of [sent.head.fields, got.head.fields]) {
      for (const name of ['x-hop', 'keep-alive', 'proxy-connection', 'proxy-authorization'])
        expectNamed(first(fields, name), name).toBe(undefined);
      expect(first(fields, 'x-end')).toBe('1');
    }
    expect(first(sent.head.fields, 'connection')).toBe(undefined);
  });

  test('Connection cannot take away what others rely on', async () => {
    const pair = await pairFor();
    const { sent } = await exchange(
      pair,
      `POST /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nConnection: Content-Length, Host, Authorization, Via, X-Forwarded-For\r\nAuthorization: Bearer x\r\nContent-Length: 2\r\n\r\nhi`,
      OK,
      'POST',
    );
    expect(sent.body).toBe('hi');
    expect(first(sent.head.fields, 'authorization')).toBe('Bearer x');
    expect(all(sent.head.fields, 'via')).toHaveLength(2);
  });

  test('neither app nor worker can forge the fields of the sidecars', async () => {
    const pair = await pairFor();
    const forged = 'sidecar-auth: x\r\nsidecar-refusal: saturated;not_sent\r\nsidecar-expected-queue: 0\r\n';
    const { sent, got } = await exchange(
      pair,
      get('/service/llm-inference/', `${forged}Sidecar-Worker: b\r\n`),
      `HTTP/1.1 503 No\r\n${forged}Sidecar-Worker: evil\r\nendpoint-load-metrics: TEXT application_utilization=0.5\r\nContent-Length: 0\r\n\r\n`,
    );
    const names = sent.head.fields.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase());
    expect(names.filter((name) => name.startsWith('sidecar-'))).toStrictEqual([]);
    expect(got.head.status).toBe(503);
    expect(all(got.head.fields, 'sidecar-worker')).toStrictEqual(['b']);
    expect(first(got.head.fields, 'sidecar-auth')).toBe(undefined);
    expect(first(got.head.fields, 'endpoint-load-metrics')).toBe(undefined);
  });

  test('both sidecars sign Via, and Forwarded tells who asked', async () => {
    const pair = await pairFor();
    const { sent, got } = await exchange(
      pair,
      get(
        '/service/llm-inference/',
        'Via: 1.0 before\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n',
      ),
      'HTTP/1.0 200 OK\r\nVia: 1.1 behind\r\nContent-Length: 0\r\n\r\n',
    );
    expect(all(sent.head.fields, 'via')).toStrictEqual(['1.0 before', '1.1 a-outbound', '1.1 b-inbound']);
    expect(all(got.head.fields, 'via')).toStrictEqual(['1.1 behind', '1.0 b-inbound', '1.1 a-outbound']);
    expect(first(sent.head.fields, 'x-forwarded-for')).toBe('127.0.0.1, 127.0.0.1');
    expect(first(sent.head.fields, 'forwarded')?.includes('6.6.6.6')).toBeFalsy();
    expect(first(sent.head.fields, 'x-forwarded-host')).toBe('127.0.0.1:8010');
    expect(sent.head.host).toBe(`127.0.0.1:${pair.b.origin.port}`);
  });

  test('the response says who gave it; the worker sees a Date added when it sent none', async () => {
    const pair = await pairFor();
    const { got } = await exchange(pair, get('/service/llm-inference/'));
    expect(first(got.head.fields, 'sidecar-worker')).toBe('b');
    expect(first(got.head.fields, 'sidecar-route')).toBe('vpn');
    expect(first(got.head.fields, 'sidecar-attempts')).toBe('1');
    expect(first(got.head.fields, 'sidecar-request-id') ?? '').toMatch(/^[0-9a-f]{12}-/);
    expect(all(got.head.fields, 'date')).toHaveLength(1);
  });
});
