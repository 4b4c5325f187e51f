/**
 * A report: what a peer says of one of its services now, as an ORCA header and as JSON.
 *
 * ORCA's `endpoint-load-metrics` (TEXT) instead of an own header, since it is the field's standard and a
 * worker may already send it. Parsing never throws and bounds every number. It must not know HTTP.
 */
import type { ReportSource } from './endpoint.ts';
import type { Peer } from './peer.ts';
import type { WorkerState } from './record.ts';

export interface PeerReport {
  epoch: number;
  seq: number;
  state: WorkerState;
  /** 0..1. */
  load: number;
  service: string;
  inFlight: number;
  queued: number;
  /** 0 = not limited. */
  concurrency: number;
  serviceMs: number | null;
  /** The reader's own share of inFlight + queued. */
  mine: number;
  sharers: number;
}

/** What was in a header: absent = not said. */
export type ReportPatch = Partial<PeerReport>;

/** Value of the header `endpoint-load-metrics`, TEXT form. The service is not in it: the reader knows it. */
export function encodeOrca(_r: PeerReport): string {
  return '';
}

/** null when nothing in it is usable. Takes TEXT and JSON, also of foreign senders. */
export function parseOrca(_value: string): ReportPatch | null {
  return null;
}

/** Body of `GET /state`: all services of one peer, as the one who asks sees them. */
export function encodeState(_reports: readonly PeerReport[]): unknown {
  return {};
}

/** The reports in a parsed body of `GET /state`; null when it is not one. Never throws. */
export function decodeState(_json: unknown): PeerReport[] | null {
  return null;
}

export type ReportOutcome =
  | 'applied'
  /** Older than what is known. */
  | 'stale'
  /** The peer has started anew: applied, and its record should be fetched again. */
  | 'restarted'
  /** The peer is not known to offer the service. */
  | 'not_offered';

export function applyReport(
  _peer: Peer,
  _report: ReportPatch & { service: string },
  _source: ReportSource,
  _nowMs: number,
): ReportOutcome {
  return 'stale';
}
