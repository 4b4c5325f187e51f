/**
 * Opens one connection, by TCP, TLS or a Unix socket, within a time limit, and says why when it cannot: which part of the time went to
 * which part of the way, the name, the connection or TLS.
 */
import net, { isIP } from 'node:net';
import tls from 'node:tls';
import { messageOf } from '../../core/errors.ts';
import type { HostPort } from '../../core/host-port.ts';
import { raceConnections } from './connection-race.ts';
import { dialError, isNobodyThere, isUntrusted, nameError } from './dial-error.ts';
import type { NameFault } from './dns-client.ts';
import { hostNames, type Resolved } from './host-names.ts';
import type { ReadBuffer } from './read-buffer.ts';
import { setTimeoutAfterPoll } from './timers.ts';
import type { TlsClient } from './tls-client.ts';

interface DialPlace extends HostPort {
  /** In place of host and port. */
  readonly socketPath?: string;
}

export interface DialOptions {
  /** For all of it: the name, the connection, TLS. */
  readonly connectMs: number;
  /** null: no TLS. `ca`: certificate authorities; null = the system's. */
  readonly tls: { readonly ca: string | null } | TlsClient | null;
  /** What a TCP socket is read into; null: by 'data' events, as TLS always is. */
  readonly readBuffer: (() => ReadBuffer) | null;
  /** See RaceOptions; 1 when not given: near by no packet is lost, and who does not answer has a full backlog. */
  readonly attemptsPerAddress?: number;
  readonly names?: Pick<typeof hostNames, 'resolve' | 'doubt'>;
  /** Why this address is not connected to; null if it is. Asked for each address that the name has at this moment. */
  readonly whyNot?: (address: string) => string | null;
  onConnected(socket: net.Socket, read: ReadBuffer | null): void;
  onFault(fault: DialFault): void;
}

export interface DialFault {
  readonly code: 'connect_failed' | 'connect_timeout' | 'certificate_untrusted';
  readonly detail: string;
  /** The other side's host answered that nobody listens there. */
  readonly isRefused: boolean;
}

/** Returns a function that gives the attempt up; exactly one callback comes otherwise. */
export function dial(address: DialPlace, options: DialOptions): () => void {
  const attempt = new Dial(address, options);
  attempt.start();
  return () => attempt.end();
}

function tlsOptions(host: string, by: NonNullable<DialOptions['tls']>): tls.ConnectionOptions {
  if ('connectOptions' in by) return by.connectOptions(host);
  return {
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...(by.ca === null ? {} : { ca: by.ca }),
  };
}

class Dial {
  readonly #address: DialPlace;
  readonly #options: DialOptions;
  readonly #names: NonNullable<DialOptions['names']>;
  readonly #cancelTimeout: () => void;
  /** What is waited for. */
  #step: 'name' | 'connection' | 'tls' = 'name';
  #stale = '';
  #isOver = false;
  #giveUp = (): void => {};

  constructor(address: DialPlace, options: DialOptions) {
    this.#address = address;
    this.#options = options;
    this.#names = options.names ?? hostNames;
    this.#cancelTimeout = setTimeoutAfterPoll(() => this.#late(), options.connectMs);
  }

  start(): void {
    const { socketPath } = this.#address;
    if (socketPath === undefined) this.#find();
    else this.#connectSocket(socketPath);
  }

