/**
 * Joins two raw byte streams after an upgrade (WebSocket or anything else): back-pressure, half-close, and a
 * clean end on both sides whichever breaks first.
 *
 * `stream.pipeline` destroys both sides at the first end, which cuts off a half-closed peer's last bytes. It
 * must not know what the bytes mean.
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
  if (from.early.length > 0) to.write(from.early);
  source.on('data', (chunk: Buffer) => {
    if (!to.write(chunk)) source.pause();
  });
  to.on('drain', () => source.resume());
  source.on('end', () => to.end());
  source.on('error', () => {}); // 'close' follows
  source.once('close', () => {
    to.destroy();
    onClosed();
  });
  if (source.destroyed) {
    // Closed between the upgrade and now: its 'close' has been missed.
    queueMicrotask(() => {
      to.destroy();
      onClosed();
    });
  }
  source.resume();
}
