/**
 * Watches requests that are out and unanswered: a path that was cut gives no sign, and they would wait for minutes.
 *
 * A model may think for minutes too, so no time limit tells the two apart. The peer's sidecar does: it answers at once,
 * whatever its worker is at. Who has waited for a while has it asked over the same route, one question for all who wait
 * there. Without a response the request is lost on that path: it goes elsewhere if it may be sent twice, or if the peer
 * promises, by another route, that the first copy will never be delivered.
 */
import { LinkedList, ListMember } from '../../core/linked-list.ts';
import type { Peer } from '../../core/peers/peer.ts';
import type { Route } from '../../core/peers/route.ts';
import type { AttemptWatch, WaitingAttempt } from '../../http/attempt.ts';
import type { CancelToken } from '../peer/recall.ts';

export interface StallWatchOptions {
  /** Whether the peer answers over this route now. Never rejects. */
  responds(peer: Peer, route: Route): Promise<boolean>;
  /** Has the peer promise by one of these routes not to deliver a request. Never rejects. */
  cancelQueued(peer: Peer, routes: readonly Route[], token: CancelToken): Promise<boolean>;
}

export interface WatchedRequest {
  readonly peer: Peer;
  readonly route: Route;
  /** The other routes that lead there. */
  readonly others: readonly Route[];
  /** It may be sent again, and there is somewhere else to send it. Asked when the path has turned out dead. */
  mayGoElsewhere(): boolean;
  /** Has the peer promise not to deliver it; false if it was delivered, or nobody can be asked. Never rejects. */
  cancelQueued(): Promise<boolean>;
}

/** Longer than nearly all responses of quick services take, shorter than anybody notices. */
const FIRST_LOOK_MS = 100;

/** So long after the start, without a sign, the other routes are asked too: whether to go there is soon the question. */
const ASK_OTHERS_MS = 300;
const NEXT_LOOK_MS = 1_000;

/** A path that is dead for so long is given up also by those who have nowhere else to go. */
const GIVE_UP_MS = 15_000;
const TICK_MS = 25;

export class StallWatch {
  readonly #options: StallWatchOptions;
  readonly #waiting = new LinkedList<Watched>();
  #timer: NodeJS.Timeout | null = null;

  constructor(options: StallWatchOptions) {
    this.#options = options;
  }

  cancelQueued(peer: Peer, routes: readonly Route[], token: CancelToken): Promise<boolean> {
    return this.#options.cancelQueued(peer, routes, token);
  }

  /** For one attempt. */
  watch(request: WatchedRequest): AttemptWatch {
    return new Watched(request, this);
  }

  /** Whether the peer answers over this route now. Never rejects. */
  responds(peer: Peer, route: Route): Promise<boolean> {
    return this.#options.responds(peer, route);
  }

  /** Of a watched request: it is being sent. */
  began(watched: Watched): void {
    this.#waiting.add(watched);
    if (this.#timer === null) {
      this.#timer = setInterval(() => this.#tick(), TICK_MS);
      this.#timer.unref();
    }
  }

  /** Of a watched request: nobody waits for it any more. */
  ended(watched: Watched): void {
    this.#waiting.remove(watched);
  }

  #tick(): void {
    if (this.#waiting.size === 0 && this.#timer !== null) {
      clearInterval(this.#timer);
      this.#timer = null;
      return;
    }
    const nowMs = performance.now();
    for (const watched of this.#waiting.toArray()) if (watched.isDue(nowMs)) void watched.look(nowMs);
  }
}

class Watched extends ListMember implements AttemptWatch {
  readonly #request: WatchedRequest;
  readonly #watch: StallWatch;
  #attempt: WaitingAttempt | null = null;
  #isOver = false;
  #beganMs = 0;
  #areOthersAsked = false;
  /** Monotonic ms at which it was sent, or the path last gave a sign of life; Infinity = not sent yet. */
  #signMs = Number.POSITIVE_INFINITY;
  #patienceMs = FIRST_LOOK_MS;
  #deadSinceMs = Number.NaN;
  #isLooking = false;

  constructor(request: WatchedRequest, watch: StallWatch) {
    super();
    this.#request = request;
    this.#watch = watch;
  }

  begins(attempt: WaitingAttempt): void {
    this.#attempt = attempt;
    this.#beganMs = performance.now();
    this.#watch.began(this);
  }

  awaitsResponse(): void {
    this.#signMs = performance.now();
  }

  ends(): void {
    this.#isOver = true;
    this.#watch.ended(this);
  }

  /** A look at the path is due; while a connection is being made, its own time limit does that. */
  isDue(nowMs: number): boolean {
    const { heardAtMs } = this.#request.route.health;
    if (!this.#areOthersAsked && nowMs - Math.max(this.#beganMs, heardAtMs) >= ASK_OTHERS_MS)
      this.#askOthers();
    if (this.#isLooking) return false;
    return nowMs - Math.max(this.#signMs, heardAtMs) >= this.#patienceMs;
  }

  /** Never rejects. */
  async look(nowMs: number): Promise<void> {
    const { peer, route } = this.#request;
    this.#isLooking = true;
    // Also an answer to another request is one.
    const isAlive = (await this.#watch.responds(peer, route)) || route.health.heardAtMs >= nowMs;
    if (isAlive) this.#deadSinceMs = Number.NaN;
    else await this.#isDead(nowMs);
    this.#patienceMs = NEXT_LOOK_MS;
    this.#signMs = performance.now();
    this.#isLooking = false;
  }

  #askOthers(): void {
    this.#areOthersAsked = true;
    const { peer, others } = this.#request;
    for (const route of others) void this.#watch.responds(peer, route);
  }

  async #isDead(sinceMs: number): Promise<void> {
    if (this.#isOver) return;
    const { kind } = this.#request.route;
    const detail = `no response, and its sidecar does not answer by ${kind} any more: the path is cut, or it hangs`;
    if (this.#request.mayGoElsewhere()) {
      this.#attempt?.pathLost('sent', detail);
    } else if (await this.#request.cancelQueued()) {
      if (!this.#isOver) this.#attempt?.pathLost('not_sent', `${detail}; cancelled before it was delivered`);
    } else if (!this.#isOver) {
      if (Number.isNaN(this.#deadSinceMs)) this.#deadSinceMs = sinceMs;
      if (performance.now() - this.#deadSinceMs >= GIVE_UP_MS) this.#attempt?.pathLost('sent', detail);
    }
  }
}
