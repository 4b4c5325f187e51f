/**
 * An accepted socket, read into a buffer of its own.
 *
 * Node lets a client choose its read buffer (`onread`) and a server not. So the handle of the accepted socket, which
 * has read nothing yet, moves into a socket made with that option. Both properties are Node's own and undocumented:
 * where they are not as expected, the socket is used as it came, at the price of garbage. It must not know HTTP.
 */
import net from 'node:net';
import { ReadBuffer } from './read-buffer.ts';

/** What is used of Node's inside. */
interface WithHandle {
  _handle?: { setNoDelay?: (on: boolean) => void } | null;
}

/** `accepted` must be paused since its accept; the returned socket is to be resumed, and replaces it. */
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
