/**
 * Writes on a TCP socket past Node's streams as long as the kernel takes all at once, which it nearly always does: a
 * write then costs the system call and little else, where a stream adds half as much again (an object that the kernel
 * is waited for with, a queue, a callback in the next tick).
 *
 * What it uses is Node's own and undocumented. Where anything is not as expected, and whenever something waits to be
 * written, the stream has the write, so that the order of bytes, errors and back-pressure are its affair as before.
 */
import type { Socket } from 'node:net';

/** As Node makes one for each write; it is used up only where the kernel does not take all at once. */
interface WriteRequest {
  /** `status`: 0, or an error number. */
  oncomplete: (status: number) => void;
  /** Kept from the collector as long as it is being written. */
  buffer?: Buffer;
  getAsyncId(): number;
}

type WriteRequestClass = new () => WriteRequest;

interface WriteHandle {
  /** Both return 0, or an error number where nothing was written. */
  writeLatin1String(request: WriteRequest, text: string): number;
  writeBuffer(request: WriteRequest, bytes: Buffer): number;
}

interface WithHandle {
  readonly _handle?: Partial<WriteHandle> | null;
}

/** Node writes longer strings by way of a copy. */
export const MAX_TEXT_BYTES = 16_384;

/** Of a request that is not under way. */
const NO_ASYNC_ID = -1;

/** Learnt from the first write of the process. */
let requestClass: WriteRequestClass | null = null;

export class DirectWriter {
  readonly #socket: Socket;
  #request: WriteRequest | null = null;
  /** That of the socket, once it is known to be as expected. */
  #handle: WriteHandle | null = null;
  /** The kernel had not taken all of the last write, and its request is under way. */
  #isStuck = false;
  /** Somebody waits for room. */
  #isAwaited = false;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** Everything written has left: no piece of it is held any more. */
  get isFlushed(): boolean {
    return !this.#isStuck && this.#socket.writableLength === 0;
  }

  /** Latin1. Returns false when the other side reads slower than we write: 'drain' follows. */
  writeText(text: string): boolean {
    const handle = text.length <= MAX_TEXT_BYTES ? this.#free() : null;
    if (handle === null) return this.#socket.write(text, 'latin1');
    if (requestClass === null) return learn(this.#socket, handle, text);
    const request = this.#ready(requestClass);
    // An error is told by the stream, which meets it too.
    if (handle.writeLatin1String(request, text) !== 0) return this.#socket.write(text, 'latin1');
    if (isUnderWay(request)) this.#stuck();
    return true; // Node has a copy of the rest
  }

  /** Like `writeText`. */
  write(bytes: Buffer): boolean {
    const handle = this.#free();
    if (handle === null || requestClass === null) return this.#socket.write(bytes);
    const request = this.#ready(requestClass);
    if (handle.writeBuffer(request, bytes) !== 0) return this.#socket.write(bytes);
    if (!isUnderWay(request)) return true;
    request.buffer = bytes;
    this.#stuck();
    this.#isAwaited = true;
    return false;
  }

  /** null where the stream must have the write. */
  #free(): WriteHandle | null {
    const socket = this.#socket as unknown as Socket & WithHandle;
    if (this.#isStuck || socket.writableLength > 0 || socket.writableCorked > 0 || !socket.writable)
      return null;
    const { _handle: handle } = socket;
    if (handle !== this.#handle) this.#handle = asExpected(handle);
    return this.#handle;
  }

  #ready(made: WriteRequestClass): WriteRequest {
    if (this.#request !== null) return this.#request;
    const request = new made();
    request.oncomplete = (status) => this.#left(status);
    this.#request = request;
    return request;
  }

  #stuck(): void {
    this.#isStuck = true;
    this.#request = null;
  }

  #left(status: number): void {
    this.#isStuck = false;
    // The system tells an error once, and who does not read would never hear of it: so the stream meets it too.
    if (status < 0 && this.#socket.writable) this.#socket.write('');
    if (!this.#isAwaited) return;
    this.#isAwaited = false;
    const { destroyed, writableNeedDrain } = this.#socket;
    if (!destroyed && !writableNeedDrain) this.#socket.emit('drain');
  }
}

/**
 * Not told by the number of bytes that wait: the kernel may take the rest as the request is made, when somebody reads at
 * that moment, and a request that is used again before it is complete ends the process (an assertion of Node).
 */
function isUnderWay(request: WriteRequest): boolean {
  return request.getAsyncId() !== NO_ASYNC_ID;
}

/** That of a plain TCP connection; null for any other, and where it is not as expected. */
function asExpected(handle: WithHandle['_handle']): WriteHandle | null {
  if (handle == null || handle.constructor.name !== 'TCP') return null;
  const { writeLatin1String, writeBuffer } = handle;
  const isKnown = typeof writeLatin1String === 'function' && typeof writeBuffer === 'function';
  return isKnown ? (handle as WriteHandle) : null;
}

/** Has the stream write, and sees what it hands to the handle. */
function learn(socket: Socket, handle: WriteHandle, text: string): boolean {
  const write = handle.writeLatin1String;
  handle.writeLatin1String = (request, written) => {
    const made = request.constructor as WriteRequestClass;
    if (made.name === 'WriteWrap' && new made().getAsyncId?.() === NO_ASYNC_ID) requestClass = made;
    return write.call(handle, request, written);
  };
  try {
    return socket.write(text, 'latin1');
  } finally {
    Reflect.deleteProperty(handle, 'writeLatin1String');
  }
}
