/**
 * What can be read outranks a write error: an origin that answers an upload early and closes resets it, and its answer
 * lies in our kernel by then.
 *
 * Node destroys a socket whose write fails, with all that was not read yet. Here the error is noted, and reading goes on
 * to its end, which comes at once: an origin that takes nothing more has closed. `_write` and `_writev` are documented for
 * those who implement streams; nothing is allocated for a write.
 */
import type { Socket } from 'node:net';

type Done = (error?: Error | null) => void;

/**
 * For a socket that nobody else has changed so, once in its life. `onBroken`: called once, at the first write that failed;
 * what is written from then on is dropped, and counts as written.
 */
export function readPastWriteErrors(socket: Socket, onBroken: () => void): void {
  let isBroken = false;
  let done: Done = () => {};
  const written: Done = (error) => {
    if (error != null && !isBroken) {
      isBroken = true;
      onBroken();
    }
    done(); // the next one may wait already, and takes its place
  };
  const write = socket._write;
  const writev = socket._writev;
  socket._write = (chunk, encoding, callback) => {
    done = callback;
    if (isBroken) callback();
    else write.call(socket, chunk, encoding, written);
  };
  if (writev === undefined) return;
  socket._writev = (chunks, callback) => {
    done = callback;
    if (isBroken) callback();
    else writev.call(socket, chunks, written);
  };
}
