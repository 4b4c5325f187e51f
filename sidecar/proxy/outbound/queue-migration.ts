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
import type { CancelToken } from '../peer/recall.ts';

/** An attempt on a peer whose queue it may be asked back from. */
export interface MigratableAttempt extends QueuedRequest {
  readonly peer: Peer;
  readonly route: Route;
  readonly nonce: string;
  /** It is asked back, to go to this peer. Its own response tells whether it may. */
  askedBackFor(to: Peer): void;
}

export interface QueueMigrationOptions {
  /** Has the peer say how it is. Never rejects. */
  look(peer: Peer, route: Route): Promise<unknown>;
  /** Has the peer give back a request that waits in its queue; the request's own response tells. Never rejects. */
  cancelQueued(peer: Peer, routes: readonly Route[], token: CancelToken): Promise<boolean>;
}

export class QueueMigration {
  readonly #queued = new QueuedRequests<MigratableAttempt>();
  readonly #options: QueueMigrationOptions;

  constructor(options: QueueMigrationOptions) {
    this.#options = options;
  }

  /** It is being sent. */
  sent(attempt: MigratableAttempt): void {
    this.#queued.add(attempt);
  }

  /** It is answered, or over; again does no harm. */
  answered(attempt: MigratableAttempt): void {
    this.#queued.remove(attempt);
  }

  /** The report of a peer came with a response. `isEnding`: the response is soon over, and its slot free. */
  onReport(peer: Peer, service: string, isEnding: boolean): void {
    const endpoint = peer.endpoint(service);
    if (endpoint === undefined) return;
    const queued = this.#queued.soonerAt(endpoint, performance.now(), isEnding ? 1 : 0);
    if (queued === null) return;
    queued.askedBackFor(peer);
    void this.#options.cancelQueued(queued.peer, [queued.route], { nonce: queued.nonce, epoch: null });
  }

  /** A stream of a peer is over: of its slot no report has told. Asks, if anything of mine could use it. */
  async streamEnded(peer: Peer, route: Route, service: string): Promise<void> {
    if (this.#queued.count(service) === 0) return;
    await this.#options.look(peer, route);
    this.onReport(peer, service, false);
  }
}
