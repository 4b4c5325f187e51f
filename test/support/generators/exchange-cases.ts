/**
 * Exchanges of every shape, fixed and generated, for comparing a worker asked directly with one asked through the mesh.
 *
 * Only what may pass: refused messages are tested elsewhere.
 */
import fc from 'fast-check';

export interface Content {
  readonly framing: 'none' | 'length' | 'chunked' | 'close';
  readonly pieces: readonly string[];
  readonly trailers: string;
}

export interface ExchangeCase {
  readonly name: string;
  readonly method: string;
  /** Path and query for the worker. */
  readonly target: string;
  readonly version: '1.0' | '1.1';
  /** Field lines, each with its CRLF; without Host and framing. */
  readonly lines: string;
  readonly content: Content;
  readonly answer: {
    readonly version: '1.0' | '1.1';
    readonly status: number;
    readonly reason: string;
    readonly interim: readonly string[];
    readonly lines: string;
    readonly content: Content;
  };
}

const NONE: Content = { framing: 'none', pieces: [], trailers: '' };

function framed({ framing, pieces, trailers }: Content): { readonly lines: string; readonly body: string } {
  const body = pieces.join('');
  if (framing === 'length') return { lines: `Content-Length: ${body.length}\r\n`, body };
  if (framing !== 'chunked') return { lines: '', body };
  const chunks = pieces
    .filter((piece) => piece !== '')
    .map((piece) => `${piece.length.toString(16)}\r\n${piece}\r\n`);
  return { lines: 'Transfer-Encoding: chunked\r\n', body: `${chunks.join('')}0\r\n${trailers}\r\n` };
}

export function requestText(
  { method, target, version, lines, content }: ExchangeCase,
  prefix: string,
): string {
  const message = framed(content);
  const host = version === '1.1' ? 'Host: app.example:8010\r\n' : '';
  return `${method} ${prefix}${target} HTTP/${version}\r\n${host}${lines}${message.lines}\r\n${message.body}`;
}

/** Whether an answer to this request has no content, whatever its fields say. */
export function isBare({ method, answer }: ExchangeCase): boolean {
  return method === 'HEAD' || answer.status === 204 || answer.status === 304;
}

export function answerText(each: ExchangeCase): string {
  const { version, status, reason, interim, lines, content } = each.answer;
  const message = framed(content);
  const isLength = status === 204 && content.framing !== 'none';
  const own = isLength ? '' : message.lines;
  return `${interim.join('')}HTTP/${version} ${status} ${reason}\r\n${lines}${own}\r\n${isBare(each) ? '' : message.body}`;
}

const METHODS = [
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'PATCH',
  'DELETE',
  'OPTIONS',
  'TRACE',
  'PROPFIND',
  'get',
  'M-SEARCH',
];
const STATUSES = [
  200, 201, 202, 203, 204, 205, 206, 207, 226, 299, 300, 301, 302, 303, 304, 307, 308, 400, 401,
];
const MORE_STATUSES = [
  402, 403, 404, 405, 406, 409, 410, 411, 413, 415, 417, 418, 421, 422, 425, 426, 428, 429, 431,
];
const SERVER_STATUSES = [451, 499, 500, 501, 502, 503, 504, 505, 507, 508, 511, 520, 599, 600, 799, 999];
const TARGETS = [
  '/',
  '//',
  '/a//b/',
  '/a/../b/.',
  '/%2F%2e%2e/%00',
  '/a;b=c,d',
  '/?',
  '/?a=1&a=2',
  '/x??y',
  "/~!$&'()*+,=:@",
];
const ODD_TARGETS = ['/{a}|"^`\\<>', '/service/other/x', `/${'long/'.repeat(400)}`, '/a?b=http://c/d?e'];

const REQUEST_LINES: readonly string[] = [
  'Accept: */*\r\nUser-Agent: test/1\r\n',
  'X-A: 1\r\nx-a: 2\r\nX-B: \r\nX-A: 3, 4\r\n',
  'Cookie: a=b\r\nCookie: c=d; e="f,g"\r\n',
  'Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nx-hop: 2\r\nKeep-Alive: timeout=5\r\n',
  'Connection: Content-Type, Host, Authorization, Via\r\nContent-Type: a/b\r\nAuthorization: Basic x\r\n',
  'TE: trailers, gzip;q=0.5\r\nConnection: TE\r\n',
  'TE: gzip\r\nConnection: te\r\n',
  'Via: 1.0 fred (a, b), 1.1 ethel\r\nForwarded: for=6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil\r\n',
  'X_Forwarded_For: 6.6.6.6\r\nx-forwarded_proto: https\r\nX.Forwarded.Host: evil\r\nsidecar_token: x\r\n',
  'X-Forwarded-Prefix: /evil\r\nOrigin: http://other.example\r\nReferer: http://other.example/a\r\n',
  'Max-Forwards: 12\r\n',
  'Expect: something-else\r\n',
  'sidecar-affinity: k\r\nSidecar-Route: forged\r\nendpoint-load-metrics: TEXT a=1\r\n',
  'Proxy-Authorization: Basic x\r\nProxy-Connection: keep-alive\r\nHTTP2-Settings: AAA\r\nUpgrade: h2c\r\n',
  'X-Latin: \xe9\xff\x80\r\nX-Quoted: "a\\"b, c"; d=" "\r\nX-Tab: a\tb\r\n',
  `X-Long: ${'v'.repeat(20_000)}\r\n`,
  Array.from({ length: 60 }, (_, n) => `X-${n}: ${n}\r\n`).join(''),
  'If-None-Match: W/"a", "b"\r\nRange: bytes=0-1,-5\r\nAccept-Encoding: identity;q=0, *\r\n',
  "!#$%&'*+-.^_`|~: odd name\r\n",
  'Idempotency-Key: 8e03978e\r\nTraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n',
];

