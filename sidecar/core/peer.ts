/**
 * One peer: its record, its routes with their health, its services, and when it was last heard.
 *
 * One mutable object per peer for its whole stay in the table, instead of a new one per record: health,
 * outstanding counts and route states survive a refresh. It must not know which record is newer
 * (core/peer-table) nor who is better (core/candidates).
 */
import type { Endpoint } from './endpoint.ts';
import { PeerHealth, type RouteHealth } from './health.ts';
import type { WorkerRecord, WorkerState } from './record.ts';

export type RouteKind = 'local' | 'vpn' | 'p2p' | 'tunnel';

export interface Route {
  readonly kind: 'vpn' | 'p2p' | 'tunnel';
  readonly scheme: 'http' | 'https';
  readonly host: string;
  readonly port: number;
  /** '' or the path of a tunnel URL, without a trailing slash. */
  readonly basePath: string;
  readonly health: RouteHealth;
}

export type Presence = 'live' | 'suspect';

export class Peer {
  /** Public key, 64 hex digits. */
  readonly key: string;
  record: WorkerRecord;
  /** Newest known state, from the record or from a report. */
  state: WorkerState;
  /** Start epoch of the peer's present life, from the record or from a report; never goes back. */
  epoch: number;
  /** Monotonic ms at which it was last heard from directly. */
  heardAtMs: number;
  presence: Presence = 'live';
  readonly health: PeerHealth = new PeerHealth();

  constructor(record: WorkerRecord, nowMs: number) {
    this.key = record.public_key;
    this.record = record;
    this.state = record.state;
    this.epoch = record.epoch;
    this.heardAtMs = nowMs;
  }

  /** In the order of preference: vpn, p2p, tunnel. */
  get routes(): readonly Route[] {
    return [];
  }

  endpoint(_service: string): Endpoint | undefined {
    return undefined;
  }

  endpoints(): Iterable<Endpoint> {
    return [];
  }
}
