/**
 * One TCP connection to whichever address answers first: each gets its attempt a moment after the one before it, and at
 * once when that has failed ("Happy Eyeballs", RFC 8305).
 *
 * Where packets are lost an address is tried more than once: the kernel sends a lost SYN again only after a second,
 * which is all the time that a connection has, and one in ten is lost on a link that loses 5 % each way.
 */
import net from 'node:net';
import { isLoopback } from '../../core/host-port.ts';
import type { ReadBuffer } from './read-buffer.ts';

export interface RaceOptions {
  readonly addresses: readonly string[];
  readonly port: number;
  /** What the socket is read into; null: by 'data' events. Made anew for each attempt. */
  readonly readBuffer: (() => ReadBuffer) | null;
  readonly allowHalfOpen: boolean;
  /** Attempts at a single address whose packets may be lost; one on loopback, where none are. */
  readonly attemptsPerAddress: number;
  onConnected(socket: net.Socket, read: ReadBuffer | null): void;
  /** Why each attempt failed; the first is that of the first address. */
  onFailed(errors: readonly NodeJS.ErrnoException[]): void;
}

/** RFC 8305 §5 recommends 250 ms: a little more than a busy host takes to answer. */
const NEXT_ATTEMPT_MS = 300;

const MAX_ATTEMPTS = 8;

/** Idle seconds after which the kernel asks whether the other side still lives. */
const TCP_KEEP_ALIVE_MS = 30_000;

/** Returns a function that gives the race up; exactly one callback comes otherwise, and never before this returns. */
export function raceConnections(options: RaceOptions): () => void {
  const race = new Race(options);
  race.next();
  return () => race.end();
}

class Race {
  readonly #options: RaceOptions;
  readonly #attempts: readonly string[];
  /** With the address of each. */
  readonly #running = new Map<net.Socket, string>();
  readonly #errors: NodeJS.ErrnoException[] = [];
  /** Those that said no: silence may be a lost packet, a refusal is an answer. */
  readonly #failed = new Set<string>();
  #at = 0;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: RaceOptions) {
    this.#options = options;
    this.#attempts = attemptsAt(options);
  }

  next(): void {
    this.#stopTimer();
    let host = this.#attempts[this.#at++];
    while (host !== undefined && this.#failed.has(host)) host = this.#attempts[this.#at++];
    if (host !== undefined) {
      this.#attempt(host);
      // On loopback who does not answer at once is busy, and nobody else is at the other one.
      if (this.#at < this.#attempts.length && !isLoopback(host))
        this.#timer = setTimeout(() => this.next(), NEXT_ATTEMPT_MS);
    } else if (this.#running.size === 0) this.#options.onFailed(this.#errors);
  }

  end(): void {
    this.#stopTimer();
    this.#at = this.#attempts.length;
    for (const socket of this.#running.keys()) this.#discard(socket);
  }

  #attempt(host: string): void {
    const { allowHalfOpen, port, readBuffer } = this.#options;
    const read = readBuffer === null ? null : readBuffer();
    const socket = net.connect({
      host,
      port,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: TCP_KEEP_ALIVE_MS,
      allowHalfOpen,
      ...(read === null ? {} : { onread: read.onread }),
    });
    this.#running.set(socket, host);
    socket.once('connect', () => {
      this.#running.delete(socket);
      socket.removeAllListeners('error');
      this.end();
      this.#options.onConnected(socket, read);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      this.#errors.push(error);
      this.#failed.add(host);
      for (const [other, at] of this.#running) if (at === host) this.#discard(other);
      this.next();
    });
  }

  /** Nobody owns it any more: a late error of it is nobody's. */
  #discard(socket: net.Socket): void {
    this.#running.delete(socket);
    socket
      .removeAllListeners('connect')
      .removeAllListeners('error')
      .on('error', () => {});
    socket.destroy();
  }

  #stopTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}

/** Each address once, and again in the same order. */
function attemptsAt({ addresses, attemptsPerAddress }: RaceOptions): readonly string[] {
  const attempts: string[] = [];
  for (let round = 0; round < attemptsPerAddress; round += 1) {
    for (const address of addresses) if (round === 0 || !isLoopback(address)) attempts.push(address);
  }
  return attempts.slice(0, MAX_ATTEMPTS);
}
