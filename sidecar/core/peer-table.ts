/**
 * All known peers by public key, and by service: which news is newer, who has left, who is doubted.
 *
 * One table for all services instead of one per service, because a peer's health and state are its own and
 * not the service's. It must not know how news arrives (mesh) nor who is chosen (core/choose).
 */
import type { ReportSource } from './endpoint.ts';
import type { Peer } from './peer.ts';
import type { WorkerRecord } from './record.ts';

export type ApplyOutcome = 'added' | 'updated' | 'unchanged' | 'stale' | 'departed' | 'id_conflict';

export interface PeerTableOptions {
  /** How long a departed peer's tombstone stands, and how old an unheard peer may get. */
  readonly ttlMs: number;
  /** How long an evicted peer is not taken back from lookups. */
  readonly evictionBanMs: number;
}

export class PeerTable {
  constructor(_options: PeerTableOptions) {}

  apply(_record: WorkerRecord, _source: ReportSource, _nowMs: number): ApplyOutcome {
    return 'stale';
  }
  heard(_key: string, _nowMs: number): void {}
  missed(_key: string, _nowMs: number): 'suspect' | 'evicted' | 'unknown' {
    return 'unknown';
  }
  depart(_key: string, _epoch: number, _nowMs: number): void {}
  /** The peer answered 421: forget that it offers the service, until a newer record says so. */
  dropService(_key: string, _service: string): void {}
  isBanned(_key: string, _nowMs: number): boolean {
    return false;
  }
  get(_key: string): Peer | undefined {
    return undefined;
  }
  all(): Iterable<Peer> {
    return [] as Peer[];
  }
  /** Cached array per service: do not keep it across ticks, do not change it. */
  offering(_service: string): readonly Peer[] {
    return [];
  }
  /** Other peers that claim this worker_id, when there is more than one. */
  sharingId(_workerId: string): readonly Peer[] {
    return [];
  }
  sweep(_nowMs: number): void {}
  get size(): number {
    return 0;
  }
}