const ANSWER_LINES: readonly string[] = [
  'Content-Type: text/plain\r\nServer: w\r\n',
  'Set-Cookie: a=1; Expires=Wed, 09 Jun 2027 10:18:14 GMT\r\nset-cookie: b=2\r\nSet-Cookie: a=3\r\n',
  'Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nAge: 5\r\n',
  'Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-End: 1\r\n',
  'Via: 1.1 behind (c)\r\nVia: 1.0 further\r\n',
  'Proxy-Authenticate: Basic\r\nProxy-Connection: close\r\nUpgrade: websocket\r\nConnection: upgrade\r\n',
  'sidecar-worker: forged\r\nsidecar-refusal: saturated;not_sent\r\nendpoint-load-metrics: TEXT application_utilization=0.1\r\n',
  'Vary: A\r\nVary: B\r\nETag: W/"\xe9"\r\nLink: </a>; rel=x, </b>\r\nWWW-Authenticate: Basic, Digest a="b"\r\n',
  'X-Empty:\r\nX-Empty:\r\nX-Space: a  b\r\n',
  'Location: /login?next=/a#b\r\nContent-Location: x/y\r\nRefresh: 5\r\nSet-Cookie: s=1; Path=/; HttpOnly\r\n',
  'Content-Location: /a\r\nSet-Cookie: __Host-s=1; Secure; Path=/\r\nset-cookie: Path=/; a; path=/b\r\n',
  'Alt-Svc: h3=":443"\r\nStrict-Transport-Security: max-age=1\r\nLocation: //x/../y#z\r\nRetry-After: 0\r\n',
];

const REQUEST_TRAILERS =
  'X-Sum: 1\r\nX-Hop: 1\r\nX-Sum: 2\r\nHost: evil\r\nContent-Length: 1\r\nsidecar-auth: x\r\n';

const REQUEST_CONTENTS: readonly Content[] = [
  NONE,
  { framing: 'length', pieces: [''], trailers: '' },
  { framing: 'length', pieces: ['a\0b\r\n\r\n\xff'], trailers: '' },
  { framing: 'chunked', pieces: [], trailers: '' },
  { framing: 'chunked', pieces: ['one', '\r\n', 'x'.repeat(40_000)], trailers: REQUEST_TRAILERS },
];

const ANSWER_CONTENTS: readonly Content[] = [
  { framing: 'length', pieces: [''], trailers: '' },
  { framing: 'length', pieces: ['0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n'], trailers: '' },
  { framing: 'chunked', pieces: [], trailers: '' },
  {
    framing: 'chunked',
    pieces: ['data: 1\n\n', '\xff\0', 'y'.repeat(70_000)],
    trailers: 'X-Status: 0\r\nX-Hop: 1\r\nSet-Cookie: a\r\nTransfer-Encoding: chunked\r\n',
  },
  { framing: 'close', pieces: ['until the end\r\n0\r\n\r\n'], trailers: '' },
];

const INTERIM: readonly (readonly string[])[] = [
  [],
  ['HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\n', 'HTTP/1.1 102 Wait\r\n\r\n'],
  ['HTTP/1.1 100 Continue\r\nX-Note: 1\r\nConnection: X-Note\r\n\r\n'],
];

function build(
  parts: Omit<ExchangeCase, 'name' | 'answer'> & { readonly answer: Omit<ExchangeCase['answer'], never> },
): ExchangeCase {
  const { method, version, content, answer } = parts;
  // What the standard forbids to send is not sent.
  const isOld = version === '1.0';
  const isTrace = method === 'TRACE';
  const mine = isTrace
    ? NONE
    : isOld && content.framing === 'chunked'
      ? { ...content, framing: 'length' as const }
      : content;
  const isChunkless = answer.version === '1.0' || answer.status === 204;
  const its =
    isChunkless && answer.content.framing === 'chunked'
      ? { ...answer.content, framing: 'close' as const }
      : answer.content;
  const finished = { ...parts, content: mine, answer: { ...answer, content: its } };
  const words = [
    method,
    `HTTP/${version}`,
    mine.framing,
    answer.status,
    `HTTP/${answer.version}`,
    its.framing,
  ];
  return { ...finished, name: words.join(' ') };
}

