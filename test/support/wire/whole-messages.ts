/**
 * Reads whole messages with our own parsers, head and body, as the proxy does.
 */
import { ChunkedDecoder } from '../../../sidecar/core/http/chunked.ts';
import { responseFraming } from '../../../sidecar/core/http/http1-framing.ts';
import { parseRequestHead } from '../../../sidecar/core/http/http1-request-head.ts';
import { parseResponseHead } from '../../../sidecar/core/http/http1-response-head.ts';
import type { Framing, HeadLimits, RequestHead, ResponseHead } from '../../../sidecar/core/http/message.ts';

export const TEST_LIMITS: HeadLimits = { maxHeadBytes: 16_384, maxFields: 100, maxTargetBytes: 8192 };

interface WholeBody {
  readonly body: string;
  readonly trailers: string[];
  readonly end: number;
}

/** Null when the body is broken or does not end within the bytes. */
function readBody(bytes: Buffer, from: number, framing: Framing): WholeBody | null {
  if (framing.kind === 'none') return { body: '', trailers: [], end: from };
  if (framing.kind === 'close')
    return { body: bytes.toString('latin1', from), trailers: [], end: bytes.length };
  if (framing.kind === 'length') {
    const end = from + framing.bytes;
    return end > bytes.length ? null : { body: bytes.toString('latin1', from, end), trailers: [], end };
  }
  let body = '';
  const step = new ChunkedDecoder().feed(bytes, from, bytes.length, (slice) => {
    body += slice.toString('latin1');
  });
  return step.kind === 'done' ? { body, trailers: step.trailers, end: step.end } : null;
}

export interface WholeRequest {
  readonly head: RequestHead;
  readonly body: string;
  readonly trailers: string[];
  readonly end: number;
}

/** Requests in order, until one is refused, incomplete, or the last that its client may send. */
export function readRequests(bytes: Buffer): WholeRequest[] {
  const requests: WholeRequest[] = [];
  for (let at = 0; at < bytes.length; ) {
    const result = parseRequestHead(bytes, at, bytes.length, TEST_LIMITS);
    if (result.kind !== 'head') break;
    const whole = readBody(bytes, result.end, result.head.framing);
    if (whole === null) break;
    requests.push({ head: result.head, ...whole });
    if (!result.head.keepAlive) break;
    at = whole.end;
  }
  return requests;
}

export interface WholeAnswer {
  readonly head: ResponseHead;
  readonly body: string;
  readonly trailers: string[];
  readonly end: number;
}

/** The response, or null when it is refused or incomplete. */
export function readAnswer(bytes: Buffer, method: string): WholeAnswer | null {
  const result = parseResponseHead(bytes, 0, bytes.length, TEST_LIMITS);
  if (result.kind !== 'head') return null;
  const framing = responseFraming(result.head, method);
  if (framing.kind === 'bad') return null;
  const whole = readBody(bytes, result.end, framing);
  return whole === null ? null : { head: result.head, ...whole };
}
