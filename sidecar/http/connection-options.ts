/**
 * What a connection of an HTTP/1 client is given when it is accepted: limits, time-outs, and whom to tell.
 */
/**
 * What a connection of an HTTP/1 client is given when it is accepted: limits, time-outs, and whom to tell.
 */
import type { Socket } from 'node:net';
import type { Code } from '../core/errors.ts';
import type { HeadLimits } from '../core/http/message.ts';
import type { Downstream } from './exchange.ts';
import type { LocalReply } from './local-reply.ts';
import type { PausedSockets } from './sockets/paused-sockets.ts';
import type { CoarseTimers } from './sockets/timers.ts';

export interface Http1ConnectionOptions {
  readonly limits: HeadLimits;
  /** From the first byte of a head (or the accept) to its end. */
  readonly headTimeoutMs: number;
  readonly keepAliveMs: number;
  readonly timers: CoarseTimers;
  readonly pausedSockets: PausedSockets;
  onRequest(downstream: Downstream): void;
  /** A fault of this program while it handled a request: the request is answered 500, the process lives. */
  onInternalError(error: unknown): void;
  /** The answer to a request that could not be read. */
  refuse(code: Code, detail: string): LocalReply;
  /** The connection began with the preface of HTTP/2 and is the receiver's now; `early`: all it sent so far. */
  onHttp2?(socket: Socket, early: Buffer): void;
}
