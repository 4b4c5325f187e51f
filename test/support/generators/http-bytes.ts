/**
 * Generators of HTTP/1.1 bytes: clean ones, and ones with the twists that parsers disagree about.
 *
 * Built from fragments instead of random bytes, because random bytes never get past a request line. It must not
 * know any parser.
 */
import fc from 'fast-check';

const TCHARS = "!#$%&'*+-.^_`|~09AZaz";
const name = fc
  .string({ unit: fc.constantFrom(...TCHARS), minLength: 1, maxLength: 12 })
  .map((text) => `X${text}`);
const valueOctet = fc
  .integer({ min: 0x20, max: 0xff })
  .filter((octet) => octet !== 0x7f)
  .map((octet) => String.fromCharCode(octet));
const value = fc
  .string({ unit: valueOctet, maxLength: 30 })
  .map((text) => text.replace(/^[ \t]+|[ \t]+$/g, ''));

/** Names and values that are valid and that no parser gives a meaning to. */
export const plainFields: fc.Arbitrary<string[]> = fc
  .array(fc.tuple(name, value), { maxLength: 8 })
  .map((pairs) => pairs.flat());

/** Any bytes, with a liking for those that structure a message. */
export const anyBytes: fc.Arbitrary<Buffer> = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        '\r\n',
        '\r',
        '\n',
        ' ',
        ':',
        'HTTP/1.1',
        'GET / ',
        'Host: a',
        'a',
        '0',
        ';',
        '\r\n\r\n',
        '5',
      ),
      fc.integer({ min: 0, max: 255 }).map((octet) => String.fromCharCode(octet)),
    ),
    { maxLength: 60 },
  )
  .map((parts) => Buffer.from(parts.join(''), 'latin1'));

const eol = fc.oneof(
  { weight: 60, arbitrary: fc.constant('\r\n') },
  { weight: 1, arbitrary: fc.constantFrom('\n', '\r') },
);
const separator = fc.oneof(
  { weight: 30, arbitrary: fc.constantFrom(': ', ':', ':\t', ':  ') },
  { weight: 1, arbitrary: fc.constantFrom(' : ', '\t:', ' ', ':\x0b') },
);
const tail = fc.oneof(
  { weight: 12, arbitrary: fc.constant('') },
  { weight: 1, arbitrary: fc.constantFrom(' ', '\t ', '\0', ';') },
);

/** Fields with a meaning, in the spellings that have broken proxies. */
const pointedField = fc.constantFrom(
  ...[
    'Content-Length: 5',
    'Content-Length: 0',
    'content-length: 005',
    'Content-Length: 3',
    'Content-Length: +5',
  ],
  ...[
    'Content-Length: 5, 5',
    'Content-Length: 0x5',
    'Content-Length: ',
    'Content-Length: 5 ',
    'Content_Length: 5',
  ],
  ...['Transfer-Encoding: chunked', 'transfer-encoding: Chunked', 'Transfer-Encoding: xchunked'],
  ...['Transfer-Encoding: chunked', 'Transfer-Encoding:chunked ', 'Transfer-Encoding: gzip, chunked'],
  ...['Transfer-Encoding: chunked, identity', 'Transfer-Encoding: identity', 'Transfer-Encoding : chunked'],
  ...[
    'Transfer-Encoding: \x0bchunked',
    'Transfer-Encoding:\r\n chunked',
    'X: a\r\n b',
    'Host: b',
    'Trailer: X',
  ],
  ...['Connection: close', 'Connection: keep-alive', 'Connection: keep-alive, foo', 'Expect: 100-continue'],
);

const plainLine = fc.tuple(name, separator, value, tail).map((parts) => parts.join(''));
const fieldLine = fc
  .tuple(fc.oneof({ weight: 2, arbitrary: plainLine }, { weight: 3, arbitrary: pointedField }), eol)
  .map((parts) => parts.join(''));

const chunk = fc
  .tuple(
    fc.oneof(
      {
        weight: 20,
        arbitrary: fc.constantFrom(
          '3\r\nabc',
          '5\r\nhello',
          '05\r\nhello',
          '3;a=b\r\nxyz',
          'a;x;y="z"\r\n0123456789',
        ),
      },
      {
        weight: 2,
        arbitrary: fc.constantFrom('3 \r\nabc', '3\nabc', '-3\r\nabc', '0x3\r\nabc', '3;\r\nabc', '4\r\nabc'),
      },
      {
        weight: 1,
        arbitrary: fc.constantFrom('10000000000000003\r\nabc', '3;a\nb\r\nabc', '\r\nabc', '3;"\r\nabc'),
      },
    ),
    eol,
  )
  .map((parts) => parts.join(''));
const lastChunk = fc.constantFrom(
  '0\r\n\r\n',
  '0\r\n\r\n',
  '000\r\n\r\n',
  '0\r\nX: 1\r\n\r\n',
  '0\r\nX : 1\r\n\r\n',
  '0\n\n',
);
/** A chunked body that may be twisted. */
export const chunkedBody: fc.Arbitrary<string> = fc
  .tuple(fc.array(chunk, { maxLength: 3 }), lastChunk)
  .map(([chunks, last]) => chunks.join('') + last);
const body = fc.oneof(fc.constantFrom('', 'hello', 'abc'), chunkedBody);

const requestLine = fc.oneof(
  {
    weight: 20,
    arbitrary: fc
      .tuple(
        fc.constantFrom('GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'HEAD', 'OPTIONS'),
        fc.constantFrom('/', '/a//b?x=%2F;y', '/a?b?c', 'http://a.mesh/x', 'http://a.mesh:80?q', '/{a}|"'),
        fc.constantFrom('HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0'),
      )
      .map((parts) => parts.join(' ')),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      'GET /a b HTTP/1.1',
      'GET  / HTTP/1.1',
      'GET / HTTP/2.0',
      'GET / http/1.1',
      'GET /\r',
      '\r\n',
    ),
  },
);

/** A request that may be twisted, its body, and a clean request that follows it. */
export const twistedRequest: fc.Arbitrary<Buffer> = fc
  .tuple(
    requestLine,
    eol,
    fc.array(fieldLine, { maxLength: 4 }),
    fc.constantFrom('Host: a\r\n', 'hOST:a.mesh:80\r\n', ''),
    eol,
    body,
  )
  .map(([line, end, lines, host, blank, content]) => {
    return Buffer.from(
      `${line}${end}${host}${lines.join('')}${blank}${content}GET /next HTTP/1.1\r\nHost: z\r\n\r\n`,
      'latin1',
    );
  });

const statusLine = fc.oneof(
  {
    weight: 15,
    arbitrary: fc.constantFrom(
      'HTTP/1.1 200 OK',
      'HTTP/1.1 404 Not Found',
      'HTTP/1.0 200 OK',
      'HTTP/1.1 204 Empty',
    ),
  },
  {
    weight: 5,
    arbitrary: fc.constantFrom(
      'HTTP/1.1 304 Not Modified',
      'HTTP/1.1 200 ',
      'HTTP/1.1 200',
      'HTTP/1.1 500 \xe9',
    ),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom('HTTP/2.0 200 OK', 'HTTP/1.1  200 OK', 'HTTP/1.1 20 OK', 'ICY 200 OK', '\r\n'),
  },
);

/** A response that may be twisted, with its body. */
export const twistedAnswer: fc.Arbitrary<Buffer> = fc
  .tuple(statusLine, eol, fc.array(fieldLine, { maxLength: 4 }), eol, body)
  .map(([line, end, lines, blank, content]) =>
    Buffer.from(line + end + lines.join('') + blank + content, 'latin1'),
  );
