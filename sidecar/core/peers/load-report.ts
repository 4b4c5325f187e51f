/**
 * A report: what a peer says of one of its services now, as an ORCA header, and its way into the table.
 *
 * ORCA's `endpoint-load-metrics` (TEXT) instead of an own header, since it is the field's standard and a worker may
 * already send it.
 */
import type { Peer, ReportSource } from './peer.ts';
import { RECORD_LIMITS, WORKER_STATES, type WorkerState } from './record.ts';

export interface LoadReport {
  epoch: number;
  /** The same counter as that of the records: it orders all that one life of a peer says. */
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
  activeCallers: number;
  /** How long the first in the queue is under way; null = nobody waits, or it was not said. */
  oldestMs: number | null;
}

/** What was in a header: absent = not said. */
export type ReportPatch = Partial<LoadReport>;

/** Longer values are not read: a hostile peer may not make a response cost much. */
const MAX_ORCA_CHARS = 4096;

/** The metrics that are read, by their places in `values`. */
const NAMES = [
  'application_utilization',
  'cpu_utilization',
  'kv_cache_usage_perc',
  'in_flight',
  'num_requests_running',
  'queued',
  'num_requests_waiting',
  'concurrency',
  'mine',
  'sharers',
  'service_ms',
  'oldest_ms',
  'sidecar_state',
  'sidecar_epoch',
  'sidecar_seq',
] as const;
const PLACES: ReadonlyMap<string, number> = new Map(NAMES.map((name, i) => [name, i]));
const NAMED = 'named_metrics.';

/** What the header that is being read says; NaN = nothing. */
const values = new Float64Array(NAMES.length);

/** Where each count is found: ours first, then vLLM's. Each is bounded. */
const COUNTS = (
  [
    ['inFlight', 'in_flight', 'num_requests_running'],
    ['queued', 'queued', 'num_requests_waiting'],
    ['concurrency', 'concurrency', 'concurrency'],
    ['mine', 'mine', 'mine'],
    ['activeCallers', 'sharers', 'sharers'],
  ] as const
).map(([field, ours, foreign]) => ({ field, ours: NAMES.indexOf(ours), foreign: NAMES.indexOf(foreign) }));

/**
 * Value of the header `endpoint-load-metrics`, TEXT form (xds `OrcaLoadReport`, as Envoy and vLLM write it).
 * The service is not in it: the reader asked for one.
 */
export function encodeOrca(r: LoadReport): string {
  let text =
    `TEXT application_utilization=${round(r.load, 1000)},named_metrics.in_flight=${r.inFlight}` +
    `,named_metrics.queued=${r.queued},named_metrics.concurrency=${r.concurrency}` +
    `,named_metrics.mine=${r.mine},named_metrics.sharers=${r.activeCallers}`;
  if (r.oldestMs !== null) text += `,named_metrics.oldest_ms=${Math.round(r.oldestMs)}`;
  if (r.serviceMs !== null) text += `,named_metrics.service_ms=${round(r.serviceMs, 100)}`;
  return (
    `${text},named_metrics.sidecar_state=${WORKER_STATES.indexOf(r.state)}` +
    `,named_metrics.sidecar_epoch=${r.epoch},named_metrics.sidecar_seq=${r.seq}`
  );
}

/**
 * What a header value says; null when nothing in it is usable. Never throws; every number is finite and
 * bounded. Takes TEXT and JSON, with or without that word in front. Load is `application_utilization`, or
 * else the higher of `cpu_utilization` and vLLM's `kv_cache_usage_perc`.
 */
export function parseOrca(value: string): ReportPatch | null {
  if (value.length > MAX_ORCA_CHARS) return null;
  values.fill(Number.NaN);
  if (/^\s*(?:JSON\s*)?\{/.test(value)) readJson(value.replace('JSON', ''));
  else readText(value, textFrom(value));
  const patch: ReportPatch = {};
  const utilization = said('application_utilization');
  const load = utilization ?? Math.max(said('cpu_utilization') ?? -1, said('kv_cache_usage_perc') ?? -1);
  if (load >= 0) patch.load = Math.min(1, load);
  for (const { field, ours, foreign } of COUNTS) {
    const count = Number.isNaN(values[ours]) ? values[foreign]! : values[ours]!;
    if (!Number.isNaN(count)) patch[field] = bounded(count, RECORD_LIMITS.requests);
  }
  const serviceMs = said('service_ms');
  if (serviceMs !== undefined) patch.serviceMs = bounded(serviceMs, RECORD_LIMITS.serviceMs);
  const oldestMs = said('oldest_ms');
  if (oldestMs !== undefined) patch.oldestMs = bounded(oldestMs, RECORD_LIMITS.serviceMs);
  const state = WORKER_STATES[said('sidecar_state') ?? -1];
  if (state !== undefined) patch.state = state;
  const epoch = said('sidecar_epoch');
  const seq = said('sidecar_seq');
  if (isCount(epoch) && isCount(seq)) {
    patch.epoch = epoch;
    patch.seq = seq;
    // A sidecar that says no service time does not know it, and one without a waiting request has none.
    patch.serviceMs ??= null;
    patch.oldestMs ??= null;
  }
  for (const _ in patch) return patch;
  return null;
}

function said(name: (typeof NAMES)[number]): number | undefined {
  const value = values[PLACES.get(name) ?? -1];
  return value === undefined || Number.isNaN(value) ? undefined : value;
}

/** Behind the word TEXT, if it is there. */
function textFrom(value: string): number {
  let at = 0;
  while (isSpace(value.charCodeAt(at))) at += 1;
  return value.startsWith('TEXT', at) && isSpace(value.charCodeAt(at + 4)) ? at + 5 : at;
}

/**
 * `name=number,…`; a part that is not of this form is skipped. By its characters: this is read with each response, and
 * what `split` and regular expressions leave behind is collected at the cost of the requests.
 */
function readText(text: string, from: number): void {
  let begin = from;
  let equals = -1;
  for (let at = from; at <= text.length; at += 1) {
    const unit = at === text.length ? COMMA : text.charCodeAt(at);
    if (unit === EQUALS && equals === -1) equals = at;
    if (unit !== COMMA) continue;
    if (equals > begin) put(text.slice(begin, equals).trim(), numberIn(text, equals + 1, at));
    begin = at + 1;
    equals = -1;
  }
}

function readJson(text: string): void {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return;
  }
  if (typeof json !== 'object' || json === null) return;
  for (const [name, value] of Object.entries(json)) {
    if (typeof value === 'number') put(name, value);
    else if (name === 'named_metrics' && typeof value === 'object' && value !== null) {
      for (const [named, number] of Object.entries(value)) if (typeof number === 'number') put(named, number);
    }
  }
}

