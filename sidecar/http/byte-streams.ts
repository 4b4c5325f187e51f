/**
 * Joins two raw byte streams after an upgrade (WebSocket or anything else): back-pressure, half-close, and a clean end
 * of both, whichever breaks first.
 *
 * Not `stream.pipeline`, which destroys both sides at the first end and so cuts off a half-closed side's last bytes.
 */
import type { Duplex } from 'node:stream';
import type { ByteStream } from './exchange.ts';

/** Resolves when both streams are closed. Silence is no fault here: pings are the protocol's own affair. */
export function joinStreams(a: ByteStream, b: ByteStream): Promise<void> {
  return new Promise((resolve) => {
    let open = 2;
    const closed = (): void => {
      open--;
      if (open === 0) resolve();
    };
    join(a, b.socket, closed);
    join(b, a.socket, closed);
  });
}

function join(from: ByteStream, to: Duplex, onClosed: () => void): void {
  const source = from.socket;
  const over = (): void => {
    // After a clean end of both halves `to` has been told to end, and still holds what its reader has not taken.
    if (!source.readableEnded || !source.writableFinished) to.destroy();
    onClosed();
  };
  source.on('error', () => {}); // 'close' follows
  if (source.closed) {
    queueMicrotask(over); // between the upgrade and now: its 'close' has been missed
    return;
  }
  source.once('close', over);
  source.on('data', (chunk: Buffer) => {
    if (!to.write(chunk)) source.pause();
  });
  source.on('end', () => to.end());
  to.on('drain', () => source.resume());
  if (from.early.length > 0) to.write(from.early);
  source.resume();
}
