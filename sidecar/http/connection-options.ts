/**
 * What the connection of a client is given when it is accepted, in whichever version: limits, time-outs, and whom to
 * tell.
 */
import type { Socket } from 'node:net';
import type { Code } from '../core/errors.ts';
import type { HeadLimits } from '../core/http/message.ts';
import type { Downstream } from './exchange.ts';
import type { LocalReply } from './local-reply.ts';
import type { PausedSockets } from './sockets/paused-sockets.ts';
import type { Strangers } from './sockets/strangers.ts';
import type { CoarseTimers } from './sockets/timers.ts';

export interface ConnectionOptions {
  readonly limits: HeadLimits;
  /** From the first byte of a head (or the accept) to its end. */
  readonly headTimeoutMs: number;
  readonly keepAliveMs: number;
  readonly timers: CoarseTimers;
  readonly pausedSockets: PausedSockets;
  /** Connections are strangers' until a request on them has proved otherwise; null: nobody is a stranger here. */
  readonly strangers: Strangers | null;
  onRequest(downstream: Downstream): void;
  /** A fault of this program while it handled a request: the response is a 500, the process lives. */
  onInternalError(error: unknown): void;
  /** The response to a request that could not be read. */
  refuse(code: Code, detail: string): LocalReply;
  /** An HTTP/1 connection began with the preface of HTTP/2: it is the callee's now; `early`: all it sent so far. */
  onHttp2?(socket: Socket, early: Buffer): void;
}
