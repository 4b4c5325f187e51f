/**
 * The JSON body of `GET /state`: all services of one peer, as the one who asks sees them.
 *
 * Apart from the ORCA header, which speaks of one service and costs every response its bytes: a probe wants all at
 * once.
 */
import { isObject } from '../json.ts';
import type { LoadReport } from './load-report.ts';
import { RECORD_LIMITS, WORKER_STATES } from './record.ts';

const MAX_REASON_CHARS = 240;

/**
 * The reports of one peer: one epoch, sequence number and state for all. `reason`: why that state; '' = none.
 * `revision`: of its record; null = not told.
 */
export function encodePeerState(
  reports: readonly LoadReport[],
  reason = '',
  revision: number | null = null,
): Record<string, unknown> {
  const services: Record<string, unknown> = {};
  for (const r of reports) {
    services[r.service] = {
      load: r.load,
      in_flight: r.inFlight,
      queued: r.queued,
      concurrency: r.concurrency,
      service_ms: r.serviceMs,
      mine: r.mine,
      sharers: r.activeCallers,
      oldest_ms: r.oldestMs,
      ...(r.fullAt === null ? {} : { full_at: r.fullAt, full_for_ms: r.fullForMs }),
    };
  }
  const first = reports[0];
  const { epoch, seq, state } = first ?? { epoch: 0, seq: 0, state: 'ready' };
  return { epoch, seq, state, reason, ...(revision === null ? {} : { revision }), services };
}

/** The revision of the peer's record; null = not told. Never throws. */
export function decodeRevision(json: unknown): number | null {
  return isObject(json) ? count(json.revision, Number.MAX_SAFE_INTEGER) : null;
}

/** Why the peer is in its state, as it may be shown; '' = not told. Never throws. */
export function decodeReason(json: unknown): string {
  if (!isObject(json) || typeof json.reason !== 'string') return '';
  return json.reason.slice(0, MAX_REASON_CHARS).replace(/[^\x20-\x7e]/g, '?');
}

/** The reports in a parsed body; null when it is not one. Never throws; every number is finite and bounded. */
export function decodePeerState(json: unknown): LoadReport[] | null {
  if (!isObject(json) || !isObject(json.services)) return null;
  const state = WORKER_STATES.find((name) => name === json.state);
  const epoch = count(json.epoch, RECORD_LIMITS.epochMs);
  const seq = count(json.seq, Number.MAX_SAFE_INTEGER);
  if (state === undefined || epoch === null || seq === null) return null;
  const entries = Object.entries(json.services);
  if (entries.length > RECORD_LIMITS.services) return null;
  const reports: LoadReport[] = [];
  for (const [service, figures] of entries) {
    if (!isObject(figures)) return null;
    const load = amount(figures.load, 1);
    const inFlight = count(figures.in_flight, RECORD_LIMITS.requests);
    const queued = count(figures.queued, RECORD_LIMITS.requests);
    const concurrency = count(figures.concurrency, RECORD_LIMITS.requests);
    const mine = count(figures.mine, RECORD_LIMITS.requests);
    const activeCallers = count(figures.sharers, RECORD_LIMITS.requests);
    const serviceMs = amount(figures.service_ms, RECORD_LIMITS.serviceMs);
    if (load === null || inFlight === null || queued === null || concurrency === null) return null;
    if (mine === null || activeCallers === null || (serviceMs === null && figures.service_ms !== null))
      return null;
    reports.push({
      epoch,
      seq,
      state,
      load,
      service,
      inFlight,
      queued,
      concurrency,
      serviceMs,
      mine,
      activeCallers,
      oldestMs: amount(figures.oldest_ms, RECORD_LIMITS.serviceMs),
      fullAt: count(figures.full_at, RECORD_LIMITS.requests),
      fullForMs: amount(figures.full_for_ms, RECORD_LIMITS.serviceMs) ?? 0,
    });
  }
  return reports;
}

function amount(value: unknown, max: number): number | null {
  return typeof value === 'number' && value >= 0 && value <= max ? value : null;
}

function count(value: unknown, max: number): number | null {
  return Number.isSafeInteger(value) ? amount(value, max) : null;
}
