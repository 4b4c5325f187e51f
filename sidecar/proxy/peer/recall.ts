/**
 * The recall: a caller takes back a request that it sent and of which it hears nothing, before it gives it to another.
 *
 * "Was it delivered?" is the one thing that a caller cannot know when a path dies; the peer can, since it accepts each
 * nonce once. A recall uses the nonce up: what it answers for is either delivered already, or never will be. So a POST
 * can go elsewhere and is still delivered at most once. It names the life of the peer, because one that was restarted
 * has forgotten what it accepted. Without that it asks for less: a request that waits in the peer's queue is given
 * back, any other one goes on.
 */
import type { Peer } from '../../core/peers/peer.ts';
import type { Route } from '../../core/peers/route.ts';
import type { PeerClient } from './client.ts';

export interface CancelToken {
  readonly nonce: string;
  /** Start epoch of the peer as its caller knew it when the request was sent; null = only if it waits. */
  readonly epoch: number | null;
}

export const RECALL_PATH = '/recall/';
const TIMEOUT_MS = 1_000;
const MAX_BYTES = 1_024;

/** null when it is not one; never throws. */
export function parseCancelToken(target: string): CancelToken | null {
  const match = /^\/recall\/([\w-]{1,64})(?:\/(\d{1,16}))?$/.exec(target);
  if (match === null) return null;
  return { nonce: match[1] as string, epoch: match[2] === undefined ? null : Number(match[2]) };
}

/** By each of these routes in turn, until one responds. True = it will never be delivered. Never rejects. */
export async function cancelQueued(
  peer: Peer,
  routes: readonly Route[],
  token: CancelToken,
  client: PeerClient,
): Promise<boolean> {
  const { nonce, epoch } = token;
  for (const route of routes) {
    try {
      const response = await client.get({
        address: route,
        peerKey: peer.key,
        path: `${RECALL_PATH}${nonce}${epoch === null ? '' : `/${epoch}`}`,
        signal: AbortSignal.timeout(TIMEOUT_MS),
        maxBytes: MAX_BYTES,
        // A kept connection may be dead where nothing was heard; from a queue a response will come anyway.
        isFresh: epoch !== null,
      });
      return (JSON.parse(response.toString('utf8')) as { recalled?: unknown }).recalled === true;
    } catch {
      // Not by this route.
    }
  }
  return false;
}
