/** How far a message travels, to whom, and what it carries of the hops before (RFC 9110 §7, §9; RFC 9112 §3). */
import assert from 'node:assert/strict';
import test from 'node:test';
import { all, first } from '../../sidecar/core/http/headers.ts';
import { exchange, OK, refused, requestTo } from '../support/exchange.ts';
import { pairFor } from '../support/sidecar-pair.ts';
import { answer, request } from '../support/wire-messages.ts';

test('Max-Forwards goes down by one at each sidecar, for OPTIONS and TRACE alone', async (t) => {
  const pair = await pairFor(t);
  for (const method of ['OPTIONS', 'TRACE']) {
    const { sent } = await exchange(pair, requestTo('/', 'Max-Forwards: 10\r\n', method), OK, method);
    assert.equal(sent.head.method, method);
    assert.deepEqual(all(sent.head.fields, 'max-forwards'), ['8']);
  }
  const { sent } = await exchange(pair, requestTo('/', 'Max-Forwards: 0\r\n'));
  assert.deepEqual(all(sent.head.fields, 'max-forwards'), ['0']);
  const bare = await exchange(pair, requestTo('/', '', 'OPTIONS'), OK, 'OPTIONS');
  assert.equal(first(bare.sent.head.fields, 'max-forwards'), undefined);
});

test('OPTIONS with Max-Forwards 0 is answered by the first sidecar, with 1 by the second, with 2 by the worker', async (t) => {
  const pair = await pairFor(t);
  const ask = (hops: number): string => requestTo('/', `Max-Forwards: ${hops}\r\n`, 'OPTIONS');
  const own = await refused(pair, ask(0), 'OPTIONS');
  assert.deepEqual([own.head.status, own.body, first(own.head.fields, 'content-length')], [200, '', '0']);
  assert.equal(first(own.head.fields, 'via'), undefined);
  assert.equal(first(own.head.fields, 'sidecar-worker'), undefined);
  const its = await refused(pair, ask(1), 'OPTIONS');
  assert.deepEqual([its.head.status, its.body], [200, '']);
  assert.equal(first(its.head.fields, 'sidecar-worker'), 'b');
  assert.equal(pair.b.origin.connections.length, 0);
  const { sent, got } = await exchange(pair, ask(2), OK, 'OPTIONS');
  assert.deepEqual(all(sent.head.fields, 'max-forwards'), ['0']);
  assert.equal(got.body, 'ok');
});

test('TRACE with Max-Forwards 0 or 1 comes back as that sidecar got it, without what is secret', async (t) => {
  const pair = await pairFor(t);
  const lines = 'Authorization: Bearer x\r\nCookie: a=b\r\nX-Mine: 1\r\n';
  const own = await refused(pair, requestTo('/a//b?c', `Max-Forwards: 0\r\n${lines}`, 'TRACE'), 'TRACE');
  assert.equal(own.head.status, 200);
  assert.equal(first(own.head.fields, 'content-type'), 'message/http');
  assert.equal(
    own.body,
    'TRACE /service/llm-inference/a//b?c HTTP/1.1\r\nHost: app.example:8010\r\nMax-Forwards: 0\r\nX-Mine: 1\r\n\r\n',
  );
  const its = await refused(pair, requestTo('/a//b?c', `Max-Forwards: 1\r\n${lines}`, 'TRACE'), 'TRACE');
  assert.match(its.body, /\r\nMax-Forwards: 0\r\nX-Mine: 1\r\n/);
  assert.match(its.body, /\r\nVia: 1\.1 a-outbound\r\n/);
  assert.doesNotMatch(its.body, /bearer|cookie|sidecar-auth/i);
  assert.equal(pair.b.origin.connections.length, 0);
});

test('TRACE with content, and a Max-Forwards that is no number, are answered 400', async (t) => {
  const pair = await pairFor(t);
  for (const text of [
    `${requestTo('/', 'Content-Length: 2\r\n', 'TRACE')}hi`,
    requestTo('/', 'Max-Forwards: -1\r\n', 'TRACE'),
    requestTo('/', 'Max-Forwards: 1\r\nMax-Forwards: 1\r\n', 'OPTIONS'),
    requestTo('/', 'Max-Forwards: 1, 2\r\n', 'OPTIONS'),
  ]) {
    const got = await refused(pair, text);
    assert.deepEqual([got.head.status, JSON.parse(got.body).code], [400, 'bad_request']);
  }
  assert.equal(pair.b.origin.connections.length, 0);
  assert.equal(pair.b.peer.health.consecutiveFailures, 0);
});

