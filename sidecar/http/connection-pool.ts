/**
 * What the pools of both HTTP versions share: which connections to origins are being made, which are open, and which of
 * those take requests. When a connection takes one is each version's own rule.
 *
 * No cap on connections: long streams hold theirs for hours, and a cap would starve the rest.
 */
import type { Socket } from 'node:net';
import type { HeadLimits } from '../core/http/message.ts';
import type { Origin, UpstreamFault } from './exchange.ts';
import { type DialOptions, dial } from './sockets/dial.ts';
import type { CoarseTimers } from './sockets/timers.ts';

export interface PoolOptions {
  readonly limits: HeadLimits;
  readonly timers: CoarseTimers;
  /** Idle connections are closed after this; shorter than any server's own limit, so that we close first. */
  readonly keepIdleMs: number;
  /** Why no connection is made to this address of an origin; null if one is. Not given: to all. */
  readonly whyNot?: ((origin: Origin, address: string) => string | null) | undefined;
  /** See RaceOptions.attemptsPerAddress. */
  readonly connectAttempts: number;
  /** A fault of this program: one request fails, the process lives. */
  readonly onInternalError?: ((error: unknown) => void) | undefined;
}

export interface PooledConnection {
  /** Of this host. */
  readonly localAddress: string | undefined;
  /** Takes no more requests; those that run go on. */
  retire(): void;
  destroy(): void;
}

export abstract class ConnectionPool<Connection extends PooledConnection> {
  readonly #connectAttempts: number;
  /** Those that take requests, by origin; the one that became available last comes last. */
  readonly #available = new Map<string, Connection[]>();
  /** Also those that take none, or no more. */
  readonly #open = new Map<{ destroy(): void; readonly localAddress?: string | undefined }, string>();
  /** Each gives up a connection that is being made. */
  readonly #dials = new Set<() => void>();
  readonly #whyNot: PoolOptions['whyNot'];

  get openConnections(): number {
    return this.#open.size;
  }

  constructor({ connectAttempts, whyNot }: Pick<PoolOptions, 'connectAttempts' | 'whyNot'>) {
    this.#connectAttempts = connectAttempts;
    this.#whyNot = whyNot;
  }

  /** Closes everything at once; for the end of the process. */
  destroy(): void {
    for (const giveUp of [...this.#dials]) giveUp();
    for (const connection of [...this.#open.keys()]) connection.destroy();
    this.#available.clear();
  }

  /** Breaks all connections to this address, with what runs on them. */
  cut(host: string, port: number): void {
    for (const [connection, key] of [...this.#open]) {
      if (key.includes(`://${host}:${port}#`)) connection.destroy();
    }
  }

  /** This host has that address no more: what was connected from it takes no more requests. */
  leaveAddress(localAddress: string): void {
    for (const connection of [...this.#available.values()].flat()) {
      if (connection.localAddress === localAddress) connection.retire();
    }
  }

  /** Breaks all that was connected from this address, with what runs on it. */
  cutFrom(localAddress: string): void {
    for (const connection of [...this.#open.keys()]) {
      if (connection.localAddress === localAddress) connection.destroy();
    }
  }

  /** Returns a function that gives the attempt up; exactly one callback comes otherwise. */
  protected dial(
    origin: Origin,
    options: Pick<DialOptions, 'connectMs' | 'tls' | 'readBuffer' | 'onConnected'>,
    onFault: (fault: UpstreamFault) => void,
  ): () => void {
    const whyNot = this.#whyNot;
    const stop = dial(origin, {
      ...options,
      ...(whyNot === undefined ? {} : { whyNot: (address) => whyNot(origin, address) }),
      attemptsPerAddress: this.#connectAttempts,
      onConnected: (socket, read) => {
        this.#dials.delete(giveUp);
        options.onConnected(socket, read);
      },
      onFault: (fault) => {
        this.#dials.delete(giveUp);
        onFault({ ...fault, stage: 'not_sent' });
      },
    });
    const giveUp = (): void => {
      this.#dials.delete(giveUp);
      stop();
    };
    this.#dials.add(giveUp);
    return giveUp;
  }

  protected opened(key: string, connection: Connection): void {
    this.#open.set(connection, key);
  }

  /** It may leave HTTP, and is then nobody's connection. */
  protected mayLeave(key: string, socket: Socket): void {
    this.#open.set(socket, key);
    socket.once('close', () => this.#open.delete(socket));
  }

  protected closed(key: string, connection: Connection): void {
    this.#open.delete(connection);
    this.removeAvailable(key, connection);
  }

  /** The list itself. */
  protected available(key: string): Connection[] {
    return this.#available.get(key) ?? [];
  }

  protected addAvailable(key: string, connection: Connection): void {
    const list = this.#available.get(key);
    if (list === undefined) this.#available.set(key, [connection]);
    else list.push(connection);
  }

  protected removeAvailable(key: string, connection: Connection): void {
    const list = this.#available.get(key);
    if (list === undefined) return;
    const at = list.indexOf(connection);
    if (at >= 0) list.splice(at, 1);
    if (list.length === 0) this.#available.delete(key);
  }
}

const keys = new WeakMap<Origin, string>();

/** The same for all requests that may share a connection. Remembered: the origin of a route is always the same. */
export function originKey(origin: Origin): string {
  let key = keys.get(origin);
  if (key === undefined) {
    const place = origin.socketPath ?? `${origin.host}:${origin.port}`;
    key = `${origin.scheme}://${place}#${origin.tls?.id ?? 0}`;
    keys.set(origin, key);
  }
  return key;
}
