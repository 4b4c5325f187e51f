/**
 * Asks the peers which of their workers has a session that is not known here: it was given through another sidecar, or
 * before this one was started. First those that are known; where none has it, those that the DHT knows besides.
 *
 * Who says yes has to prove it (session-proof). Clients may send any id, so what that costs is bounded: so many peers,
 * so many questions in a second, so much time, and one in vain is not repeated for a while.
 */
import { once } from 'node:events';
import { BoundedCache } from '../../core/bounded-cache.ts';
import type { Peer } from '../../core/peers/peer.ts';
import { usableRoutes } from '../../core/peers/route-order.ts';
import { RetryBudget } from '../../core/retry.ts';
import type { PeerClient } from '../peer/client.ts';
import { type SessionKey, sessionPath, sessionProof } from '../peer/session-proof.ts';
import type { Sessions } from '../peer/sessions.ts';
import type { PeerDirectory } from './directory.ts';

export interface SessionSearchOptions {
  readonly client: PeerClient;
  readonly directory: Pick<PeerDirectory, 'search' | 'peek'>;
  readonly sessions: Pick<Sessions, 'found'>;
}

/** As many as a view holds. */
const MAX_PEERS = 64;
const MAX_PER_SECOND = 50;
/** For both rounds together: so long a request waits at most. */
const TIMEOUT_MS = 2_000;
const MAX_BYTES = 1_024;

/** A session that nobody has, such as one that the workers share, is asked for ever more rarely. */
const FIRST_PAUSE_MS = 2_000;
const LONGEST_PAUSE_MS = 300_000;
const MAX_REMEMBERED = 8_192;

interface InVain {
  readonly untilMs: number;
  readonly pauseMs: number;
}

export class SessionSearch {
  readonly #options: SessionSearchOptions;
  readonly #budget = new RetryBudget({ ratio: 0, perSecond: MAX_PER_SECOND });
  readonly #inVain = new BoundedCache<string, InVain>(MAX_REMEMBERED, () => {});
  readonly #running = new Map<string, Promise<Peer | null>>();

  constructor(options: SessionSearchOptions) {
    this.#options = options;
  }

  /** The one of these peers whose worker has one of the sessions; null = none says so. Never rejects. */
  async ownerOf(service: string, keys: readonly SessionKey[], peers: readonly Peer[]): Promise<Peer | null> {
    for (const key of keys) {
      const owner = await this.#ask(service, key, peers);
      if (owner !== null) return owner;
    }
    return null;
  }

  #ask(service: string, key: SessionKey, peers: readonly Peer[]): Promise<Peer | null> {
    const { handle } = key;
    const running = this.#running.get(handle);
    if (running !== undefined) return running;
    const nowMs = performance.now();
    const before = this.#inVain.get(handle);
    if (before !== undefined && nowMs < before.untilMs) return Promise.resolve(null);
    if (!this.#budget.withdraw(nowMs)) return Promise.resolve(null);
    const search = this.#askAll(service, key, peers).then((owner) => {
      this.#running.delete(handle);
      if (owner !== null) {
        this.#inVain.delete(handle);
        this.#options.sessions.found(key, owner);
      } else {
        const pauseMs =
          before === undefined ? FIRST_PAUSE_MS : Math.min(LONGEST_PAUSE_MS, 2 * before.pauseMs);
        this.#inVain.set(handle, { pauseMs, untilMs: performance.now() + pauseMs });
      }
      return owner;
    });
    this.#running.set(handle, search);
    return search;
  }

  async #askAll(service: string, key: SessionKey, peers: readonly Peer[]): Promise<Peer | null> {
    const { directory } = this.#options;
    const over = new AbortController();
    const late = AbortSignal.timeout(TIMEOUT_MS);
    const signal = AbortSignal.any([over.signal, late]);
    const known = new Set(peers.slice(0, MAX_PEERS));
    const askEach = (some: Iterable<Peer>): Promise<Peer> =>
      Promise.any([...some].map((peer) => this.#askOne(service, key, peer, signal)));
    try {
      return await askEach(known).catch(async () => {
        late.throwIfAborted(); // its event would never come
        await Promise.race([directory.search(service, 'everyone', () => false), once(late, 'abort')]);
        const others = directory.peek(service).filter((peer) => !known.has(peer));
        return await askEach(others.slice(0, MAX_PEERS));
      });
    } catch {
      return null;
    } finally {
      over.abort();
    }
  }

  /** Rejects where it has not. */
  async #askOne(
    service: string,
    { handle, secret }: SessionKey,
    peer: Peer,
    signal: AbortSignal,
  ): Promise<Peer> {
    const [route] = usableRoutes(peer.routes, performance.now());
    if (route === undefined) throw new Error('no route');
    const body = await this.#options.client.get({
      address: route,
      peerKey: peer.key,
      path: sessionPath(service, handle),
      signal,
      maxBytes: MAX_BYTES,
    });
    const { proof } = JSON.parse(body.toString('utf8')) as { readonly proof?: unknown };
    if (proof !== sessionProof(secret, peer.key)) throw new Error('not there');
    return peer;
  }
}