test('TRACE reaches the worker, whose response comes back as it is', async (t) => {
  const pair = await pairFor(t);
  const echo = 'TRACE / HTTP/1.1\r\n\r\n';
  const reply = `HTTP/1.1 200 OK\r\nContent-Type: message/http\r\nContent-Length: ${echo.length}\r\n\r\n${echo}`;
  const { sent, got } = await exchange(pair, requestTo('/', '', 'TRACE'), reply, 'TRACE');
  assert.deepEqual(sent.head.framing, { kind: 'none' });
  assert.equal(got.body, echo);
});

test('OPTIONS * and the absolute form without a path ask the worker for the whole server', async (t) => {
  const pair = await pairFor(t);
  for (const [line, host, target] of [
    ['OPTIONS *', 'llm-inference.mesh', '*'],
    ['OPTIONS http://llm-inference.mesh', 'x', '*'],
    ['OPTIONS http://llm-inference.mesh/', 'x', '/'],
    ['OPTIONS http://llm-inference.mesh?q', 'x', '/?q'],
    ['GET http://llm-inference.mesh', 'x', '/'],
  ] as const) {
    const method = line.split(' ')[0] as string;
    const { sent } = await exchange(pair, `${line} HTTP/1.1\r\nHost: ${host}\r\n\r\n`, OK, method);
    assert.equal(sent.head.target, target, line);
  }
});

test('the absolute form decides where a request goes, whatever Host says', async (t) => {
  const pair = await pairFor(t);
  const { sent } = await exchange(
    pair,
    'GET http://llm-inference.mesh/x HTTP/1.1\r\nHost: vision-ocr.mesh\r\n\r\n',
  );
  assert.equal(first(sent.head.fields, 'x-forwarded-host'), 'llm-inference.mesh');
  assert.equal(sent.head.host, `127.0.0.1:${pair.b.origin.port}`);
  assert.deepEqual(all(sent.head.fields, 'host').length, 1);
  const elsewhere = await refused(
    pair,
    'GET http://example.com/service/llm-inference/ HTTP/1.1\r\nHost: x\r\n\r\n',
  );
  assert.deepEqual([elsewhere.head.status, JSON.parse(elsewhere.body).code], [404, 'unknown_service']);
});

test('the worker is told its own host, once; the one that the app used stands in the forwarding fields', async (t) => {
  const pair = await pairFor(t);
  const { sent } = await exchange(pair, requestTo('/'));
  assert.deepEqual(all(sent.head.fields, 'host'), [`127.0.0.1:${pair.b.origin.port}`]);
  assert.equal(sent.head.fields[0]?.toLowerCase(), 'host');
  assert.equal(first(sent.head.fields, 'x-forwarded-host'), 'app.example:8010');
});

test('CONNECT is refused, with 400 where its target is none', async (t) => {
  const pair = await pairFor(t);
  const status = async (target: string): Promise<number> =>
    (await refused(pair, `CONNECT ${target} HTTP/1.1\r\nHost: a\r\n\r\n`, 'CONNECT')).head.status;
  assert.equal(await status('example.com:443'), 501);
  for (const target of ['example.com', 'example.com:', 'example.com:99999', 'example.com:http', '/x', ':80'])
    assert.equal(await status(target), 400, target);
  assert.equal(pair.b.origin.connections.length, 0);
});

test('every hop names itself in Via, with the version it was asked in, and changes nothing before it', async (t) => {
  const pair = await pairFor(t);
  const before = 'Via: 1.0 fred, 1.1 p.example.net (a, b)\r\nVia: HTTP/2.0 lucy\r\n';
  const text = `GET /service/llm-inference/ HTTP/1.0\r\n${before}\r\n`;
  const { sent, got } = await exchange(pair, text, `HTTP/1.0 200 OK\r\n${before}Content-Length: 2\r\n\r\nok`);
  const earlier = ['1.0 fred, 1.1 p.example.net (a, b)', 'HTTP/2.0 lucy'];
  assert.deepEqual(all(sent.head.fields, 'via'), [...earlier, '1.0 a-outbound', '1.1 b-inbound']);
  assert.deepEqual(all(got.head.fields, 'via'), [...earlier, '1.0 b-inbound', '1.1 a-outbound']);
});

