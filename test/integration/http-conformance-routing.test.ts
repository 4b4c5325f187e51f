/** How far a message travels, to whom, and what it carries of the hops before (RFC 9110 §7, §9; RFC 9112 §3). */
import { describe, expect, test } from '@jest/globals';
import { all, first } from '../../sidecar/core/http/headers.ts';
import { pairFor } from '../support/meshes/sidecar-pair.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { exchange, OK, refused, requestTo } from '../support/wire/exchange.ts';
import { answer, request } from '../support/wire/wire-messages.ts';

describe('the routing of HTTP messages', () => {
  test('Max-Forwards goes down by one at each sidecar, for OPTIONS and TRACE alone', async () => {
    const pair = await pairFor();
    for (const method of ['OPTIONS', 'TRACE']) {
      const { sent } = await exchange(pair, requestTo('/', 'Max-Forwards: 10\r\n', method), OK, method);
      expect(sent.head.method).toBe(method);
      expect(all(sent.head.fields, 'max-forwards')).toStrictEqual(['8']);
    }
    const { sent } = await exchange(pair, requestTo('/', 'Max-Forwards: 0\r\n'));
    expect(all(sent.head.fields, 'max-forwards')).toStrictEqual(['0']);
    const bare = await exchange(pair, requestTo('/', '', 'OPTIONS'), OK, 'OPTIONS');
    expect(first(bare.sent.head.fields, 'max-forwards')).toBe(undefined);
  });

  test('OPTIONS with Max-Forwards 0 is answered by the first sidecar, with 1 by the second, with 2 by the worker', async () => {
    const pair = await pairFor();
    const ask = (hops: number): string => requestTo('/', `Max-Forwards: ${hops}\r\n`, 'OPTIONS');
    const own = await refused(pair, ask(0), 'OPTIONS');
    expect([own.head.status, own.body, first(own.head.fields, 'content-length')]).toStrictEqual([
      200,
      '',
      '0',
    ]);
    expect(first(own.head.fields, 'via')).toBe(undefined);
    expect(first(own.head.fields, 'sidecar-worker')).toBe(undefined);
    const its = await refused(pair, ask(1), 'OPTIONS');
    expect([its.head.status, its.body]).toStrictEqual([200, '']);
    expect(first(its.head.fields, 'sidecar-worker')).toBe('b');
    expect(pair.b.origin.connections).toHaveLength(0);
    const { sent, got } = await exchange(pair, ask(2), OK, 'OPTIONS');
    expect(all(sent.head.fields, 'max-forwards')).toStrictEqual(['0']);
    expect(got.body).toBe('ok');
  });

  test('TRACE with Max-Forwards 0 or 1 comes back as that sidecar got it, without what is secret', async () => {
    const pair = await pairFor();
    const lines = 'Authorization: Bearer x\r\nCookie: a=b\r\nX-Mine: 1\r\n';
    const own = await refused(pair, requestTo('/a//b?c', `Max-Forwards: 0\r\n${lines}`, 'TRACE'), 'TRACE');
    expect(own.head.status).toBe(200);
    expect(first(own.head.fields, 'content-type')).toBe('message/http');
    expect(own.body).toBe(
      'TRACE /service/llm-inference/a//b?c HTTP/1.1\r\nHost: app.example:8010\r\nMax-Forwards: 0\r\nX-Mine: 1\r\n\r\n',
    );
    const its = await refused(pair, requestTo('/a//b?c', `Max-Forwards: 1\r\n${lines}`, 'TRACE'), 'TRACE');
    expect(its.body).toMatch(/\r\nMax-Forwards: 0\r\nX-Mine: 1\r\n/);
    expect(its.body).toMatch(/\r\nVia: 1\.1 a-outbound\r\n/);
    expect(its.body).not.toMatch(/bearer|cookie|sidecar-auth/i);
    expect(pair.b.origin.connections).toHaveLength(0);
  });

  test('TRACE with content, and a Max-Forwards that is no number, are answered 400', async () => {
    const pair = await pairFor();
    for (const text of [
      `${requestTo('/', 'Content-Length: 2\r\n', 'TRACE')}hi`,
      requestTo('/', 'Max-Forwards: -1\r\n', 'TRACE'),
      requestTo('/', 'Max-Forwards: 1\r\nMax-Forwards: 1\r\n', 'OPTIONS'),
      requestTo('/', 'Max-Forwards: 1, 2\r\n', 'OPTIONS'),
    ]) {
      const got = await refused(pair, text);
      expect([got.head.status, JSON.parse(got.body).code]).toStrictEqual([400, 'bad_request']);
    }
    expect(pair.b.origin.connections).toHaveLength(0);
    expect(pair.b.standing.health.consecutiveFailures).toBe(0);
  });

  test('TRACE reaches the worker, whose response comes back as it is', async () => {
    const pair = await pairFor();
    const echo = 'TRACE / HTTP/1.1\r\n\r\n';
    const reply = `HTTP/1.1 200 OK\r\nContent-Type: message/http\r\nContent-Length: ${echo.length}\r\n\r\n${echo}`;
    const { sent, got } = await exchange(pair, requestTo('/', '', 'TRACE'), reply, 'TRACE');
    expect(sent.head.framing).toStrictEqual({ kind: 'none' });
    expect(got.body).toBe(echo);
  });

  test('OPTIONS * and the absolute form without a path ask the worker for the whole server', async () => {
    const pair = await pairFor();
    for (const [line, host, target] of [
      ['OPTIONS *', 'llm-inference.mesh', '*'],
      ['OPTIONS http://llm-inference.mesh', 'x', '*'],
      ['OPTIONS http://llm-inference.mesh/', 'x', '/'],
      ['OPTIONS http://llm-inference.mesh?q', 'x', '/?q'],
      ['GET http://llm-inference.mesh', 'x', '/'],
    ] as const) {
      const method = line.split(' ')[0] as string;
      const { sent } = await exchange(pair, `${line} HTTP/1.1\r\nHost: ${host}\r\n\r\n`, OK, method);
      expectNamed(sent.head.target, line).toBe(target);
    }
  });

  test('the absolute form decides where a request goes, whatever Host says', async () => {
    const pair = await pairFor();
    const { sent } = await exchange(
      pair,
      'GET http://llm-inference.mesh/x HTTP/1.1\r\nHost: vision-ocr.mesh\r\n\r\n',
    );
    expect(first(sent.head.fields, 'x-forwarded-host')).toBe('llm-inference.mesh');
    expect(sent.head.host).toBe(`127.0.0.1:${pair.b.origin.port}`);
    expect(all(sent.head.fields, 'host').length).toStrictEqual(1);
    const elsewhere = await refused(
      pair,
      'GET http://example.com/service/llm-inference/ HTTP/1.1\r\nHost: x\r\n\r\n',
    );
    expect([elsewhere.head.status, JSON.parse(elsewhere.body).code]).toStrictEqual([404, 'unknown_service']);
  });

  test('the worker is told its own host, once; the one that the app used stands in the forwarding fields', async () => {
    const pair = await pairFor();
    const { sent } = await exchange(pair, requestTo('/'));
    expect(all(sent.head.fields, 'host')).toStrictEqual([`127.0.0.1:${pair.b.origin.port}`]);
    expect(sent.head.fields[0]?.toLowerCase()).toBe('host');
    expect(first(sent.head.fields, 'x-forwarded-host')).toBe('app.example:8010');
  });

  test('CONNECT is refused, with 400 where its target is none', async () => {
    const pair = await pairFor();
    const status = async (target: string): Promise<number> =>
      (await refused(pair, `CONNECT ${target} HTTP/1.1\r\nHost: a\r\n\r\n`, 'CONNECT')).head.status;
    expect(await status('example.com:443')).toBe(501);
    for (const target of [
      'example.com',
      'example.com:',
      'example.com:99999',
      'example.com:http',
      '/x',
      ':80',
    ])
      expectNamed(await status(target), target).toBe(400);
    expect(pair.b.origin.connections).toHaveLength(0);
  });

  test('every hop names itself in Via, with the version it was asked in, and changes nothing before it', async () => {
    const pair = await pairFor();
    const before = 'Via: 1.0 fred, 1.1 p.example.net (a, b)\r\nVia: HTTP/2.0 lucy\r\n';
    const text = `GET /service/llm-inference/ HTTP/1.0\r\n${before}\r\n`;
    const { sent, got } = await exchange(
      pair,
      text,
      `HTTP/1.0 200 OK\r\n${before}Content-Length: 2\r\n\r\nok`,
    );
    const earlier = ['1.0 fred, 1.1 p.example.net (a, b)', 'HTTP/2.0 lucy'];
    expect(all(sent.head.fields, 'via')).toStrictEqual([...earlier, '1.0 a-outbound', '1.1 b-inbound']);
    expect(all(got.head.fields, 'via')).toStrictEqual([...earlier, '1.0 b-inbound', '1.1 a-outbound']);
  });

  test('interim responses carry Via too', async () => {
    const pair = await pairFor();
    const hint = 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n';
    const { got } = await exchange(pair, requestTo('/'), `${hint}${OK}`);
    const fields = got.informational[0]?.fields ?? [];
    expect(all(fields, 'via')).toStrictEqual(['1.1 b-inbound', '1.1 a-outbound']);
    expect(first(fields, 'link')).toBe('</a>');
    expect(first(fields, 'x-hop')).toBe(undefined);
    expect(first(fields, 'connection')).toBe(undefined);
  });

  test('methods, statuses and fields that nobody has heard of pass', async () => {
    const pair = await pairFor();
    for (const [method, status] of [
      ['FROBNICATE', 299],
      ['get', 599],
      ["!#$%&'*+-.^_`|~", 499],
    ] as const) {
      const reply = `HTTP/1.1 ${status} Odd\r\nX-New-Field: \xff\r\nContent-Length: 0\r\n\r\n`;
      const { sent, got } = await exchange(
        pair,
        requestTo('/', 'X-New-Field: \xfe\r\n', method),
        reply,
        method,
      );
      expect(sent.head.method).toBe(method);
      expect(first(sent.head.fields, 'x-new-field')).toBe('\xfe');
      expect([got.head.status, first(got.head.fields, 'x-new-field')]).toStrictEqual([status, '\xff']);
    }
  });

  test('a 421 of the worker is a response like any other', async () => {
    const pair = await pairFor();
    const { got } = await exchange(
      pair,
      requestTo('/'),
      'HTTP/1.1 421 Misdirected\r\nContent-Length: 0\r\n\r\n',
    );
    expect(got.head.status).toBe(421);
    expect(pair.notOffered).toHaveLength(0);
  });

  test('no-transform or not: content, ranges, validators and encodings pass untouched', async () => {
    const pair = await pairFor();
    const asked =
      'Range: bytes=0-1\r\nIf-Range: "a"\r\nIf-None-Match: W/"b", "c"\r\nAccept-Encoding: br;q=0.5, gzip\r\n';
    const said =
      'Content-Range: bytes 0-1/9\r\nETag: W/"b"\r\nContent-Encoding: br\r\nVary: *\r\nCache-Control: no-transform\r\nAge: 7\r\n' +
      'Content-Type: multipart/byteranges; boundary="a b"\r\nWWW-Authenticate: Negotiate, Basic realm="x"\r\nLocation: ../b?c#d\r\n';
    const { sent, got } = await exchange(
      pair,
      requestTo('/', asked),
      `HTTP/1.1 206 Partial Content\r\n${said}Content-Length: 4\r\n\r\n\0\xff\r\n`,
    );
    const lines = (fields: readonly string[], text: string): void => {
      for (const line of text.split('\r\n').filter((each) => each !== '')) {
        const [name, value] = [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)];
        expect(all([...fields], name.toLowerCase())).toStrictEqual([value]);
      }
    };
    lines(sent.head.fields, asked);
    lines(got.head.fields, said);
    expect(got.body).toBe('\0\xff\r\n');
  });

  test('redirects and authentication are the app’s affair', async () => {
    const pair = await pairFor();
    for (const status of [301, 302, 303, 307, 308, 401, 407, 426]) {
      const { got } = await exchange(
        pair,
        requestTo('/', 'Authorization: Bearer x\r\n'),
        `HTTP/1.1 ${status} X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n`,
      );
      expect(got.head.status).toBe(status);
      expect(first(got.head.fields, 'location')).toBe('http://127.0.0.1:1/');
    }
  });

  test('trailers stay trailers', async () => {
    const pair = await pairFor();
    const { got } = await exchange(
      pair,
      requestTo('/', 'TE: trailers\r\nConnection: TE\r\n'),
      'HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 42\r\n\r\n',
    );
    expect(got.trailers).toStrictEqual(['X-Sum', '42']);
    expect(first(got.head.fields, 'x-sum')).toBe(undefined);
  });

  test('TE is said anew on each hop, only for trailers, and with its connection option', async () => {
    const pair = await pairFor();
    for (const [lines, expected] of [
      ['TE: trailers\r\nConnection: TE\r\n', 'trailers'],
      ['TE: gzip;q=0.5, trailers\r\nConnection: TE\r\n', 'trailers'],
      ['TE: gzip\r\nConnection: TE\r\n', undefined],
      ['', undefined],
    ] as const) {
      const { sent } = await exchange(pair, requestTo('/', lines));
      expect(first(sent.head.fields, 'te')).toBe(expected);
      expect(first(sent.head.fields, 'connection')).toBe(expected === undefined ? undefined : 'TE');
    }
  });

  test('a request that a sidecar has answered itself does not disturb the next on its connection', async () => {
    const pair = await pairFor();
    const client = await pair.client();
    client.send(requestTo('/', 'Max-Forwards: 0\r\n', 'TRACE') + requestTo('/next'));
    expect((await answer(client, 'TRACE')).head.status).toBe(200);
    const worker = await pair.b.origin.connection();
    expect((await request(worker)).head.target).toBe('/next');
    worker.send(OK);
    expect((await answer(client)).body).toBe('ok');
    expect((await pair.finished.next()).outcome).toBe('ok');
  });
});