const of = <T>(list: readonly T[], n: number): T => list[n % list.length] as T;

/** Every value of each list at least once, in changing company. */
export function fixedCases(): readonly ExchangeCase[] {
  const statuses = [...STATUSES, ...MORE_STATUSES, ...SERVER_STATUSES];
  const targets = [...TARGETS, ...ODD_TARGETS];
  const cases: ExchangeCase[] = [];
  const add = (
    n: number,
    changes: Partial<Omit<ExchangeCase, 'answer'>>,
    answer: Partial<ExchangeCase['answer']>,
  ): void => {
    cases.push(
      build({
        method: of(['GET', 'POST', 'PUT'], n),
        target: of(targets, n),
        version: '1.1',
        lines: of(REQUEST_LINES, n),
        content: of(REQUEST_CONTENTS, n),
        ...changes,
        answer: {
          version: '1.1',
          status: 200,
          reason: of(['OK', '', 'Odd \xe9'], n),
          interim: of(INTERIM, n),
          lines: of(ANSWER_LINES, n),
          content: of(ANSWER_CONTENTS, n),
          ...answer,
        },
      }),
    );
  };
  for (const [n, status] of statuses.entries()) add(n, {}, { status });
  for (const [n, method] of METHODS.entries())
    for (const [m, content] of ANSWER_CONTENTS.entries()) add(n + 3 * m, { method }, { content });
  for (const [n, target] of targets.entries()) add(n, { target, method: 'GET' }, {});
  for (const [n, content] of REQUEST_CONTENTS.entries())
    for (const [m, mine] of ANSWER_CONTENTS.entries())
      for (const version of ['1.1', '1.0'] as const)
        for (const its of ['1.1', '1.0'] as const)
          add(n + m, { content, version }, { content: mine, version: its });
  for (const [n, lines] of REQUEST_LINES.entries())
    for (const method of ['GET', 'OPTIONS'])
      add(n, { lines, method, content: of(REQUEST_CONTENTS, n + 4) }, {});
  for (const [n, lines] of ANSWER_LINES.entries())
    for (const status of [200, 204, 304, 404]) add(n, {}, { lines, status });
  return cases;
}

const token = fc.string({ unit: fc.constantFrom(..."!#$%&'*+-.^_`|~09AZaz"), minLength: 1, maxLength: 12 });
const octet = fc.integer({ min: 0x20, max: 0xff }).filter((code) => code !== 0x7f);
const text = fc
  .array(octet, { maxLength: 40 })
  .map((codes) => String.fromCharCode(...codes).replace(/^[ \t]+|[ \t]+$/g, ''));
const plainLines = fc
  .array(fc.tuple(token, text), { maxLength: 10 })
  .map((pairs) => pairs.map(([name, value]) => `X${name}: ${value}\r\n`).join(''));
const bytes = fc
  .array(fc.integer({ min: 0, max: 255 }), { maxLength: 300 })
  .map((codes) => String.fromCharCode(...codes));
const contentOf = (framings: readonly Content['framing'][]): fc.Arbitrary<Content> =>
  fc
    .record({
      framing: fc.constantFrom(...framings),
      pieces: fc.array(bytes, { maxLength: 4 }),
      lines: plainLines,
    })
    .map(({ framing, pieces, lines }) =>
      framing === 'none' ? NONE : { framing, pieces, trailers: framing === 'chunked' ? lines : '' },
    );
const version = fc.constantFrom<'1.0' | '1.1'>('1.1', '1.1', '1.1', '1.0');
const path = fc
  .string({ unit: fc.constantFrom(..."/.%2Fa?&=;,+-_~:@!$'()*|{}"), maxLength: 40 })
  .map((rest) => `/${rest}`);

/** As many as asked for, the same each time. */
export function generatedCases(count: number, seed: number): readonly ExchangeCase[] {
  const lines = (known: readonly string[]): fc.Arbitrary<string> =>
    fc.tuple(plainLines, fc.constantFrom('', ...known), plainLines).map((parts) => parts.join(''));
  const any = fc.record({
    method: fc.oneof(
      fc.constantFrom(...METHODS),
      token.filter((name) => name !== 'CONNECT'),
    ),
    target: path,
    version,
    lines: lines(REQUEST_LINES),
    content: contentOf(['none', 'length', 'chunked']),
    answer: fc.record({
      version,
      status: fc.oneof(fc.constantFrom(...STATUSES), fc.integer({ min: 200, max: 999 })),
      reason: text,
      interim: fc.constantFrom(...INTERIM),
      lines: lines(ANSWER_LINES),
      content: contentOf(['length', 'chunked', 'close']),
    }),
  });
  return fc.sample(any, { numRuns: count, seed }).map(build);
}
