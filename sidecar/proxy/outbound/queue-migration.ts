/**
 * Queue migration (work stealing): requests that wait in the queue of one peer and are sent to another, where their
 * turn comes sooner.
 *
 * Between the queued requests, which know whose turn it is, and the cancel message, by which the peer lets go of what
 * it did not begin: only its word makes a request free to go, so nothing is delivered twice.
 */
import { type QueuedRequest, QueuedRequests } from '../../core/balancing/queued-requests.ts';
import type { Peer } from '../../core/peers/peer.ts';
import type { Route } from '../../core/peers/route.ts';
import { willKeep } from '../../http/request-relay.ts';
import type { CancelToken } from '../peer/recall.ts';
import type { OutboundRequest } from './request.ts';

interface MigratableRequest extends QueuedRequest {
  readonly request: OutboundRequest;
  readonly peer: Peer;
  readonly route: Route;
  readonly nonce: string;
}

/** A request that had so many attempts has none to spare. */
const MAX_ATTEMPTS_BEFORE = 4;

export interface QueueMigrationOptions {
  /** As of the request path: a longer body cannot be sent again. */
  readonly replayBytes: number;
  /** Has the peer say how it is. Never rejects. */
  look(peer: Peer, route: Route): Promise<unknown>;
  /** Has the peer give back a request that waits in its queue; the request's own response tells. Never rejects. */
  cancelQueued(peer: Peer, routes: readonly Route[], token: CancelToken): Promise<boolean>;
}

export class QueueMigration {
  readonly #queued = new QueuedRequests<MigratableRequest>();
  readonly #options: QueueMigrationOptions;

  constructor(options: QueueMigrationOptions) {
    this.#options = options;
  }

  /** This request is being sent. Returns what is to be called when it is answered or over; again does no harm. */
  sent(request: OutboundRequest, peer: Peer, route: Route, nonce: string): () => void {
    const { migration } = request.redispatch;
    if (migration !== null) migration.state = 'over';
    if (!this.#mayMigrate(request)) return () => {};
    const { service, sinceMs } = request;
    const queued: MigratableRequest = { service, peerKey: peer.key, sinceMs, request, peer, route, nonce };
    this.#queued.add(queued);
    return () => this.#queued.remove(queued);
  }

  /** The report of a peer came with a response. `isEnding`: the response is soon over, and its slot free. */
  onReport(peer: Peer, service: string, isEnding: boolean): void {
    const endpoint = peer.endpoint(service);
    if (endpoint === undefined) return;
    const queued = this.#queued.soonerAt(endpoint, performance.now(), isEnding ? 1 : 0);
    if (queued === null) return;
    queued.request.redispatch.migration = { to: peer, state: 'asked' };
    void this.#options.cancelQueued(queued.peer, [queued.route], { nonce: queued.nonce, epoch: null });
  }

  /** A stream of a peer is over: of its slot no report has told. Asks, if anything of mine could use it. */
  async streamEnded(peer: Peer, route: Route, service: string): Promise<void> {
    if (this.#queued.count(service) === 0) return;
    await this.#options.look(peer, route);
    this.onReport(peer, service, false);
  }

  /** Once; and only what was sent into a queue by the expected time, can be sent again as it is, and goes anywhere. */
  #mayMigrate(request: OutboundRequest): boolean {
    const { chosen, redispatch, affinityKey, tunnelUnfit, attempts, downstream } = request;
    if (chosen === null || chosen.expectedQueue === null) return false;
    if (affinityKey !== null || tunnelUnfit !== null) return false;
    if (redispatch.migration !== null || attempts.length > MAX_ATTEMPTS_BEFORE) return false;
    if (!willKeep(downstream.head.framing, this.#options.replayBytes)) return false;
    return redispatch.acceptsAnyQueue || chosen.expectedQueue > 0;
  }
}
