/**
 * Opens one connection, TCP or TLS, within a time limit, and says why when it cannot.
 */
import net from 'node:net';
import tls from 'node:tls';
import { type HostPort, LOOPBACKS } from '../../core/host-port.ts';
import { dialError } from './dial-error.ts';
import type { ReadBuffer } from './read-buffer.ts';
import { setTimeoutAfterPoll } from './timers.ts';

export interface DialOptions {
  readonly connectMs: number;
  /** null: TCP alone. `ca`: certificate authorities; null = the system's. */
  readonly tls: { readonly ca: string | null } | null;
  /** What a TCP socket is read into; null: by 'data' events, as TLS always is. */
  readonly read: ReadBuffer | null;
  onConnected(socket: net.Socket): void;
  onFault(fault: DialFault): void;
}

export interface DialFault {
  readonly code: 'connect_failed' | 'connect_timeout';
  readonly detail: string;
  /** The other side's host answered that nobody listens there. */
  readonly isRefused: boolean;
}

/** Idle seconds after which the kernel asks whether the other side still lives. */
const TCP_KEEP_ALIVE_MS = 30_000;

const BOTH_LOOPBACKS = LOOPBACKS.map((address) => ({ address, family: net.isIP(address) }));

/**
 * For `localhost` both loopbacks, one after the other: a program listens at either, and resolvers differ. The first has
 * all the time: it refuses at once, or somebody is there.
 */
export function loopbackOptions(host: string, connectMs: number): LoopbackOptions {
  if (host.toLowerCase() !== 'localhost') return NO_LOOPBACK_OPTIONS;
  return {
    lookup: (_host, { all }, callback) => {
      if (all === true) callback(null, BOTH_LOOPBACKS);
      else callback(null, LOOPBACKS[0], net.isIP(LOOPBACKS[0]));
    },
    autoSelectFamily: true,
    autoSelectFamilyAttemptTimeout: Math.max(LEAST_ATTEMPT_MS, connectMs),
  };
}

type LoopbackOptions = Pick<
  net.TcpSocketConnectOpts,
  'lookup' | 'autoSelectFamily' | 'autoSelectFamilyAttemptTimeout'
>;

const NO_LOOPBACK_OPTIONS: LoopbackOptions = {};

/** Node takes no less. */
const LEAST_ATTEMPT_MS = 10;

/** Returns a function that gives the attempt up; exactly one callback comes otherwise. */
export function dial({ host, port }: HostPort, options: DialOptions): () => void {
  const base = {
    host,
    port,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: TCP_KEEP_ALIVE_MS,
    ...loopbackOptions(host, options.connectMs),
  };
  const established = options.tls === null ? 'connect' : 'secureConnect';
  const socket: net.Socket =
    options.tls === null
      ? net.connect({
          ...base,
          allowHalfOpen: true,
          ...(options.read === null ? {} : { onread: options.read.onread }),
        })
      : tls.connect({
          ...base,
          ALPNProtocols: ['http/1.1'],
          ...(net.isIP(host) === 0 ? { servername: host } : {}),
          ...(options.tls.ca === null ? {} : { ca: options.tls.ca }),
        });

  const settle = (): void => {
    cancelTimeout();
    socket.off(established, connected);
    socket.off('error', failed);
    socket.off('close', closed);
  };
  const fault = (code: DialFault['code'], detail: string, isRefused = false): void => {
    settle();
    socket.on('error', () => {}); // a late error of a socket that nobody owns any more
    socket.destroy();
    options.onFault({ code, detail, isRefused });
  };
  const connected = (): void => {
    settle();
    options.onConnected(socket);
  };
  const failed = (error: NodeJS.ErrnoException): void =>
    fault('connect_failed', dialError({ host, port }, error), error.code === 'ECONNREFUSED');
  const closed = (): void => fault('connect_failed', 'the connection closed before it was established');
  const cancelTimeout = setTimeoutAfterPoll(
    () =>
      fault(
        'connect_timeout',
        `no answer to a connection within ${options.connectMs} ms: its host is down, or packets are dropped on the way`,
      ),
    options.connectMs,
  );
  socket.once(established, connected);
  socket.once('error', failed);
  socket.once('close', closed);
  return () => {
    settle();
    socket.on('error', () => {});
    socket.destroy();
  };
}
