/**
 * The buffer that one socket is read into, used again while nobody keeps what was in it.
 *
 * Each of Node's 'data' events brings a new 64 KiB buffer: garbage at the speed of the network (70 MB and more before
 * it is collected), and 7 µs. This one is only replaced when a piece of it still waits in somebody's write queue. One
 * per socket, because Node reads into the buffer that it was given last.
 */
import type { OnReadOpts, Socket } from 'node:net';
import net from 'node:net';

/** An idle stream holds this much; it doubles while reads fill it. */
const MIN_BYTES = 4_096;
const MAX_BYTES = 65_536;

/** After this many reads in a row that fill at most a quarter of it, it becomes small again. */
const SHRINK_AFTER_READS = 16;

const NOTHING: Buffer = Buffer.alloc(0);

export class ReadBuffer {
  /** Set by the owner before the first read. Returns true when somebody keeps a piece of the chunk. */
  onChunk: (chunk: Buffer) => boolean = () => false;
  #buffer: Buffer = Buffer.allocUnsafeSlow(MIN_BYTES);
  #view = NOTHING;
  #wantedBytes = MIN_BYTES;
  #isKept = false;
  #smallReads = 0;
  #maxBytes = MAX_BYTES;

  /** For the options of `net.connect`. */
  get onread(): OnReadOpts {
    return {
      buffer: () => this.#next(),
      callback: (bytes, buffer) => {
        this.#resize(bytes);
        // A view of the buffer that was read into, whatever the size of the next one. Messages on one connection are
        // often of one length, and a view that nobody keeps can be had again.
        let chunk = this.#view;
        if (chunk.length !== bytes || chunk.buffer !== buffer.buffer)
          chunk = Buffer.from(buffer.buffer, buffer.byteOffset, bytes);
        this.#view = chunk;
        if (this.onChunk(chunk)) {
          this.#isKept = true;
          this.#view = NOTHING;
        }
        return true;
      },
    };
  }

  /** From now on the socket emits 'data' events, each with a chunk of its own, as any socket does. */
  emitOn(socket: Socket): void {
    this.onChunk = (chunk) => {
      socket.emit('data', chunk);
      return true;
    };
  }

  /** For a socket that somebody else will read: no more than needed is taken before. */
  keepSmall(): void {
    this.#maxBytes = MIN_BYTES;
    this.#wantedBytes = MIN_BYTES;
  }

  #resize(bytes: number): void {
    const size = this.#buffer.length;
    if (bytes === size) {
      this.#wantedBytes = Math.min(this.#maxBytes, size * 2);
      this.#smallReads = 0;
    } else if (bytes > size / 4) {
      this.#smallReads = 0;
    } else if (size > MIN_BYTES && ++this.#smallReads >= SHRINK_AFTER_READS) {
      this.#wantedBytes = MIN_BYTES;
    }
  }

  #next(): Buffer {
    if (this.#isKept || this.#wantedBytes !== this.#buffer.length) {
      this.#buffer = Buffer.allocUnsafeSlow(this.#wantedBytes);
      this.#isKept = false;
      this.#smallReads = 0;
    }
    return this.#buffer;
  }
}

/** What is used of Node's internals. */
interface WithHandle {
  _handle?: { setNoDelay?: (on: boolean) => void } | null;
}

/**
 * Node lets a client choose its read buffer (`onread`) and a server not: so the handle of an accepted socket, which has
 * read nothing yet, moves into a socket made with that option. Both properties are Node's own and undocumented; where
 * they are not as expected, the socket is used as it came, at the price of garbage. `accepted` must be paused since its
 * accept; the returned socket is to be resumed, and replaces it.
 */
export function withReadBuffer(accepted: net.Socket): {
  readonly socket: net.Socket;
  readonly read: ReadBuffer | null;
} {
  const inside = accepted as unknown as WithHandle;
  const handle = inside._handle;
  if (typeof handle?.setNoDelay !== 'function') return { socket: accepted, read: null };
  const read = new ReadBuffer();
  inside._handle = null;
  accepted.destroy(); // the shell alone
  const options = { handle, allowHalfOpen: true, onread: read.onread };
  return { socket: new net.Socket(options as net.SocketConstructorOpts), read };
}
