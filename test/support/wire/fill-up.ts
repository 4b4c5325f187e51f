/**
 * Writes to a connection until nobody takes any more: the way to see back-pressure from its far end.
 *
 * "No more" is a silence of SILENCE_MS, the one thing that no event tells.
 */
import type { Socket } from 'node:net';
import type { Wire } from './wire.ts';

const SILENCE_MS = 300;
const PIECE = Buffer.alloc(65_536, 'x');

/** Bytes that were taken before the other side stopped reading; throws beyond `limitBytes`. */
export async function fillUp(wire: Wire, limitBytes = 64 * 1024 * 1024): Promise<number> {
  const { socket } = wire;
  let written = 0;
  while (written < limitBytes) {
    written += PIECE.length;
    if (socket.write(PIECE)) continue;
    if (await isStuck(socket)) return written - socket.writableLength;
  }
  throw new Error(`${written} bytes were taken: nothing holds the writer back`);
}

/** After `write` returned false: true when nothing was taken for a while, false on 'drain'. */
export function isStuck(socket: Socket): Promise<boolean> {
  return new Promise((resolve) => {
    const drained = (): void => {
      clearTimeout(timer);
      resolve(false);
    };
    // The loop may have been busy until now: what is ready comes before the verdict.
    const silent = (): void =>
      void setImmediate(() => {
        socket.off('drain', drained);
        resolve(socket.writableNeedDrain);
      });
    const timer = setTimeout(silent, SILENCE_MS);
    socket.once('drain', drained);
  });
}
