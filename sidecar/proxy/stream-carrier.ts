/**
 * What a request needs of the session whose stream it is.
 *
 * Declared apart from both, because each of them knows the other through it. It must not hold logic.
 */
import type { ClientHttp2Stream, ClientSessionRequestOptions } from 'node:http2';
import type { Http2List } from '../core/http2-head.ts';
import type { Http2Upstream } from './http2-upstream.ts';

export interface StreamCarrier {
  open(list: Http2List, options: ClientSessionRequestOptions): ClientHttp2Stream;
  /** Something came from the other side. */
  heard(): void;
  /** The request's stream is gone. */
  closed(request: Http2Upstream): void;
  /** The other side will not look at this stream (GOAWAY with a lower last stream, RFC 9113 §6.8). */
  isBeyondGoodbye(stream: ClientHttp2Stream): boolean;
}