  #find(): void {
    const resolved = this.#names.resolve(this.#address.host);
    if (!(resolved instanceof Promise)) this.#connect(resolved);
    else
      resolved.then(
        (answer) => this.#connect(answer),
        (fault: NameFault) => {
          const code = fault.kind === 'silent' ? 'connect_timeout' : 'connect_failed';
          this.#fault(code, nameError(fault));
        },
      );
  }

  end(): void {
    this.#isOver = true;
    this.#cancelTimeout();
    this.#giveUp();
  }

  #connect({ addresses: found, staleMs }: Resolved): void {
    if (this.#isOver) return;
    const { whyNot } = this.#options;
    const refusals = whyNot === undefined ? [] : found.map(whyNot);
    const addresses = found.filter((_, at) => (refusals[at] ?? null) === null);
    if (addresses.length === 0) {
      const soon = setImmediate(() => this.#fault('connect_failed', refusals[0] ?? ''));
      this.#giveUp = () => clearImmediate(soon);
      return;
    }
    this.#step = 'connection';
    const { attemptsPerAddress = 1, readBuffer, tls: secure } = this.#options;
    if (staleMs > 0)
      this.#stale = `; at its address of ${Math.ceil(staleMs / 1000)} s ago, for DNS does not answer`;
    this.#giveUp = raceConnections({
      addresses,
      port: this.#address.port,
      readBuffer: secure === null ? readBuffer : null,
      allowHalfOpen: secure === null,
      attemptsPerAddress,
      onConnected: (socket, read) => {
        if (secure === null) this.#connected(socket, read);
        else this.#secure(socket, secure);
      },
      onFailed: ([first, ...others]) => {
        const isRefused = first?.code === 'ECONNREFUSED';
        const error = others.length === 0 ? first : new AggregateError([first, ...others]);
        this.#names.doubt(this.#address.host);
        this.#fault('connect_failed', dialError(this.#address, error as NodeJS.ErrnoException), isRefused);
      },
    });
  }

  #connectSocket(path: string): void {
    this.#step = 'connection';
    const read = this.#options.readBuffer?.() ?? null;
    const socket = net.connect({
      path,
      allowHalfOpen: true,
      ...(read === null ? {} : { onread: read.onread }),
    });
    const settle = (): void => {
      socket.off('connect', connected).off('error', failed);
    };
    const connected = (): void => {
      settle();
      this.#connected(socket, read);
    };
    const failed = (error: NodeJS.ErrnoException): void => {
      this.#giveUp();
      const detail = dialError(this.#address, error);
      this.#fault('connect_failed', detail, isNobodyThere(this.#address, error));
    };
    this.#giveUp = () => {
      settle();
      socket.on('error', () => {});
      socket.destroy();
    };
    socket.once('connect', connected);
    socket.once('error', failed);
  }

  #secure(connection: net.Socket, by: NonNullable<DialOptions['tls']>): void {
    this.#step = 'tls';
    let socket: tls.TLSSocket;
    try {
      const { host } = this.#address;
      const own = tlsOptions(host, by);
      socket = tls.connect({ socket: connection, host, ALPNProtocols: ['http/1.1'], ...own });
    } catch (error) {
      // The files of its certificates are not there (any more).
      connection.destroy();
      this.#fault('connect_failed', messageOf(error));
      return;
    }
    const settle = (): void => {
      socket.off('secureConnect', connected).off('error', failed).off('close', closed);
    };
    const connected = (): void => {
      settle();
      this.#connected(socket, null);
    };
    const failed = (error: NodeJS.ErrnoException): void => {
      this.#giveUp();
      // Of a peer's tunnel it is one of the ways in which there is no connection; a worker's is the operator's own.
      const code = 'connectOptions' in by && isUntrusted(error) ? 'certificate_untrusted' : 'connect_failed';
      this.#fault(code, dialError(this.#address, error));
    };
    const closed = (): void => {
      this.#giveUp();
      this.#fault('connect_failed', 'the connection closed before it was established');
    };
    this.#giveUp = () => {
      settle();
      socket.on('error', () => {}); // a late error of a socket that nobody owns any more
      socket.destroy();
    };
    socket.once('secureConnect', connected);
    socket.once('error', failed);
    socket.once('close', closed);
  }

  #connected(socket: net.Socket, read: ReadBuffer | null): void {
    this.#isOver = true;
    this.#cancelTimeout();
    this.#options.onConnected(socket, read);
  }

  #late(): void {
    const { connectMs } = this.#options;
    const { host } = this.#address;
    this.#giveUp();
    if (this.#step === 'connection') this.#names.doubt(host);
    this.#fault(
      'connect_timeout',
      {
        name: `${host} was looked up for ${connectMs} ms, and DNS does not answer`,
        connection: `no answer to a connection within ${connectMs} ms: its host is down, or packets are dropped on the way`,
        tls: `connected, and no TLS within ${connectMs} ms: what listens there is busy, or packets are dropped on the way`,
      }[this.#step],
    );
  }

  #fault(code: DialFault['code'], detail: string, isRefused = false): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#cancelTimeout();
    this.#options.onFault({ code, detail: `${detail}${this.#stale}`, isRefused });
  }
}
