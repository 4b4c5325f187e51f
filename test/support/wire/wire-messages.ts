/**
 * Whole HTTP/1.1 messages from a wire, as they came: for tests that care about every byte.
 *
 * Reads with the strict parsers of core, so a message that they refuse fails the test.
 */
import { ChunkedDecoder } from '../../../sidecar/core/http/chunked.ts';
import { responseFraming } from '../../../sidecar/core/http/http1-framing.ts';
import { parseRequestHead } from '../../../sidecar/core/http/http1-request-head.ts';
import { parseResponseHead } from '../../../sidecar/core/http/http1-response-head.ts';
import type { Framing, RequestHead, ResponseHead } from '../../../sidecar/core/http/message.ts';
import type { Wire } from './wire.ts';

const LIMITS = { maxHeadBytes: 131_072, maxFields: 500, maxTargetBytes: 65_536 };

export interface Received<H> {
  readonly head: H;
  readonly body: string;
  readonly trailers: readonly string[];
}

export type ReceivedAnswer = Received<ResponseHead> & {
  /** 1xx answers that came before, in order. */
  readonly informational: readonly ResponseHead[];
};

export function requestHead(wire: Wire): Promise<RequestHead> {
  return wire.when('a request head', () => {
    const result = parseRequestHead(wire.bytes, 0, wire.bytes.length, LIMITS);
    if (result.kind === 'bad') throw new Error(`not a request: ${result.detail}`);
    if (result.kind === 'incomplete') return null;
    wire.take(result.end);
    return result.head;
  });
}

export function answerHead(wire: Wire): Promise<ResponseHead> {
  return wire.when('a response head', () => {
    const result = parseResponseHead(wire.bytes, 0, wire.bytes.length, LIMITS);
    if (result.kind === 'bad') throw new Error(`not a response: ${result.detail}`);
    if (result.kind === 'incomplete') return null;
    wire.take(result.end);
    return result.head;
  });
}

export async function request(wire: Wire): Promise<Received<RequestHead>> {
  const head = await requestHead(wire);
  return { head, ...(await content(wire, head.framing)) };
}

/** The final answer to a request with this method. */
export async function answer(wire: Wire, method = 'GET'): Promise<ReceivedAnswer> {
  const informational: ResponseHead[] = [];
  for (;;) {
    const head = await answerHead(wire);
    if (head.status < 200 && head.status !== 101) {
      informational.push(head);
      continue;
    }
    const framing = responseFraming(head, method);
    if (framing.kind === 'bad') throw new Error(`not a response: ${framing.detail}`);
    return {
      head,
      informational,
      ...(await content(wire, head.status === 101 ? { kind: 'none' } : framing)),
    };
  }
}

async function content(wire: Wire, framing: Framing): Promise<{ body: string; trailers: string[] }> {
  switch (framing.kind) {
    case 'none':
      return { body: '', trailers: [] };
    case 'length':
      return { body: (await wire.exactly(framing.bytes)).toString('latin1'), trailers: [] };
    case 'close':
      if ((await wire.ended()) === 'reset') throw new Error('reset in the middle of a body');
      return { body: wire.take(wire.bytes.length).toString('latin1'), trailers: [] };
    case 'chunked':
      return chunked(wire);
  }
}

async function chunked(wire: Wire): Promise<{ body: string; trailers: string[] }> {
  const decoder = new ChunkedDecoder();
  const pieces: Buffer[] = [];
  const trailers = await wire.when('the last chunk', () => {
    const step = decoder.feed(wire.bytes, 0, wire.bytes.length, (slice) => pieces.push(slice));
    if (step.kind === 'bad') throw new Error(`not a chunked body: ${step.detail}`);
    wire.take(step.kind === 'done' ? step.end : wire.bytes.length);
    return step.kind === 'done' ? step.trailers : null;
  });
  return { body: Buffer.concat(pieces).toString('latin1'), trailers };
}