test('interim responses carry Via too', async (t) => {
  const pair = await pairFor(t);
  const hint = 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n';
  const { got } = await exchange(pair, requestTo('/'), `${hint}${OK}`);
  const fields = got.informational[0]?.fields ?? [];
  assert.deepEqual(all(fields, 'via'), ['1.1 b-inbound', '1.1 a-outbound']);
  assert.equal(first(fields, 'link'), '</a>');
  assert.equal(first(fields, 'x-hop'), undefined);
  assert.equal(first(fields, 'connection'), undefined);
});

test('methods, statuses and fields that nobody has heard of pass', async (t) => {
  const pair = await pairFor(t);
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
    assert.equal(sent.head.method, method);
    assert.equal(first(sent.head.fields, 'x-new-field'), '\xfe');
    assert.deepEqual([got.head.status, first(got.head.fields, 'x-new-field')], [status, '\xff']);
  }
});

test('a 421 of the worker is a response like any other', async (t) => {
  const pair = await pairFor(t);
  const { got } = await exchange(
    pair,
    requestTo('/'),
    'HTTP/1.1 421 Misdirected\r\nContent-Length: 0\r\n\r\n',
  );
  assert.equal(got.head.status, 421);
  assert.equal(pair.notOffered.length, 0);
});

test('no-transform or not: content, ranges, validators and encodings pass untouched', async (t) => {
  const pair = await pairFor(t);
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
      assert.deepEqual(all([...fields], name.toLowerCase()), [value]);
    }
  };
  lines(sent.head.fields, asked);
  lines(got.head.fields, said);
  assert.equal(got.body, '\0\xff\r\n');
});

test('redirects and authentication are the app’s affair', async (t) => {
  const pair = await pairFor(t);
  for (const status of [301, 302, 303, 307, 308, 401, 407, 426]) {
    const { got } = await exchange(
      pair,
      requestTo('/', 'Authorization: Bearer x\r\n'),
      `HTTP/1.1 ${status} X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n`,
    );
    assert.equal(got.head.status, status);
    assert.equal(first(got.head.fields, 'location'), 'http://127.0.0.1:1/');
  }
});

test('trailers stay trailers', async (t) => {
  const pair = await pairFor(t);
  const { got } = await exchange(
    pair,
    requestTo('/', 'TE: trailers\r\nConnection: TE\r\n'),
    'HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 42\r\n\r\n',
  );
  assert.deepEqual(got.trailers, ['X-Sum', '42']);
  assert.equal(first(got.head.fields, 'x-sum'), undefined);
});

test('TE is said anew on each hop, only for trailers, and with its connection option', async (t) => {
  const pair = await pairFor(t);
  for (const [lines, expected] of [
    ['TE: trailers\r\nConnection: TE\r\n', 'trailers'],
    ['TE: gzip;q=0.5, trailers\r\nConnection: TE\r\n', 'trailers'],
    ['TE: gzip\r\nConnection: TE\r\n', undefined],
    ['', undefined],
  ] as const) {
    const { sent } = await exchange(pair, requestTo('/', lines));
    assert.equal(first(sent.head.fields, 'te'), expected);
    assert.equal(first(sent.head.fields, 'connection'), expected === undefined ? undefined : 'TE');
  }
});

test('a request that a sidecar has answered itself does not disturb the next on its connection', async (t) => {
  const pair = await pairFor(t);
  const client = await pair.client();
  client.send(requestTo('/', 'Max-Forwards: 0\r\n', 'TRACE') + requestTo('/next'));
  assert.equal((await answer(client, 'TRACE')).head.status, 200);
  const worker = await pair.b.origin.connection();
  assert.equal((await request(worker)).head.target, '/next');
  worker.send(OK);
  assert.equal((await answer(client)).body, 'ok');
  assert.equal((await pair.finished.next()).outcome, 'ok');
});
