/**
 * A request to a peer that is out and unanswered: who watches its path, and what may be known of its delivery after.
 *
 * Between the attempt, which knows bytes, and the stall watch and cancellation, which know neither requests nor
 * retries.
 */
import { has } from '../../core/http/headers.ts';
import type { Peer } from '../../core/peers/peer.ts';
import type { Route } from '../../core/peers/route.ts';
import { usableRoutes } from '../../core/peers/route-order.ts';
import { mayRetry } from '../../core/retry.ts';
import type { AttemptWatch } from '../../http/attempt.ts';
import type { AttemptOutcome } from '../../http/attempt-outcome.ts';
import type { CancelToken } from '../peer/recall.ts';
import type { OutboundOptions } from './options.ts';
import type { OutboundRequest } from './request.ts';

export class InFlight {
  readonly #request: OutboundRequest;
  readonly #peer: Peer;
  readonly #route: Route;
  readonly #cancelToken: CancelToken;
  readonly #options: OutboundOptions;

  constructor(
    request: OutboundRequest,
    { peer, route }: { readonly peer: Peer; readonly route: Route },
    nonce: string,
    options: OutboundOptions,
  ) {
    this.#request = request;
    this.#peer = peer;
    this.#route = route;
    this.#cancelToken = { nonce, epoch: peer.epoch };
    this.#options = options;
  }

  watch(): AttemptWatch | null {
    return (
      this.#options.stallWatch?.watch({
        peer: this.#peer,
        route: this.#route,
        others: this.#peer.routes.filter((route) => route !== this.#route && route.health.isUp),
        mayGoElsewhere: () => this.#maySendTwice() && this.#hasElsewhere(),
        // This route is the one that is silent.
        cancelQueued: () => this.#cancelQueued((route) => route !== this.#route),
      }) ?? null
    );
  }

  /** The outcome with what the peer says of it: a request that it takes back was not sent. Never rejects. */
  async settle(outcome: AttemptOutcome): Promise<AttemptOutcome> {
    if (outcome.kind !== 'failed' || outcome.stage !== 'sent' || outcome.code !== 'upstream_reset')
      return outcome;
    if (!this.#request.relay.isReplayable || this.#maySendTwice()) return outcome;
    const isTakenBack = await this.#cancelQueued(() => true);
    return isTakenBack ? { ...outcome, stage: 'not_sent' } : outcome;
  }

  #cancelQueued(isWanted: (route: Route) => boolean): Promise<boolean> {
    const routes = usableRoutes(this.#peer.routes, performance.now()).filter(isWanted);
    return (
      this.#options.stallWatch?.cancelQueued(this.#peer, routes, this.#cancelToken) ?? Promise.resolve(false)
    );
  }

  #maySendTwice(): boolean {
    const { downstream, policy, relay } = this.#request;
    return mayRetry({
      stage: 'sent',
      method: downstream.head.method,
      replayable: relay.isReplayable,
      idempotencyKey: has(downstream.head.fields, 'idempotency-key'),
      postOptIn: policy.retryPost,
    });
  }

  #hasElsewhere(): boolean {
    const { routesLeft, service, triedPeers } = this.#request;
    if (routesLeft.length > 0) return true;
    const peers = this.#options.directory.peek(service);
    return peers.some((peer) => {
      return peer.state === 'ready' && peer.presence === 'live' && !triedPeers.has(peer.key);
    });
  }
}
