/**
 * The contract between HTTP and the request path: downstream (whoever called us) and upstream (whomever we call), in
 * the style of undici's dispatch handlers. http1/ and http2/ implement it, and no HTTP version shows through it.
 *
 * Callbacks instead of Node streams, because the proxy has to know exactly what was sent and what has begun, and
 * because one write per message is what makes a proxy cheap.
 */
import type { Duplex } from 'node:stream';
import type { Code } from '../core/errors.ts';
import type { FieldLines } from '../core/http/http1-encode.ts';
import type { HttpVersion, RawFields, Repeated, RequestHead } from '../core/http/message.ts';
import type { Stage } from '../core/retry.ts';
import type { TlsClient } from './sockets/tls-client.ts';

/** What a downstream tells its current handler. Nothing is called after `onGone`. */
export interface DownstreamHandler {
  /** A piece of the request body. Return false to be called again only after `resumeBody`. */
  onBody(chunk: Buffer): boolean;
  onBodyEnd(trailers: RawFields): void;
  /** Whether a piece that `onBody` was given is still held; its memory is used again when not. */
  readonly holdsBody: boolean;
  /** Room again after `write` returned false. */
  onDrain(): void;
  /** The client left, or its request body broke, before the response was complete. */
  onGone(): void;
}

/** One request of a client, and the way to respond to it. */
export interface Downstream {
  readonly head: RequestHead;
  /** The version in which the request came. */
  readonly version: HttpVersion;
  readonly remoteAddress: string;
  readonly hasBody: boolean;
  /** True from `start` on: a second response is impossible. */
  readonly isStarted: boolean;
  /** Takes over the events; body bytes read so far are delivered at once (unless paused). */
  attach(handler: DownstreamHandler): void;
  resumeBody(): void;
  /** The member with this key sent this, until that time (Unix ms): its connection is no stranger's any more, and ends then. */
  proved(untilMs: number, memberKey: string): void;
  /** A 1xx response (not 101); ignored for HTTP/1.0 clients, which do not know them (RFC 9110 §15.2). */
  informational(status: number, reason: string, fields: RawFields): void;
  /**
   * Starts the final response. `bodyBytes` is the length if known, null if not; `fields` hold no framing header
   * but the Content-Length that belongs to them (as in the response to a HEAD). `first`: the first of them, where they
   * are sent again and again.
   */
  start(
    status: number,
    reason: string,
    fields: RawFields,
    bodyBytes: number | null,
    first?: FieldLines | null,
  ): void;
  /** Returns false when the client reads slower than we write: wait for `onDrain`. */
  write(chunk: Buffer): boolean;
  /** Everything written has left: no chunk is held any more. */
  readonly isFlushed: boolean;
  end(trailers: RawFields): void;
  /** Breaks the connection, so that the client cannot take a cut-off response for a whole one. */
  destroy(): void;
  /** Responds 101 with the protocol that was agreed on, and gives away the bytes of the connection. */
  upgrade(reason: string, fields: RawFields, protocol: string): ByteStream;
}

/** Raw bytes both ways, after an upgrade. `early` is what the other side sent ahead of the switch. */
export interface ByteStream {
  readonly early: Buffer;
  readonly socket: Duplex;
}

/** Request line and headers as they go out; the transport adds those of the framing. */
export interface OutgoingHead {
  readonly method: string;
  readonly target: string;
  readonly host: string;
  /** End-to-end headers, without Host, Content-Length and Transfer-Encoding. */
  readonly fields: RawFields;
  /** The first of these fields, where they are sent again and again; absent = none. */
  readonly first?: FieldLines;
  readonly body:
    | { readonly kind: 'none' }
    | { readonly kind: 'length'; readonly bytes: number }
    | { readonly kind: 'chunked' };
  /** Protocol to switch to (the value of Upgrade), null for an ordinary request. */
  readonly upgrade: string | null;
}

export interface IncomingHead {
  readonly status: number;
  readonly reason: string;
  readonly version: HttpVersion;
  /** All headers as received, hop-by-hop ones included. */
  readonly fields: RawFields;
  /** Length of the body if the framing gives it; 0 = no body; null = unknown until it ends. */
  readonly bodyBytes: number | null;
  /** As in core/http/message. */
  readonly repeated?: Repeated | undefined;
}

export interface UpstreamFault {
  readonly code: Code;
  readonly stage: Stage;
  readonly detail: string;
  /** The other side's host said that nobody listens there. */
  readonly isRefused?: boolean;
  /** A kept connection broke before a byte of a response: most likely it was being closed as it was used. */
  readonly wasStale?: boolean;
  /** The other side said that it has not looked at it: a refused stream, or one above the last of a goodbye. */
  readonly isUnseen?: boolean;
}

/** Interim responses to one request; more is an origin that talks without end. */
export const MAX_INFORMATIONAL = 64;

/** What an upstream request tells its owner. Exactly one of onEnd, onUpgrade, onFault comes last. */
export interface UpstreamHandler {
  /**
   * Connected, head on its way: from here on the stage is `sent`, and body may be written to `request`. On a
   * kept connection this comes before `Upstreams.request` returns.
   */
  onSent(request: UpstreamRequest): void;
  onInformational(status: number, reason: string, fields: RawFields): void;
  onHead(head: IncomingHead): void;
  /** Returns true when it keeps the chunk beyond the call; otherwise its memory is used again. */
  onData(chunk: Buffer): boolean;
  onEnd(trailers: RawFields): void;
  onUpgrade(head: IncomingHead, stream: ByteStream): void;
  /** Room again for the request body after `write` returned false. */
  onUpstreamDrain(): void;
  onFault(fault: UpstreamFault): void;
}

/** One request on its way. No callback comes after `abort`; once the request is over, nothing here does anything. */
export interface UpstreamRequest {
  write(chunk: Buffer): boolean;
  /** Nothing written is held any more; false when that cannot be told. */
  readonly isFlushed: boolean;
  end(trailers: RawFields): void;
  pause(): void;
  resume(): void;
  abort(): void;
}

export interface Origin {
  /** `h2c`: HTTP/2 without TLS and with prior knowledge (RFC 9113 §3.3). */
  readonly scheme: 'http' | 'https' | 'h2c';
  readonly host: string;
  readonly port: number;
  /** A Unix socket in place of host and port, which are then names alone. */
  readonly socketPath?: string;
  /** How TLS is made in place of the pool's own way. */
  readonly tls?: TlsClient;
}

/** `socketPath` null: by host and port. */
export function originOf({ scheme, host, port, socketPath }: OriginPlace, tls: TlsClient | null): Origin {
  return {
    scheme,
    host,
    port,
    ...(socketPath === null ? {} : { socketPath }),
    ...(tls === null || scheme !== 'https' ? {} : { tls }),
  };
}

/** The same for all who call one program. */
export function placeOf({ host, port, socketPath }: Origin): string {
  return socketPath ?? `${host}:${port}`;
}

export interface OriginPlace extends Pick<Origin, 'scheme' | 'host' | 'port'> {
  readonly socketPath: string | null;
}

export interface RequestTimeouts {
  readonly connectMs: number;
  /** Until the final response head. */
  readonly headMs: number;
  /** Between two bytes, in either direction, once the head is there. */
  readonly idleMs: number;
}

/** Sends requests to origins; owns the connections. `isFresh`: not on a kept connection. */
export interface Upstreams {
  request(
    origin: Origin,
    head: OutgoingHead,
    timeouts: RequestTimeouts,
    handler: UpstreamHandler,
    isFresh?: boolean,
  ): UpstreamRequest;
}
