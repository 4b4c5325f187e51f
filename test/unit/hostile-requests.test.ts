/** Malformed and two-faced request heads, each with the one code it must get. None may throw or be forwarded. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { type HeadFaultCode, type HeadLimits, parseRequestHead } from '../../sidecar/core/http1-head.ts';

const LIMITS: HeadLimits = { maxHeadBytes: 65_536, maxFields: 100, maxTargetBytes: 8192 };
const HOST = 'Host: a.mesh\r\n';

/** A POST with these field lines after a good Host. */
function post(lines: string): string {
  return `POST /service/a/x HTTP/1.1\r\n${HOST}${lines}\r\n`;
}

function line(requestLine: string): string {
  return `${requestLine}\r\n${HOST}\r\n`;
}

const BAD: readonly (readonly [name: string, head: string])[] = [
  // Host
  ['no Host in HTTP/1.1', 'GET / HTTP/1.1\r\n\r\n'],
  ['two Hosts', `GET / HTTP/1.1\r\n${HOST}Host: b.mesh\r\n\r\n`],
  ['two equal Hosts', `GET / HTTP/1.1\r\n${HOST}${HOST}\r\n`],
  ['two Hosts of different case', `GET / HTTP/1.1\r\n${HOST}hOST: b.mesh\r\n\r\n`],
  ['two Hosts in HTTP/1.0', `GET / HTTP/1.0\r\n${HOST}${HOST}\r\n`],
  ['Host with a path', 'GET / HTTP/1.1\r\nHost: a.mesh/x\r\n\r\n'],
  ['Host with user information', 'GET / HTTP/1.1\r\nHost: me@a.mesh\r\n\r\n'],
  ['Host with two names', 'GET / HTTP/1.1\r\nHost: a.mesh b.mesh\r\n\r\n'],
  ['Host with a word as port', 'GET / HTTP/1.1\r\nHost: a.mesh:http\r\n\r\n'],
  ['Host with port 65536', 'GET / HTTP/1.1\r\nHost: a.mesh:65536\r\n\r\n'],
  ['Host with two ports', 'GET / HTTP/1.1\r\nHost: a.mesh:80:80\r\n\r\n'],
  ['Host of a port alone', 'GET / HTTP/1.1\r\nHost: :80\r\n\r\n'],
  ['Host with an open bracket', 'GET / HTTP/1.1\r\nHost: [::1\r\n\r\n'],
  ['Host with text after a bracket', 'GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n'],
  ['Host with half an escape', 'GET / HTTP/1.1\r\nHost: a%2\r\n\r\n'],
  ['Host beyond ASCII', 'GET / HTTP/1.1\r\nHost: b\xfccher.mesh\r\n\r\n'],
  // Request line
  ['nothing before the space', line(' / HTTP/1.1')],
  ['no target', line('GET  HTTP/1.1')],
  ['two spaces before the version', line('GET /  HTTP/1.1')],
  ['two spaces before the target', line('GET  / HTTP/1.1')],
  ['a tab as separator', line('GET\t/ HTTP/1.1')],
  ['a space in the target', line('GET /a b HTTP/1.1')],
  ['a space after the version', line('GET / HTTP/1.1 ')],
  ['HTTP/0.9', 'GET /\r\n'],
  ['HTTP/2.0', line('GET / HTTP/2.0')],
  ['HTTP/0.9 spelled out', line('GET / HTTP/0.9')],
  ['HTTP/11', line('GET / HTTP/11')],
  ['HTTP/1.10', line('GET / HTTP/1.10')],
  ['HTTP/1.', line('GET / HTTP/1.')],
  ['http/1.1 in lower case', line('GET / http/1.1')],
  ['another protocol', line('GET / ICY/1.1')],
  ['HTTP/+1.1', line('GET / HTTP/+1.1')],
  ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ['a TLS hello', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
  ['a method with a bracket', line('G(T / HTTP/1.1')],
  ['a method beyond ASCII', line('G\xc9T / HTTP/1.1')],
  ['NUL in the method', line('GE\0T / HTTP/1.1')],
  ['NUL in the target', line('GET /a\0b HTTP/1.1')],
  ['a tab in the target', line('GET /a\tb HTTP/1.1')],
  ['DEL in the target', line('GET /a\x7fb HTTP/1.1')],
  ['a target beyond ASCII', line('GET /\xe4 HTTP/1.1')],
  ['a fragment', line('GET /a#b HTTP/1.1')],
  ['a relative target', line('GET a HTTP/1.1')],
  ['* with GET', line('GET * HTTP/1.1')],
  ['** with OPTIONS', line('OPTIONS ** HTTP/1.1')],
  ['authority form with GET', line('GET a.mesh:80 HTTP/1.1')],
  ['CONNECT of a path', line('CONNECT /a HTTP/1.1')],
  ['CONNECT without a port', line('CONNECT a.mesh HTTP/1.1')],
  ['CONNECT with an empty port', line('CONNECT a.mesh: HTTP/1.1')],
  ['absolute form without a host', line('GET http:///a HTTP/1.1')],
  ['absolute form of a port alone', line('GET http://:80/a HTTP/1.1')],
  ['absolute form with user information', line('GET http://me:pw@a.mesh/ HTTP/1.1')],
  ['absolute form with a bad scheme', line('GET 1http://a.mesh/ HTTP/1.1')],
  ['absolute form with a backslash in its host', line('GET http://a.mesh\\b/ HTTP/1.1')],
  ['absolute form without Host', 'GET http://a.mesh/ HTTP/1.1\r\n\r\n'],
  ['three empty lines first', `\r\n\r\n\r\n${line('GET / HTTP/1.1')}`],
  ['a bare line feed first', `\n${line('GET / HTTP/1.1')}`],
  ['a bare carriage return first', `\r${line('GET / HTTP/1.1')}`],
  ['a bare line feed after the request line', `GET / HTTP/1.1\n${HOST}\r\n`],
  ['a bare carriage return after the request line', `GET / HTTP/1.1\r${HOST}\r\n`],
  // Field lines
  ['white space before the first field', `GET / HTTP/1.1\r\n ${HOST}\r\n`],
  ['obs-fold', post('X: a\r\n b\r\n')],
  ['obs-fold with a tab', post('X: a\r\n\tb\r\n')],
  ['a folded Transfer-Encoding', post('Transfer-Encoding:\r\n chunked\r\n')],
  ['a space before the colon', post('X : a\r\n')],
  ['a tab before the colon', post('X\t: a\r\n')],
  ['a space before the colon of Content-Length', post('Content-Length : 5\r\n')],
  ['a space inside a name', post('X Y: a\r\n')],
  ['a field without a colon', post('Xyz\r\n')],
  ['a field without a name', post(': a\r\n')],
  ['NUL in a name', post('X\0: a\r\n')],
  ['a name beyond ASCII', post('X\xe4: a\r\n')],
  ['a name in quotes', post('"X": a\r\n')],
  ['a name with a slash', post('X/Y: a\r\n')],
  ['NUL in a value', post('X: a\0b\r\n')],
  ['a vertical tab in a value', post('X: a\x0bb\r\n')],
  ['an escape character in a value', post('X: a\x1bb\r\n')],
  ['DEL in a value', post('X: a\x7fb\r\n')],
  ['a bare line feed in a value', post('X: a\nEvil: 1\r\n')],
  ['a bare carriage return in a value', post('X: a\rEvil: 1\r\n')],
  ['CR CR LF', post('X: a\r\r\n')],
  ['a bare line feed at the end', `GET / HTTP/1.1\r\n${HOST}\n`],
  ['a bare carriage return at the end', `GET / HTTP/1.1\r\n${HOST}\rX`],
  // Framing
  ['Content-Length and Transfer-Encoding', post('Content-Length: 5\r\nTransfer-Encoding: chunked\r\n')],
  ['Transfer-Encoding and Content-Length', post('Transfer-Encoding: chunked\r\nContent-Length: 5\r\n')],
  ['Content-Length 0 and Transfer-Encoding', post('Content-Length: 0\r\nTransfer-Encoding: chunked\r\n')],
  ['two Content-Lengths that differ', post('Content-Length: 5\r\nContent-Length: 6\r\n')],
  ['two equal Content-Lengths', post('Content-Length: 5\r\nContent-Length: 5\r\n')],
  ['Content-Length 5, 5', post('Content-Length: 5, 5\r\n')],
  ['Content-Length 5, 6', post('Content-Length: 5, 6\r\n')],
  ['Content-Length +5', post('Content-Length: +5\r\n')],
  ['Content-Length -5', post('Content-Length: -5\r\n')],
  ['Content-Length -0', post('Content-Length: -0\r\n')],
  ['Content-Length 0x5', post('Content-Length: 0x5\r\n')],
  ['Content-Length 5.0', post('Content-Length: 5.0\r\n')],
  ['Content-Length 5e0', post('Content-Length: 5e0\r\n')],
  ['Content-Length 5 5', post('Content-Length: 5 5\r\n')],
  ['Content-Length 5;', post('Content-Length: 5;\r\n')],
  ['Content-Length 1_000', post('Content-Length: 1_000\r\n')],
  ['an empty Content-Length', post('Content-Length:\r\n')],
  ['a Content-Length of 2^64', post('Content-Length: 18446744073709551616\r\n')],
  ['a Content-Length of 40 digits', post(`Content-Length: ${'9'.repeat(40)}\r\n`)],
  ['a Content-Length with a superscript', post('Content-Length: 5\xb2\r\n')],
  ['a Content-Length after a no-break space', post('Content-Length: \xa05\r\n')],
  ['Transfer-Encoding xchunked', post('Transfer-Encoding: xchunked\r\n')],
  ['Transfer-Encoding gzip', post('Transfer-Encoding: gzip\r\n')],
  ['Transfer-Encoding identity', post('Transfer-Encoding: identity\r\n')],
  ['Transfer-Encoding chunked, identity', post('Transfer-Encoding: chunked, identity\r\n')],
  ['Transfer-Encoding identity, chunked', post('Transfer-Encoding: identity, chunked\r\n')],
  ['Transfer-Encoding chunked, gzip', post('Transfer-Encoding: chunked, gzip\r\n')],
  ['Transfer-Encoding chunked twice', post('Transfer-Encoding: chunked, chunked\r\n')],
  [
    'two Transfer-Encodings, both chunked',
    post('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n'),
  ],
  [
    'two Transfer-Encodings, the last not chunked',
    post('Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n'),
  ],
  ['Transfer-Encoding with an empty element', post('Transfer-Encoding: ,chunked\r\n')],
  ['an empty Transfer-Encoding', post('Transfer-Encoding:\r\n')],
  ['Transfer-Encoding "chunked"', post('Transfer-Encoding: "chunked"\r\n')],
  ['Transfer-Encoding chunked;q=1', post('Transfer-Encoding: chunked;q=1\r\n')],
  ['Transfer-Encoding with a vertical tab', post('Transfer-Encoding: \x0bchunked\r\n')],
  ['Transfer-Encoding with a no-break space', post('Transfer-Encoding: \xa0chunked\r\n')],
  ['Transfer-Encoding chunk\xe9d', post('Transfer-Encoding: chunk\xe9d\r\n')],
  ['Transfer-Encoding with a Kelvin sign folded', post('Transfer-Encoding: chun\xe2\x84\xaaed\r\n')],
  ['Transfer-Encoding in HTTP/1.0', `POST / HTTP/1.0\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n`],
];

const OTHERS: readonly (readonly [name: string, head: string, code: HeadFaultCode])[] = [
  ['gzip, chunked', post('Transfer-Encoding: gzip, chunked\r\n'), 'not_supported'],
  [
    'gzip and chunked in two fields',
    post('Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n'),
    'not_supported',
  ],
  ['a method of 65 letters', line(`${'M'.repeat(65)} / HTTP/1.1`), 'not_supported'],
  ['a method that never ends', 'M'.repeat(100), 'not_supported'],
  ['a target of 8,193 bytes', line(`GET /${'a'.repeat(8192)} HTTP/1.1`), 'uri_too_long'],
  ['a target that never ends', `GET /${'a'.repeat(9000)}`, 'uri_too_long'],
  ['101 fields', `GET / HTTP/1.1\r\n${HOST}${'X: 1\r\n'.repeat(100)}\r\n`, 'headers_too_large'],
  ['a field of 65 KiB', post(`X: ${'a'.repeat(65 * 1024)}\r\n`), 'headers_too_large'],
  ['a value that never ends', `GET / HTTP/1.1\r\n${HOST}X: ${'a'.repeat(65_536)}`, 'headers_too_large'],
  ['a name that never ends', `GET / HTTP/1.1\r\n${HOST}${'a'.repeat(65_536)}`, 'headers_too_large'],
  ['white space that never ends', `GET / HTTP/1.1\r\n${HOST}X:${' '.repeat(65_536)}`, 'headers_too_large'],
  [
    'a head of one byte too much',
    `GET / HTTP/1.1\r\n${HOST}X: ${'a'.repeat(65_536 - 36)}\r\n\r\n`,
    'headers_too_large',
  ],
];

function codeOf(head: string): string {
  const bytes = Buffer.from(head, 'latin1');
  const result = parseRequestHead(bytes, 0, bytes.length, LIMITS);
  return result.kind === 'bad' ? result.code : result.kind;
}

for (const [name, head] of BAD) {
  test(`bad_request: ${name}`, () => assert.equal(codeOf(head), 'bad_request'));
}

for (const [name, head, code] of OTHERS) {
  test(`${code}: ${name}`, () => assert.equal(codeOf(head), code));
}

test('a head of exactly the limit is taken', () => {
  const rest = `GET / HTTP/1.1\r\n${HOST}X: \r\n\r\n`;
  assert.equal(codeOf(rest.replace('X: ', `X: ${'a'.repeat(65_536 - rest.length)}`)), 'head');
});

test('a head that lacks its last byte at the limit is refused, one byte earlier it is incomplete', () => {
  const rest = `GET / HTTP/1.1\r\n${HOST}X: \r\n\r\n`;
  const tooLong = rest.replace('X: ', `X: ${'a'.repeat(65_537 - rest.length)}`);
  assert.equal(codeOf(tooLong.slice(0, 65_536)), 'headers_too_large');
  assert.equal(codeOf(tooLong.slice(0, 65_535)), 'incomplete');
});

test('what a fault says never holds bytes of the sender', () => {
  for (const [, head] of BAD) {
    const bytes = Buffer.from(head, 'latin1');
    const result = parseRequestHead(bytes, 0, bytes.length, LIMITS);
    assert.ok(result.kind === 'bad' && /^[A-Za-z0-9 ()/.,-]+$/.test(result.detail));
  }
});
