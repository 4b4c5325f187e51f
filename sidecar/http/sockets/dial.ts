/**
 * Opens one connection, TCP or TLS, within a time limit, and says why when it cannot: which part of the time went to
 * which part of the way, the name, the connection or TLS.
 */
import type net from 'node:net';
import { isIP } from 'node:net';
import tls from 'node:tls';
import type { HostPort } from '../../core/host-port.ts';
import { raceConnections } from './connection-race.ts';
import { dialError, nameError } from './dial-error.ts';
import type { NameFault } from './dns-client.ts';
import { hostNames, type Resolved } from './host-names.ts';
import type { ReadBuffer } from './read-buffer.ts';
import { setTimeoutAfterPoll } from './timers.ts';

export interface DialOptions {
  /** For all of it: the name, the connection, TLS. */
  readonly connectMs: number;
  /** null: TCP alone. `ca`: certificate authorities; null = the system's. */
  readonly tls: { readonly ca: string | null } | null;
  /** What a TCP socket is read into; null: by 'data' events, as TLS always is. */
  readonly readBuffer: (() => ReadBuffer) | null;
  /** See RaceOptions; 1 when not given: near by no packet is lost, and who does not answer has a full backlog. */
  readonly attemptsPerAddress?: number;
  readonly names?: Pick<typeof hostNames, 'resolve' | 'doubt'>;
  onConnected(socket: net.Socket, read: ReadBuffer | null): void;
  onFault(fault: DialFault): void;
}

export interface DialFault {
  readonly code: 'connect_failed' | 'connect_timeout';
  readonly detail: string;
  /** The other side's host answered that nobody listens there. */
  readonly isRefused: boolean;
}

/** Returns a function that gives the attempt up; exactly one callback comes otherwise. */
export function dial(address: HostPort, options: DialOptions): () => void {
  const attempt = new Dial(address, options);
  attempt.start();
  return () => attempt.end();
}

class Dial {
  readonly #address: HostPort;
  readonly #options: DialOptions;
  readonly #names: NonNullable<DialOptions['names']>;
  readonly #cancelTimeout: () => void;
  /** What is waited for. */
  #step: 'name' | 'connection' | 'tls' = 'name';
  #stale = '';
  #isOver = false;
  #giveUp = (): void => {};

  constructor(address: HostPort, options: DialOptions) {
    this.#address = address;
    this.#options = options;
    this.#names = options.names ?? hostNames;
    this.#cancelTimeout = setTimeoutAfterPoll(() => this.#late(), options.connectMs);
  }

  start(): void {
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

  #connect({ addresses, staleMs }: Resolved): void {
    if (this.#isOver) return;
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
        else this.#secure(socket, secure.ca);
      },
      onFailed: ([first, ...others]) => {
        const isRefused = first?.code === 'ECONNREFUSED';
        const error = others.length === 0 ? first : new AggregateError([first, ...others]);
        this.#names.doubt(this.#address.host);
        this.#fault('connect_failed', dialError(this.#address, error as NodeJS.ErrnoException), isRefused);
      },
    });
  }

  #secure(connection: net.Socket, ca: string | null): void {
    this.#step = 'tls';
    const { host } = this.#address;
    const socket = tls.connect({
      socket: connection,
      ALPNProtocols: ['http/1.1'],
      ...(isIP(host) === 0 ? { servername: host } : {}),
      ...(ca === null ? {} : { ca }),
    });
    const settle = (): void => {
      socket.off('secureConnect', connected).off('error', failed).off('close', closed);
    };
    const connected = (): void => {
      settle();
      this.#connected(socket, null);
    };
    const failed = (error: NodeJS.ErrnoException): void => {
      this.#giveUp();
      this.#fault('connect_failed', dialError(this.#address, error));
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
