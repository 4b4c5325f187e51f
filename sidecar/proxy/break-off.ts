/**
 * Ends a connection to an origin on which a request is not over.
 *
 * A request with a body is reset: the ordinary end comes behind all that the origin has not read yet, and one that
 * stands still, or is another sidecar that waits for its worker, would not learn that nobody asks any more. It must
 * not know why the request was given up.
 */
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { OutgoingHead } from './exchange.ts';

export function breakOff(socket: Socket, request: OutgoingHead | null): void {
  if (socket.destroyed) return;
  // Node can reset plain TCP alone.
  const mayReset = !(socket instanceof TLSSocket);
  if (mayReset && request !== null && request.body.kind !== 'none') socket.resetAndDestroy();
  else socket.destroy();
}
