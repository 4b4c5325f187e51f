/**
 * Notices that a client has left while its connection is paused: Node tells of neither FIN nor reset on a socket that
 * it does not read.
 *
 * Paused sockets are looked at: one that was reset has no peer address any more, and Linux shows in /proc/net the state
 * of its end and, for a client on this host, of the other end. On other systems a FIN is noticed when reading goes on.
 */
import type { Socket } from 'node:net';
import { TcpTable } from './tcp-table.ts';

const TICK_MS = 50;

/** At most this share of a processor goes into reading tables, however many connections the host has. */
const SHARE = 0.1;

/** What is used of Node's internals: the address as it is now, not as it was. */
interface WithHandle {
  _handle?: { getpeername?: (out: object) => number } | null;
}

export class PausedSockets {
  /** Monotonic ms since when each is not read. */
  readonly #since = new Map<Socket, number>();
  #timer: NodeJS.Timeout | null = null;
  #nextLookMs = 0;
  #isLooking = false;
  readonly #readTable: () => Promise<TcpTable>;

  /** `readTable` never rejects. */
  constructor(readTable: () => Promise<TcpTable> = TcpTable.read) {
    this.#readTable = readTable;
  }

  /** Stops reading, or reads on. */
  setPaused(socket: Socket, isPaused: boolean): void {
    if (!isPaused) {
      this.forget(socket);
      if (socket.isPaused()) socket.resume();
    } else if (!this.#since.has(socket)) {
      socket.pause();
      this.#since.set(socket, performance.now());
      this.#watch();
    }
  }

  /** Stops reading until what is written has drained: a client that closed its half by then waits for that anyway. */
  pauseUnwatched(socket: Socket): void {
    this.forget(socket);
    socket.pause();
  }

  /** From now on another owner reads it, or nobody does. */
  forget(socket: Socket): void {
    this.#since.delete(socket);
  }

  #watch(): void {
    if (this.#timer !== null) return;
    this.#timer = setInterval(() => void this.#look(), TICK_MS);
    this.#timer.unref();
  }

  /** Never rejects. */
  async #look(): Promise<void> {
    if (this.#since.size === 0 && this.#timer !== null) {
      clearInterval(this.#timer);
      this.#timer = null;
    }
    const startedMs = performance.now();
    const still = [...this.#since].filter(([, sinceMs]) => startedMs - sinceMs >= TICK_MS);
    for (const [socket] of still) if (isReset(socket)) this.#gone(socket);
    if (still.length === 0 || this.#isLooking || startedMs < this.#nextLookMs) return;
    this.#isLooking = true;
    const cpuBefore = process.cpuUsage();
    const table = await this.#readTable();
    for (const [socket, sinceMs] of still) {
      // Unless it was resumed and paused again since the table was asked for.
      if (this.#since.get(socket) === sinceMs && table.isOver(socket)) this.#gone(socket);
    }
    this.#isLooking = false;
    const endedMs = performance.now();
    // On a busy host a look takes long because others work: it costs at most the CPU that this process used meanwhile.
    const cpu = process.cpuUsage(cpuBefore);
    const costMs = Math.min(endedMs - startedMs, (cpu.user + cpu.system) / 1000);
    this.#nextLookMs = endedMs + costMs / SHARE;
  }

  #gone(socket: Socket): void {
    this.#since.delete(socket);
    socket.destroy();
  }
}

function isReset(socket: Socket): boolean {
  const handle = (socket as unknown as WithHandle)._handle;
  return typeof handle?.getpeername === 'function' && handle.getpeername({}) !== 0;
}
