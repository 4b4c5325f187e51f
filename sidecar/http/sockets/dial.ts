/**
 * Opens one connection to an origin, TCP or TLS, within a time limit.
 *
 * Everything that fails here is `not_sent`: no byte of a request has left, so any method may go elsewhere.
 */
import net from 'node:net';
import tls from 'node:tls';
import type { Origin, UpstreamFault } from '../exchange.ts';
import { dialError } from './dial-error.ts';
import type { ReadBuffer } from './read-buffer.ts';
import { setTimeoutAfterPoll } from './timers.ts';

export interface DialOptions {
  readonly connectMs: number;
  /** Certificate authorities for https; null = the system's. */
  readonly ca: string | null;
  /** What a TCP socket is read into; null: by 'data' events, as TLS always is. */
  readonly read: ReadBuffer | null;
  onConnected(socket: net.Socket): void;
  onFault(fault: UpstreamFault): void;
}

/** Idle seconds after which the kernel asks whether the other side still lives. */
const TCP_KEEP_ALIVE_MS = 30_000;

/** Returns a function that gives the attempt up; exactly one callback comes otherwise. */
export function dial(origin: Origin, options: DialOptions): () => void {
  const base = {
    host: origin.host,
    port: origin.port,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: TCP_KEEP_ALIVE_MS,
  };
  const isTls = origin.scheme === 'https';
  const socket: net.Socket = isTls
    ? tls.connect({
        ...base,
        ALPNProtocols: ['http/1.1'],
        ...(net.isIP(origin.host) === 0 ? { servername: origin.host } : {}),
        ...(options.ca === null ? {} : { ca: options.ca }),
      })
    : net.connect({
        ...base,
        allowHalfOpen: true,
        ...(options.read === null ? {} : { onread: options.read.onread }),
      });

  const settle = (): void => {
    cancelTimeout();
    socket.off(isTls ? 'secureConnect' : 'connect', connected);
    socket.off('error', failed);
    socket.off('close', closed);
  };
  const fault = (code: 'connect_failed' | 'connect_timeout', detail: string, isRefused = false): void => {
    settle();
    socket.on('error', () => {}); // a late error of a socket that nobody owns any more
    socket.destroy();
    options.onFault({ code, stage: 'not_sent', detail, isRefused });
  };
  const connected = (): void => {
    settle();
    options.onConnected(socket);
  };
  const failed = (error: NodeJS.ErrnoException): void =>
    fault('connect_failed', dialError(origin, error), error.code === 'ECONNREFUSED');
  const closed = (): void => fault('connect_failed', 'the connection closed before it was established');
  const cancelTimeout = setTimeoutAfterPoll(
    () =>
      fault(
        'connect_timeout',
        `no answer to a connection within ${options.connectMs} ms: its host is down, or packets are dropped on the way`,
      ),
    options.connectMs,
  );
  socket.once(isTls ? 'secureConnect' : 'connect', connected);
  socket.once('error', failed);
  socket.once('close', closed);
  return () => {
    settle();
    socket.on('error', () => {});
    socket.destroy();
  };
}
