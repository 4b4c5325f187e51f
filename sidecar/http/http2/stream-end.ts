/**
 * How a stream ended: with END_STREAM, or cut, and then why, in words and as one of our codes (RFC 9113 §7).
 *
 * An origin that broke the rules is told apart from one that just went away, because only the first is a fault to look
 * for in the worker.
 */
import { constants, type Http2Stream } from 'node:http2';

interface Cut {
  readonly code: 'upstream_protocol' | 'upstream_reset';
  readonly detail: string;
}

const PROTOCOL: ReadonlyMap<number, string> = new Map([
  [constants.NGHTTP2_PROTOCOL_ERROR, 'PROTOCOL_ERROR'],
  [constants.NGHTTP2_FLOW_CONTROL_ERROR, 'FLOW_CONTROL_ERROR'],
  [constants.NGHTTP2_FRAME_SIZE_ERROR, 'FRAME_SIZE_ERROR'],
  [constants.NGHTTP2_COMPRESSION_ERROR, 'COMPRESSION_ERROR'],
  [constants.NGHTTP2_HTTP_1_1_REQUIRED, 'HTTP_1_1_REQUIRED'],
  // The library's word for a head of too many fields.
  [constants.NGHTTP2_ENHANCE_YOUR_CALM, 'ENHANCE_YOUR_CALM'],
]);

const RESET: ReadonlyMap<number, string> = new Map([
  [constants.NGHTTP2_INTERNAL_ERROR, 'INTERNAL_ERROR'],
  [constants.NGHTTP2_REFUSED_STREAM, 'REFUSED_STREAM'],
  [constants.NGHTTP2_CANCEL, 'CANCEL'],
]);

/** `rstCode` also of a stream that fell with its connection; `error` is what the stream says of it, if anything. */
export function cutCode(rstCode: number, error: NodeJS.ErrnoException | null): Cut {
  // The library's own verdict over what came in; a reset that came in has another code.
  if (error?.code === 'ERR_HTTP2_ERROR')
    return { code: 'upstream_protocol', detail: `the connection broke the rules: ${error.message}` };
  const broken = PROTOCOL.get(rstCode);
  if (broken !== undefined) return { code: 'upstream_protocol', detail: `the stream was reset: ${broken}` };
  const name = RESET.get(rstCode) ?? `error code ${rstCode}`;
  return { code: 'upstream_reset', detail: `the stream was cut (${name}) or its connection broke` };
}

/** Calls back once, when the other side has ended its half; never after a reset. */
export function onEndStream(stream: Http2Stream, seen: () => void): void {
  const push = stream.push;
  stream.push = (chunk: unknown, encoding?: BufferEncoding): boolean => {
    if (chunk === null && !stream.closed) seen();
    return push.call(stream, chunk, encoding);
  };
}
