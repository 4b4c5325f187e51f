/**
 * Moves: requests that wait in the queue of one peer and are sent to another, where their turn comes sooner.
 *
 * Between core/waiting, which knows whose turn it is, and the recall, by which the peer gives back what it did not
 * begin: only its word makes a request free to go, so nothing is delivered twice. It must not know how a request is
 * sent again; that is the next attempt's affair.
 */
import { type Waiter, Waiting } from '../../core/balancing/queued-requests.ts';
import type { Peer } from '../../core/peers/peer.ts';
import type { Route } from '../../core/peers/route.ts';
import { willKeep } from '../../http/request-relay.ts';
import type { Recall } from '../peer/recall.ts';
import type { OutboundRequest } from './request.ts';

interface Queued extends Waiter {
  readonly request: OutboundRequest;
  readonly peer: Peer;
  readonly route: Route;
  readonly nonce: string;
}

/** A request that had so many attempts has none to spare. */
const MAX_ATTEMPTS_BEFORE = 4;

export interface MovesOptions {
  /** As of the request path: a longer body cannot be sent again. */
  readonly replayBytes: number;
  /** Has the peer say how it is. Never rejects. */
  look(peer: Peer, route: Route): Promise<unknown>;
  /** Has the peer give back a request that waits in its queue; the request's own answer tells. Never rejects. */
  recall(peer: Peer, routes: readonly Route[], recall: Recall): Promise<boolean>;
}

export class Moves {
  readonly #waiting = new Waiting<Queued>();
  readonly #options: MovesOptions;

  constructor(options: MovesOptions) {
    this.#options = options;
  }

  /** This request is being sent. Returns what is to be called when it is answered or over; again does no harm. */
  sent(request: OutboundRequest, peer: Peer, route: Route, nonce: string): () => void {
    const { move } = request.reroutes;
    if (move !== null) move.state = 'over';
    if (!this.#mayMove(request)) return () => {};
    const { service, sinceMs } = request;
    const queued: Queued = { service, peerKey: peer.key, sinceMs, request, peer, route, nonce };
    this.#waiting.add(queued);
    return () => this.#waiting.remove(queued);
  }

  /** The report of a peer came with an answer. `isEnding`: the answer is soon over, and its slot free. */
  heard(peer: Peer, service: string, isEnding: boolean): void {
    const endpoint = peer.endpoint(service);
    if (endpoint === undefined) return;
    const queued = this.#waiting.soonerAt(endpoint, performance.now(), isEnding ? 1 : 0);
    if (queued === null) return;
    queued.request.reroutes.move = { to: peer, state: 'asked' };
    void this.#options.recall(queued.peer, [queued.route], { nonce: queued.nonce, epoch: null });
  }

  /** A stream of a peer is over: of its slot no report has told. Asks, if anything of mine could use it. */
  async streamEnded(peer: Peer, route: Route, service: string): Promise<void> {
    if (this.#waiting.count(service) === 0) return;
    await this.#options.look(peer, route);
    this.heard(peer, service, false);
  }

  /** Once; and only what was sent into a queue by the expected time, can be sent again as it is, and goes anywhere. */
  #mayMove(request: OutboundRequest): boolean {
    const { chosen, reroutes, affinityKey, tunnelUnfit, attempts, downstream } = request;
    if (chosen === null || chosen.expectedQueue === null) return false;
    if (affinityKey !== null || tunnelUnfit !== null) return false;
    if (reroutes.move !== null || attempts.length > MAX_ATTEMPTS_BEFORE) return false;
    if (!willKeep(downstream.head.framing, this.#options.replayBytes)) return false;
    return reroutes.isPatient || chosen.expectedQueue > 0;
  }
}
