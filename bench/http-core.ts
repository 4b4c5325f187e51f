/**
 * What the pure HTTP code costs per message, in µs: medians of many rounds on one core, in one process.
 *
 * Compared with nothing but itself from one commit to the next; what a whole request costs beside nginx is measured
 * by the benches of the proxy. It must not open sockets.
 */
import { endToEnd } from '../sidecar/core/forwarding/end-to-end.ts';
import { forwardedHeaders } from '../sidecar/core/forwarding/forwarded.ts';
import { serviceAddress } from '../sidecar/core/forwarding/service-address.ts';
import { withoutSidecarHeaders } from '../sidecar/core/forwarding/sidecar-headers.ts';
import { viaContains } from '../sidecar/core/forwarding/via.ts';
import { ChunkedDecoder, encodeChunk } from '../sidecar/core/http/chunked.ts';
import { encodeRequestHead } from '../sidecar/core/http/http1-encode.ts';
import { responseFraming } from '../sidecar/core/http/http1-framing.ts';
import { type ParseResult, parseRequestHead } from '../sidecar/core/http/http1-request-head.ts';
import { parseResponseHead } from '../sidecar/core/http/http1-response-head.ts';

const LIMITS = { maxHeadBytes: 65_536, maxFields: 200, maxTargetBytes: 16_384 };
const ROUNDS = 60;
const CALLS = 5000;

const REQUEST_LINES = [
  'POST /service/llm-inference/v1/chat/completions HTTP/1.1',
  'Host: 127.0.0.1:8010',
  'Accept: application/json',
  'Content-Type: application/json',
  'Authorization: Bearer sk-0123456789abcdef0123456789abcdef',
  'User-Agent: OpenAI/Python 1.58.1',
  'X-Stainless-Lang: python',
  'X-Stainless-Retry-Count: 0',
  'Accept-Encoding: gzip, deflate',
  'Connection: keep-alive',
  'Content-Length: 118',
];
const RESPONSE_LINES = [
  'HTTP/1.1 200 OK',
  'date: Tue, 09 Dec 2025 12:00:00 GMT',
  'server: uvicorn',
  'cache-control: no-cache',
  'content-type: text/event-stream; charset=utf-8',
  'x-request-id: 01234567-89ab-cdef-0123-456789abcdef',
  'transfer-encoding: chunked',
];

function headBytes(lines: readonly string[]): Buffer {
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
}

function parsed<T>(result: ParseResult<T>): T {
  if (result.kind !== 'head') throw new Error(`the head of this bench is ${result.kind}`);
  return result.head;
}

/** Median over rounds of the time of one call, in µs. */
function medianUs(call: () => unknown): number {
  const rounds: number[] = [];
  let kept: unknown;
  for (let round = 0; round < ROUNDS; round++) {
    const from = process.hrtime.bigint();
    for (let n = 0; n < CALLS; n++) kept = call();
    rounds.push(Number(process.hrtime.bigint() - from) / 1000 / CALLS);
  }
  if (kept === undefined) throw new Error('a call that gives nothing may have been optimised away');
  return rounds.sort((a, b) => a - b)[ROUNDS >> 1]!;
}

const request = headBytes(REQUEST_LINES);
const response = headBytes(RESPONSE_LINES);
const requestHead = parsed(parseRequestHead(request, 0, request.length, LIMITS));
const responseHead = parsed(parseResponseHead(response, 0, response.length, LIMITS));
const aliases = new Map([['llm', 'llm-inference']]);
const event = Buffer.from(`data: {"choices":[{"delta":{"content":" token"}}]}\n\n`);
const chunk = encodeChunk(event);
const decoder = new ChunkedDecoder();
const large = encodeChunk(Buffer.alloc(65_536));

const rows: readonly (readonly [name: string, call: () => unknown])[] = [
  [`request head, ${request.length} bytes`, () => parseRequestHead(request, 0, request.length, LIMITS)],
  [`response head, ${response.length} bytes`, () => parseResponseHead(response, 0, response.length, LIMITS)],
  ['framing of the response', () => responseFraming(responseHead, 'POST')],
  ['address of the request', () => serviceAddress(requestHead, aliases)],
  ['end-to-end fields', () => endToEnd(requestHead.fields)],
  ['without sidecar fields', () => withoutSidecarHeaders(requestHead.fields)],
  ['loop check by Via', () => viaContains(requestHead.fields, 'worker-1')],
  [
    'forwarded fields',
    () =>
      forwardedHeaders({
        fields: requestHead.fields,
        clientIp: '127.0.0.1',
        proto: 'http',
        host: requestHead.host,
        by: 'worker-1',
        trusted: false,
      }),
  ],
  ['request head as text', () => encodeRequestHead('POST', requestHead.target, requestHead.fields)],
  ['one event encoded as a chunk', () => encodeChunk(event)],
  ['one event decoded', () => decoder.feed(chunk, 0, chunk.length, () => {})],
  ['64 KiB decoded', () => decoder.feed(large, 0, large.length, () => {})],
];

console.log('µs per call (median)');
for (const [name, call] of rows) console.log(`${medianUs(call).toFixed(2).padStart(8)}  ${name}`);
