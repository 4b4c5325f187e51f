/**
 * How often a request was sent from one queue to another, and whether it goes on doing so.
 *
 * Two ways lead out of a queue, and both are bounded: a peer turns the request away, because its queue is longer than
 * was expected; or it gives it back, because its turn comes sooner elsewhere.
 */
import type { Peer } from '../../core/peers/peer.ts';

/** Turned away so often, a request takes any queue (design, Balancing). */
const MAX_REJECTIONS = 2;

/** It was asked back from a queue, to go to this peer: not answered yet, given back, or over. */
export interface Migration {
  readonly to: Peer;
  state: 'asked' | 'back' | 'over';
}

export class Redispatch {
  /** Takes any queue. From the start if its body cannot be sent twice: being turned away would be its end. */
  acceptsAnyQueue: boolean;
  /** null = it was never asked back. */
  migration: Migration | null = null;
  #rejections = 0;

  constructor(isPatient: boolean) {
    this.acceptsAnyQueue = isPatient;
  }

  /**
   * A peer has sent the request away before its worker saw it. It has told its true state, so it stays a candidate:
   * excluding it costs p99 (three workers, 85 % busy: 1.04 → 1.29 of the ideal). After two such responses the request
   * takes any queue, and then only a full one turns it away, for good.
   */
  rejectedByQueue(peer: Peer, triedPeers: Set<string>): void {
    const isBack = this.migration?.state === 'asked';
    // Where it was moved to it should have come first: no more of that.
    if (this.migration?.to === peer) this.acceptsAnyQueue = true;
    if (this.acceptsAnyQueue && !isBack) return;
    triedPeers.delete(peer.key);
    if (this.migration !== null && isBack) {
      this.migration.state = 'back';
      return;
    }
    this.#rejections++;
    if (this.#rejections >= MAX_REJECTIONS) this.acceptsAnyQueue = true;
  }

  /** Why it was sent away, where that was this sidecar's own wish; null = it was not. */
  get reason(): string | null {
    if (this.migration?.state !== 'back') return null;
    return `taken back from its queue: ${this.migration.to.record.worker_id} serves younger requests`;
  }
}
