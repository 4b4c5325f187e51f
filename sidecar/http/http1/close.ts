/**
 * How connections end: a client's without losing what was written to it (RFC 9112 §9.6), and one to an origin in the
 * middle of a request.
 *
 * A socket that is closed with unread bytes is reset, and the reset takes the response with it; one that is destroyed
 * with unsent bytes makes a cut response look whole.
 */
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { OutgoingHead } from '../exchange.ts';
import { CoarseTimer, type CoarseTimers } from '../sockets/timers.ts';

/** How long a client may take none of the bytes that are left for it. */
const STALLED_MS = 30_000;

/** How long the client may go on sending after our end: since its last byte, and in all. */
const SILENT_MS = 2_000;
const LINGER_MS = 30_000;

/** Sends what is written, closes our half, then throws away what still comes in for a while. */
export function closeLingering(socket: Socket, timers: CoarseTimers): void {
  let unsentBytes = socket.writableLength;
  let untilMs = Number.POSITIVE_INFINITY;
  const deadline = new CoarseTimer(() => {
    if (socket.writableFinished) {
      socket.destroy();
    } else if (socket.writableLength < unsentBytes) {
      unsentBytes = socket.writableLength;
      timers.arm(deadline, STALLED_MS);
    } else {
      socket.resetAndDestroy();
    }
  });
  socket.on('data', () => {
    const leftMs = untilMs - performance.now();
    if (leftMs < Number.POSITIVE_INFINITY) timers.arm(deadline, Math.min(SILENT_MS, leftMs));
  });
  socket.once('finish', () => {
    untilMs = performance.now() + LINGER_MS;
    timers.arm(deadline, SILENT_MS);
  });
  socket.once('close', () => timers.disarm(deadline));
  if (socket.destroyed) return;
  timers.arm(deadline, STALLED_MS);
  socket.end();
  socket.resume();
}

/**
 * Ends a connection to an origin on which a request is not over. One with a body is reset: an ordinary end comes behind
 * all that the origin has not read yet, and an origin that stands still would not learn that nobody asks any more.
 */
export function abortConnection(socket: Socket, request: OutgoingHead | null): void {
  if (socket.destroyed) return;
  // Node can reset nothing but plain TCP.
  const mayReset = !(socket instanceof TLSSocket);
  if (mayReset && request !== null && request.body.kind !== 'none') socket.resetAndDestroy();
  else socket.destroy();
}
