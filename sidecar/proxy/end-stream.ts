/**
 * Tells a stream that ended from one that was cut.
 *
 * Node ends the readable side of a stream that was reset, whatever the code, just as if END_STREAM had come: by
 * 'end' alone a cut body looks whole. What differs is the order: after END_STREAM the end is pushed while the stream
 * is open, after a reset when it is closed already. It must not know requests or answers.
 */
import type { Http2Stream } from 'node:http2';

/** Calls back once, when the other side has ended its half; never after a reset. */
export function onEndStream(stream: Http2Stream, seen: () => void): void {
  const push = stream.push;
  stream.push = (chunk: unknown, encoding?: BufferEncoding): boolean => {
    if (chunk === null && !stream.closed) seen();
    return push.call(stream, chunk, encoding);
  };
}
