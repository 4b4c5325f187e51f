/**
 * All known peers by public key, and by service: which news is newer, who has left, who is doubted.
 *
 * One table for all services instead of one per service, because a peer's health and state are its own and not the
 * service's.
 */
import { absenceReason, type SkippedPeer } from './exclusion-reason.ts';
import { Peer, type ReportSource } from './peer.ts';
import type { WorkerRecord } from './record.ts';
import { ALL_KINDS, type Route, type UsableKinds } from './route.ts';
import { Tombstones } from './tombstones.ts';

export type ApplyOutcome =
  | 'added'
  | 'updated'
  /** The record that is already there. */
  | 'unchanged'
  /** Older than the present one, or of a life that was evicted a moment ago. */
  | 'stale'
  /** Of a life whose departure was announced, or of a key that is revoked. */
  | 'departed'
  /** Taken, and another peer elsewhere claims the same worker_id: said once per life of either. */
  | 'id_conflict';

export interface PeerTableOptions {
  /** How long a departed peer's tombstone stands, and how old an unheard peer may get. */
  readonly ttlMs: number;
  /** How long an evicted peer is not taken back on the word of others. */
  readonly evictionBanMs: number;
  /** All, when not given; looked at again after `routeKindsChanged`. */
  readonly routeKinds?: UsableKinds;
  /** A new record of a peer names these no more. */
  readonly onRoutesLeft?: (peer: Peer, left: readonly Route[]) => void;
}

/** How a peer that was asked did not answer. */
export interface FailedProbe {
  /** Its host said that nobody listens there: no silence, but a response. */
  readonly isRefused: boolean;
  /** What `isWitnessed` said when it was asked. */
  readonly isConfirmedByOthers: boolean;
}

/** So many services have their list kept though nobody offers them: those of the worker beside this sidecar are asked for with each request. */
const MAX_CACHED = 1_000;

export class PeerTable {
  readonly #ttlMs: number;
  readonly #evictionBanMs: number;
  readonly #routeKinds: UsableKinds;
  readonly #onRoutesLeft: NonNullable<PeerTableOptions['onRoutesLeft']>;
  readonly #peers = new Map<string, Peer>();
  readonly #byService = new Map<string, Peer[]>();
  readonly #byWorkerId = new Map<string, Set<Peer>>();
  readonly #tombstones = new Tombstones();
  readonly #bans = new Tombstones();
  /** Those of the revoked keys that were known. */
  readonly #revoked = new Tombstones();
  #revokedKeys: ReadonlySet<string> = new Set();

  constructor(options: PeerTableOptions) {
    this.#ttlMs = options.ttlMs;
    this.#evictionBanMs = options.evictionBanMs;
    this.#routeKinds = options.routeKinds ?? ALL_KINDS;
    this.#onRoutesLeft = options.onRoutesLeft ?? (() => {});
  }

  get size(): number {
    return this.#peers.size;
  }

  get(key: string): Peer | undefined {
    return this.#peers.get(key);
  }

  all(): Iterable<Peer> {
    return this.#peers.values();
  }