function put(name: string, value: number): void {
  if (!Number.isFinite(value)) return;
  const place = PLACES.get(name.startsWith(NAMED) ? name.slice(NAMED.length) : name);
  if (place !== undefined) values[place] = value;
}

/** Of so many digits a sum is exact. */
const EXACT_DIGITS = 15;
const COMMA = 0x2c;
const EQUALS = 0x3d;

/** NaN when `text[from, to)` is no decimal number. */
function numberIn(text: string, from: number, to: number): number {
  let digits = 0;
  let scale = 0;
  let sum = 0;
  for (let at = from; at < to; at += 1) {
    const digit = text.charCodeAt(at) - 0x30;
    if (digit === -2 && scale === 0 && digits > 0) scale = 1;
    else if (digit < 0 || digit > 9 || ++digits > EXACT_DIGITS) return toNumber(text.slice(from, to));
    else {
      sum = sum * 10 + digit;
      if (scale > 0) scale *= 10;
    }
  }
  if (digits === 0) return Number.NaN;
  // Both are exact, so the quotient is the number that the digits mean.
  return scale > 1 ? sum / scale : sum;
}

function toNumber(text: string): number {
  const trimmed = text.trim();
  return /^[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?$/i.test(trimmed) ? Number(trimmed) : Number.NaN;
}

function isSpace(unit: number): boolean {
  return unit === 0x20 || unit === 0x09;
}

function isCount(value: number | undefined): value is number {
  return Number.isSafeInteger(value) && (value ?? -1) >= 0;
}

function bounded(value: number, max: number): number {
  return Math.min(max, Math.max(0, value));
}

function round(value: number, factor: number): number {
  return Math.round(value * factor) / factor;
}

export type ReportOutcome =
  | 'applied'
  /** Older than what is known. */
  | 'stale'
  /** The peer has started anew: applied, and its record should be fetched again. */
  | 'restarted'
  /** The peer is not known to offer the service. */
  | 'not_offered';

/**
 * Take over what a peer said of one service. A report of an earlier life, or older than the last one of this
 * service, changes nothing; what a patch does not say stays as it is.
 */
export function applyReport(
  peer: Peer,
  report: ReportPatch & { service: string },
  source: ReportSource,
  nowMs: number,
): ReportOutcome {
  const { epoch, seq } = report;
  // A late response of a former life; but a probe was answered just now, by whoever stands there.
  if (epoch !== undefined && epoch < peer.epoch && source !== 'probe') return 'stale';
  const hasRestarted = epoch !== undefined && epoch !== peer.epoch;
  if (hasRestarted) peer.startAnew(epoch, nowMs);
  const endpoint = peer.endpoint(report.service);
  if (endpoint !== undefined && seq !== undefined && seq < endpoint.reportSeq) return 'stale';
  if (report.state !== undefined && seq !== undefined) peer.reportState(report.state, seq, nowMs);
  if (endpoint === undefined) return hasRestarted ? 'restarted' : 'not_offered';
  if (seq !== undefined) endpoint.reportSeq = seq;
  if (report.load !== undefined) endpoint.load = report.load;
  if (report.inFlight !== undefined) endpoint.inFlight = report.inFlight;
  if (report.queued !== undefined) endpoint.queued = report.queued;
  if (report.concurrency !== undefined) endpoint.concurrency = report.concurrency;
  if (report.serviceMs !== undefined) endpoint.serviceMs = report.serviceMs ?? Number.NaN;
  if (report.oldestMs !== undefined) endpoint.oldestMs = report.oldestMs ?? Number.NaN;
  if (report.mine !== undefined) endpoint.mineReported = report.mine;
  if (report.activeCallers !== undefined) endpoint.activeCallers = Math.max(1, report.activeCallers);
  endpoint.reportedAtMs = nowMs;
  endpoint.reportSource = source;
  return hasRestarted ? 'restarted' : 'applied';
}
