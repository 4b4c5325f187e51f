/**
 * Which worker has which session, as the answers have shown: those of the worker here, which peers may ask for, and those
 * that requests from here were given elsewhere.
 *
 * Both are bounded, apart from each other: what others give cannot drive out what the own worker gave. What is lost for
 * want of room is found again by asking. No id is kept, only a hash of it.
 */
import { BoundedCache } from '../../core/bounded-cache.ts';
import type { RawFields } from '../../core/http/message.ts';
import {
  type Answered,
  type Asked,
  DEFAULT_CARRIERS,
  type SessionCarrier,
  type SessionCarriers,
  sessionIdsEnded,
  sessionIdsGiven,
  sessionIdsIn,
} from '../../core/http/session-carrier.ts';
import type { Peer } from '../../core/peers/peer.ts';
import { type SessionKey, sessionKey, sessionProof } from './session-proof.ts';

/** Whose a session is. */
export interface SessionOwner {
  /** Public key of the sidecar. */
  readonly key: string;
  readonly workerId: string;
}

interface OwnedSession {
  readonly owner: SessionOwner;
  readonly secret: string;
  /** URL of the instance of the worker here that has it. */
  readonly place?: string;
}

/** Some 300 bytes each; those used last are kept. */
const MAX_SESSIONS = 32_768;

/** Of different members that offer one service. */
const MAX_CARRIERS = 16;

export class Sessions {
  readonly own: SessionOwner;
  /** What the configuration says of services, here and where they are called. */
  readonly #configured: ReadonlyMap<string, SessionCarriers>;
  readonly #ofOwn = new BoundedCache<string, OwnedSession>(MAX_SESSIONS, () => {});
  readonly #ofOthers = new BoundedCache<string, OwnedSession>(MAX_SESSIONS, () => {});
  /** By what is the list of the peers of one service, and another one once they change. */
  readonly #carriers = new WeakMap<readonly Peer[], SessionCarriers>();

  constructor(own: SessionOwner, configured: ReadonlyMap<string, SessionCarriers>) {
    this.own = own;
    this.#configured = configured;
  }

  /** The ids of sessions that a request for a service carries, by what any of these peers says. */
  idsIn(service: string, peers: readonly Peer[], fields: RawFields): readonly string[] {
    return sessionIdsIn(fields, this.#configured.get(service) ?? this.#carriersOf(service, peers));
  }

  isConfigured(service: string): boolean {
    return this.#configured.has(service);
  }

  find(key: SessionKey): SessionOwner | null {
    return (this.#ofOwn.get(key.handle) ?? this.#ofOthers.get(key.handle))?.owner ?? null;
  }

  /** The worker here has answered, by its instance at this URL. What another gave stays there, unless asked with it. */
  answeredHere(service: string, asked: Asked, answer: Answered, place: string): void {
    const carriers = this.#configured.get(service) ?? DEFAULT_CARRIERS;
    for (const id of sessionIdsGiven(answer, carriers)) {
      const { handle, secret } = sessionKey(service, id);
      const known = this.#ofOwn.get(handle);
      if (known === undefined || (known.place !== place && sessionIdsIn(asked.fields, carriers).includes(id)))
        this.#ofOwn.set(handle, { owner: this.own, secret, place });
    }
    for (const id of sessionIdsEnded(asked, answer, carriers))
      this.#ofOwn.delete(sessionKey(service, id).handle);
  }

  /**
   * A peer has answered. What another worker gave before stays its own, unless the request came with that very session.
   */
  answeredBy(peer: Peer, service: string, asked: Asked, answer: Answered): void {
    const carriers = this.#configured.get(service) ?? peer.endpoint(service)?.sessions ?? DEFAULT_CARRIERS;
    for (const id of sessionIdsGiven(answer, carriers)) {
      const key = sessionKey(service, id);
      const owner = this.find(key);
      if (owner?.key === peer.key) continue;
      if (owner === null || sessionIdsIn(asked.fields, carriers).includes(id)) this.found(key, peer);
    }
    for (const id of sessionIdsEnded(asked, answer, carriers)) {
      const { handle } = sessionKey(service, id);
      if (this.#ofOthers.get(handle)?.owner.key === peer.key) this.#ofOthers.delete(handle);
    }
  }

  /** The request comes with a session that the worker here has given. */
  isOfOwn(service: string, asked: RawFields): boolean {
    const ids = sessionIdsIn(asked, this.#configured.get(service) ?? DEFAULT_CARRIERS);
    return ids.some((id) => this.#ofOwn.get(sessionKey(service, id).handle) !== undefined);
  }

  /** URL of the instance here that gave the session with which the request comes; null = none did. */
  placeOf(service: string, asked: RawFields): string | null {
    for (const id of sessionIdsIn(asked, this.#configured.get(service) ?? DEFAULT_CARRIERS)) {
      const place = this.#ofOwn.get(sessionKey(service, id).handle)?.place;
      if (place !== undefined) return place;
    }
    return null;
  }

  /** It is at this peer. */
  found({ handle, secret }: SessionKey, peer: Peer): void {
    const owner = { key: peer.key, workerId: peer.record.worker_id };
    this.#ofOwn.delete(handle);
    this.#ofOthers.set(handle, { owner, secret });
  }

  /** Its worker is gone. */
  forget({ handle }: SessionKey): void {
    this.#ofOthers.delete(handle);
  }

  /** For a peer that asks: the worker here has it. null = it has not. */
  proofOf(handle: string): string | null {
    const session = this.#ofOwn.get(handle);
    return session === undefined ? null : sessionProof(session.secret, this.own.key);
  }

  #carriersOf(service: string, peers: readonly Peer[]): SessionCarriers {
    if (peers.length === 0) return DEFAULT_CARRIERS;
    const known = this.#carriers.get(peers);
    if (known !== undefined) return known;
    const all = new Map<string, SessionCarrier>();
    for (const peer of peers) {
      for (const carrier of peer.endpoint(service)?.sessions ?? DEFAULT_CARRIERS)
        if (all.size < MAX_CARRIERS) all.set(`${carrier.kind}=${carrier.name}`, carrier);
    }
    const carriers = [...all.values()];
    this.#carriers.set(peers, carriers);
    return carriers;
  }
}
