/**
 * A report: what a peer says of one of its services now, as a header of its responses, and its way into the table.
 *
 * Numbers at fixed places instead of ORCA's named ones, in which workers speak: between sidecars it goes with each
 * response, and the names made it 330 characters and a tenth of the time of the one who reads it.
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
  /** How long the first in the queue is under way; null = nobody waits. */
  oldestMs: number | null;
  /** Its worker has refused a request while it had so many others; null = it has not, or that is over. */
  fullAt: number | null;
  /** How long that holds, in ms. */
  fullForMs: number;
}

/** What is taken over: absent = not said. */
export type ReportPatch = Partial<LoadReport>;

/** Fourteen numbers of at most 16 characters, most of them short. */
const MAX_CHARS = 200;

/** Nothing stands where a number could: it is not known. */
const NOT_KNOWN = -1;

/** Not even that. */
const BAD = -2;

/** Of the service that was asked for. */
export type ReceivedReport = Omit<LoadReport, 'service'> & { readonly revision?: number };

/**
 * The value of `sidecar-load`: state (its place among WORKER_STATES), load, in flight, queued, concurrency, the reader's
 * share, active callers, service time and age of the queue in ms (empty = not known), epoch, sequence number. The
 * service is not in it: the reader asked for one. Only where there is something to say, three more: with how many its
 * worker is full, and for how many ms that holds; and for a while after its record has changed, the record's revision.
 */
export function encodeReport(r: LoadReport, revision: number | null = null): string {
  const serviceMs = r.serviceMs === null ? '' : round(r.serviceMs, 100);
  const oldestMs = r.oldestMs === null ? '' : Math.round(r.oldestMs);
  return (
    `${WORKER_STATES.indexOf(r.state)},${round(r.load, 1000)},${r.inFlight},${r.queued},${r.concurrency},${r.mine},` +
    `${r.activeCallers},${serviceMs},${oldestMs},${r.epoch},${r.seq}${tailOf(r, revision)}`
  );
}

/** What such a value says; null when it is not one. Never throws; every number is finite and bounded. */
export function parseReport(value: string): ReceivedReport | null {
  if (value.length > MAX_CHARS) return null;
  reader.begin(value);
  const state = WORKER_STATES[reader.next(WORKER_STATES.length)];
  const load = reader.next(1);
  const inFlight = reader.next(RECORD_LIMITS.requests);
  const queued = reader.next(RECORD_LIMITS.requests);
  const concurrency = reader.next(RECORD_LIMITS.requests);
  const mine = reader.next(RECORD_LIMITS.requests);
  const activeCallers = reader.next(RECORD_LIMITS.requests);
  const serviceMs = reader.next(RECORD_LIMITS.serviceMs);
  const oldestMs = reader.next(RECORD_LIMITS.serviceMs);
  const epoch = reader.next(RECORD_LIMITS.epochMs);
  const seq = reader.next(Number.MAX_SAFE_INTEGER);
  const hasTail = !reader.isAtEnd;
  const fullAt = hasTail ? reader.next(RECORD_LIMITS.requests) : NOT_KNOWN;
  const fullForMs = hasTail ? reader.next(RECORD_LIMITS.serviceMs) : NOT_KNOWN;
  const revision = reader.isAtEnd ? NOT_KNOWN : reader.next(Number.MAX_SAFE_INTEGER);
  if (fullAt === BAD || fullForMs === BAD || fullAt < 0 !== fullForMs < 0) return null;
  if (state === undefined || !reader.isAtEnd || serviceMs === BAD || oldestMs === BAD) return null;
  if (load < 0 || inFlight < 0 || queued < 0 || concurrency < 0 || mine < 0 || activeCallers < 0) return null;
  if (revision === BAD || !Number.isSafeInteger(revision)) return null;
  if (!Number.isSafeInteger(epoch) || !Number.isSafeInteger(seq) || epoch < 0 || seq < 0) return null;
  return {
    epoch,
    seq,
    state,
    load,
    inFlight,
    queued,
    concurrency,
    serviceMs: serviceMs === NOT_KNOWN ? null : serviceMs,
    mine,
    activeCallers,
    oldestMs: oldestMs === NOT_KNOWN ? null : oldestMs,
    fullAt: fullAt < 0 ? null : fullAt,
    fullForMs: Math.max(0, fullForMs),
    ...(revision < 0 ? NOTHING_TOLD : { revision }),
  };
}

const NOTHING_TOLD = {};

function tailOf({ fullAt, fullForMs }: LoadReport, revision: number | null): string {
  if (fullAt === null && revision === null) return '';
  const full = fullAt === null ? ',,' : `,${fullAt},${Math.round(fullForMs)}`;
  return revision === null ? full : `${full},${revision}`;
}

const COMMA = 0x2c;
const POINT = 0x2e;
const ZERO = 0x30;

/** The sum of so many digits is exact. */
const EXACT_DIGITS = 15;

/** Decimal numbers between commas, by their characters: nothing is left behind for the collector. */
class NumberReader {
  #text = '';
  #at = 0;

  begin(text: string): void {
    this.#text = text;
    this.#at = 0;
  }

  /** The last number was the last thing. */
  get isAtEnd(): boolean {
    return this.#at === this.#text.length + 1;
  }

  /** The next number, at most `max`; NOT_KNOWN for none, BAD for what is not one, and for each behind that. */
  next(max: number): number {
    const text = this.#text;
    let digits = 0;
    let scale = 0;
    let sum = 0;
    let at = this.#at;
    if (at > text.length) return BAD;
    for (; at < text.length; at += 1) {
      const unit = text.charCodeAt(at);
      if (unit === COMMA) break;
      const digit = unit - ZERO;
      if (unit === POINT && scale === 0 && digits > 0) scale = 1;
      else if (digit < 0 || digit > 9 || digits === EXACT_DIGITS) return this.#bad();
      else {
        digits += 1;
        sum = sum * 10 + digit;
        if (scale > 0) scale *= 10;
      }
    }
    if (digits === 0 && at > this.#at) return this.#bad();
    this.#at = at + 1;
    if (digits === 0) return NOT_KNOWN;
    // Both are exact, so the quotient is the number that the digits mean.
    return Math.min(max, scale > 1 ? sum / scale : sum);
  }

  #bad(): number {
    this.#at = this.#text.length + 2;
    return BAD;
  }
}

const reader = new NumberReader();

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
  if (report.fullAt === null) endpoint.standing.hasRoom();
  else if (report.fullAt !== undefined)
    endpoint.standing.refusedAt(report.fullAt, nowMs, report.fullForMs ?? 0);
  endpoint.reportedAtMs = nowMs;
  endpoint.reportSource = source;
  return hasRestarted ? 'restarted' : 'applied';
}