  /** One cached array per service: not to be changed, nor kept. */
  offering(service: string): readonly Peer[] {
    const cached = this.#byService.get(service);
    if (cached !== undefined) return cached;
    const peers: Peer[] = [];
    for (const peer of this.#peers.values()) if (peer.endpoint(service) !== undefined) peers.push(peer);
    // Names that nobody offers come from callers and have no bound.
    if (peers.length > 0 || this.#byService.size < MAX_CACHED) this.#byService.set(service, peers);
    return peers;
  }

  /** All that any of them offers. */
  services(): ReadonlySet<string> {
    return new Set([...this.#peers.values()].flatMap(({ record }) => record.services));
  }

  /** All peers that claim this worker_id; more than one is a conflict. */
  claiming(workerId: string): readonly Peer[] {
    return [...(this.#byWorkerId.get(workerId) ?? [])];
  }

  /**
   * Take over a verified record. Of those that third parties keep the later life counts; what the peer itself says is
   * of its present life, also with an earlier epoch, after a restart with a clock set back. A record counts as hearing from the peer when it is newer than the present
   * one or came from the peer itself (`probe`, `response`); only the latter ends a suspicion.
   */
  apply(record: WorkerRecord, source: ReportSource, nowMs: number): ApplyOutcome {
    const key = record.public_key;
    const isOwnWord = source !== 'record';
    if (this.#revokedKeys.has(key)) return 'departed';
    if (this.#tombstones.rejects(key, record.epoch, nowMs, isOwnWord)) return 'departed';
    const peer = this.#peers.get(key);
    if (peer === undefined) {
      // Its own word ends a ban; that of a third party does not.
      if (!isOwnWord && this.#bans.rejects(key, record.epoch, nowMs, false)) return 'stale';
      return this.#add(new Peer(record, nowMs, this.#routeKinds), nowMs);
    }
    const known = peer.record;
    if (record.epoch < peer.epoch && !isOwnWord) return 'stale';
    if (record.epoch === known.epoch && record.seq < known.seq) return 'stale';
    if (isOwnWord) this.markAlive(key, nowMs);
    if (record.epoch === known.epoch && record.seq === known.seq) return 'unchanged';
    const isNewClaim = record.epoch !== known.epoch || record.worker_id !== known.worker_id;
    this.#forgetClaim(peer);
    const before = peer.routes;
    if (peer.adopt(record, nowMs)) this.#byService.clear();
    const left = before.filter((route) => !peer.routes.includes(route));
    if (left.length > 0) this.#onRoutesLeft(peer, left);
    peer.heardAtMs = nowMs;
    return this.#claim(peer, nowMs) && isNewClaim ? 'id_conflict' : 'updated';
  }

  /** The kinds of routes that lead from here to peers are others now. */
  routeKindsChanged(): void {
    for (const peer of this.#peers.values()) peer.findRoutes();
  }

  /** The peer itself answered. */
  markAlive(key: string, nowMs: number): void {
    const peer = this.#peers.get(key);
    if (peer === undefined) return;
    peer.heardAtMs = nowMs;
    peer.presence = 'live';
    peer.suspectedAtMs = Number.NaN;
  }

  /**
   * The peer did not answer: suspect at first; the second time in a row it is gone, and barred for a while; one that
   * was shutting down has departed. Silence counts the second time only if it was witnessed: when all are silent
   * together, it is our own network that is cut, and nobody is gone.
   */
  probeFailed(
    key: string,
    nowMs: number,
    miss: FailedProbe | null = null,
  ): 'suspect' | 'evicted' | 'unknown' {
    const peer = this.#peers.get(key);
    if (peer === undefined) return 'unknown';
    if (peer.presence === 'live') {
      peer.presence = 'suspect';
      peer.suspectedAtMs = nowMs;
      return 'suspect';
    }
    if (miss !== null && !miss.isRefused && !miss.isConfirmedByOthers) return 'suspect';
    this.#remove(peer);
    const { epoch } = peer;
    const bannedUntilMs = nowMs + this.#evictionBanMs;
    if (peer.state === 'draining') {
      const untilMs = Math.max(nowMs + this.#ttlMs, bannedUntilMs);
      this.#tombstones.add(key, { epoch, sinceMs: nowMs, untilMs, peer });
    } else this.#bans.add(key, { epoch, sinceMs: nowMs, untilMs: bannedUntilMs, peer });
    return 'evicted';
  }

  /** Somebody else was heard since this one became suspect, so that its silence is its own. */
  isConfirmedByOthers(suspect: Peer): boolean {
    for (const peer of this.#peers.values()) {
      if (peer !== suspect && peer.heardAtMs >= suspect.suspectedAtMs) return true;
    }
    return false;
  }

  /** The peer said good-bye: its present life is over, whatever third parties still hold of it. */
  depart(key: string, epoch: number, nowMs: number): void {
    const peer = this.#peers.get(key);
    if (peer !== undefined) {
      if (epoch < peer.epoch) return;
      this.#remove(peer);
    }
    const barrier = { epoch, sinceMs: nowMs, untilMs: nowMs + this.#ttlMs };
    this.#tombstones.add(key, { ...barrier, peer: peer ?? null });
  }

  /** It is a member no longer; may come back by a record that holds. */
  remove(key: string): void {
    const peer = this.#peers.get(key);
    if (peer !== undefined) this.#remove(peer);
  }

  /**
   * These keys, and no others, are members no longer: nothing that is said of them is believed. Returns those that
   * were known and are dropped by it.
   */
  revoke(keys: ReadonlySet<string>, nowMs: number): readonly Peer[] {
    const former = this.#revokedKeys;
    this.#revokedKeys = keys;
    for (const key of former) if (!keys.has(key)) this.#revoked.remove(key);
    const dropped: Peer[] = [];
    for (const key of keys) {
      const peer = this.#peers.get(key) ?? this.#tombstones.peer(key) ?? this.#bans.peer(key);
      if (former.has(key) || peer === null) continue;
      this.remove(key);
      this.#tombstones.remove(key);
      this.#bans.remove(key);
      const untilMs = Number.POSITIVE_INFINITY;
      this.#revoked.add(key, { epoch: peer.epoch, sinceMs: nowMs, untilMs, peer });
      dropped.push(peer);
    }
    return dropped;
  }

  /** As it was when its key was revoked; null = not known then. */
  revokedPeer(key: string): Peer | null {
    return this.#revoked.peer(key);
  }

  /** The peer answered 421: it does not offer the service, until a newer record says so again. */
  dropService(key: string, service: string): void {
    if (this.#peers.get(key)?.drop(service)) this.#byService.delete(service);
  }

  isBanned(key: string, nowMs: number): boolean {
    return this.#revokedKeys.has(key) || this.#bans.has(key, nowMs);
  }

  /** Who offered a service until a moment ago: so many of them at most. */
  absent(service: string, nowMs: number, limit = Number.POSITIVE_INFINITY): readonly SkippedPeer[] {
    const left = this.#tombstones.offered(service, nowMs, limit);
    const gone = this.#bans.offered(service, nowMs, limit - left.length);
    const revoked = this.#revoked.offered(service, nowMs, limit - left.length - gone.length);
    const told = left.map((one) => absenceReason(one, 'left', nowMs));
    told.push(...gone.map((one) => absenceReason(one, 'silent', nowMs)));
    told.push(...revoked.map((one) => absenceReason(one, 'revoked', nowMs)));
    return told.filter((one) => one !== null);
  }

  /**
   * Forget what has run out. An unheard peer goes only when for each of its services somebody was heard
   * within the TTL: when all news stops, the last known view stays.
   */
  sweep(nowMs: number): void {
    this.#tombstones.sweep(nowMs);
    this.#bans.sweep(nowMs);
    const covered = new Set<string>();
    for (const peer of this.#peers.values()) {
      if (nowMs - peer.heardAtMs > this.#ttlMs) continue;
      for (const endpoint of peer.endpoints()) covered.add(endpoint.service);
    }
    for (const peer of this.#peers.values()) {
      if (nowMs - peer.heardAtMs <= this.#ttlMs) continue;
      let isCovered = true;
      for (const { service, outstanding } of peer.endpoints()) {
        if (outstanding > 0 || !covered.has(service)) isCovered = false;
      }
      if (isCovered) this.#remove(peer);
    }
  }

  #add(peer: Peer, nowMs: number): ApplyOutcome {
    this.#bans.remove(peer.key);
    this.#tombstones.remove(peer.key);
    this.#peers.set(peer.key, peer);
    for (const service of peer.record.services) this.#byService.delete(service);
    return this.#claim(peer, nowMs) ? 'id_conflict' : 'added';
  }

  #remove(peer: Peer): void {
    this.#peers.delete(peer.key);
    this.#forgetClaim(peer);
    for (const { service } of peer.endpoints()) this.#byService.delete(service);
  }

  /**
   * Enter the peer under its worker_id; true when another one elsewhere has it too. One at the same address
   * with an older epoch is no conflict but the same worker, restarted without its identity: it is dropped.
   */
  #claim(peer: Peer, nowMs: number): boolean {
    const { worker_id: id, vpn_ip: ip, inbound_port: port, tunnel_url: url } = peer.record;
    const claiming = this.#byWorkerId.get(id) ?? new Set();
    this.#byWorkerId.set(id, claiming);
    for (const other of [...claiming]) {
      const { record } = other;
      const isSamePlace =
        ip === null
          ? url !== null && record.tunnel_url === url
          : record.vpn_ip === ip && record.inbound_port === port;
      if (isSamePlace && other.epoch < peer.epoch) this.depart(other.key, other.epoch, nowMs);
    }
    claiming.add(peer);
    this.#byWorkerId.set(id, claiming);
    return claiming.size > 1;
  }

  #forgetClaim(peer: Peer): void {
    const claiming = this.#byWorkerId.get(peer.record.worker_id);
    if (claiming?.delete(peer) && claiming.size === 0) this.#byWorkerId.delete(peer.record.worker_id);
  }
}
