/**
 * One peer: its record, its routes with their health, its services, and when it was last heard.
 *
 * One mutable object per peer for its whole stay in the table, instead of a new one per record: health, outstanding
 * counts and route states survive a refresh.
 */
import { DEFAULT_CARRIERS, parseCarriers, type SessionCarriers } from '../http/session-carrier.ts';
import type { ServiceFigures, WorkerRecord, WorkerState } from './record.ts';
import type { Route, UsableKinds } from './route.ts';
import { ALL_KINDS, isSameAddress, routesOf } from './route.ts';
import { isProved } from './route-order.ts';
import { Standing } from './standing.ts';

/** `suspect`: missed once, so not chosen while others are there. */
export type Presence = 'live' | 'suspect';

/** Many responses tell that a record has changed, while it is being fetched. */
const BEHIND_PAUSE_MS = 500;

export class Peer {
  /** Public key, 64 hex digits. */
  readonly key: string;
  /** 32 bits of the key, for consistent hashing. */
  readonly keyHash: number;
  presence: Presence = 'live';
  /** Monotonic ms of the miss that made it suspect; NaN while it is live. */
  suspectedAtMs: number = Number.NaN;
  /** Monotonic ms at which it was last heard from. */
  heardAtMs: number;
  /** Newest known state, from its record or from a report. */
  state: WorkerState;
  /** Monotonic ms since when it is known to be in that state. */
  stateSinceMs: number;
  /** Why, in its own words; '' = not told. */
  stateReason = '';
  /** What went wrong with the last request that failed there, in this life. */
  lastFault: { readonly atMs: number; readonly text: string } | null = null;
  /** Start epoch of its present life, from its record or from a report. */
  epoch: number;
  /** Sequence number of the newest record or report that told the state; -1 = none in this life. */
  #stateSeq = -1;
  #record: WorkerRecord;
  #behindAtMs = Number.NEGATIVE_INFINITY;
  #routes: readonly Route[] = [];
  readonly #kinds: UsableKinds;
  readonly #endpoints = new Map<string, Endpoint>();

  constructor(record: WorkerRecord, nowMs: number, kinds: UsableKinds = ALL_KINDS) {
    this.#kinds = kinds;
    this.key = record.public_key;
    this.keyHash = Number.parseInt(record.public_key.slice(0, 8), 16) | 0;
    this.#record = record;
    this.state = record.state;
    this.stateSinceMs = nowMs;
    this.epoch = record.epoch;
    this.heardAtMs = nowMs;
    this.adopt(record, nowMs);
  }

  get record(): WorkerRecord {
    return this.#record;
  }

  /** Those that lead there from here, in the order of preference: vpn, p2p, tunnel. */
  get routes(): readonly Route[] {
    return this.#routes;
  }

  endpoint(service: string): Endpoint | undefined {
    return this.#endpoints.get(service);
  }

  endpoints(): Iterable<Endpoint> {
    return this.#endpoints.values();
  }

  /**
   * Take over a record that is newer than the present one. A route with the same address keeps its health.
   * Returns whether the peer now offers other services than before.
   */
  adopt(record: WorkerRecord, nowMs: number): boolean {
    let isChanged = false;
    if (record.epoch !== this.epoch) this.startAnew(record.epoch, nowMs);
    this.#record = record;
    // A record that third parties keep may be older than what the peer has said since, say that it is draining.
    this.reportState(record.state, record.seq, nowMs);
    this.findRoutes();
    for (const service of this.#endpoints.keys()) {
      if (!record.services.includes(service)) isChanged = this.#endpoints.delete(service);
    }
    for (const service of record.services) {
      let endpoint = this.#endpoints.get(service);
      if (endpoint === undefined) {
        endpoint = createEndpoint(this, service);
        this.#endpoints.set(service, endpoint);
        isChanged = true;
      }
      const figures = Object.hasOwn(record.figures, service) ? record.figures[service] : undefined;
      endpoint.isPaused = record.paused?.includes(service) === true;
      takeFigures(endpoint, record, figures, nowMs);
      isChanged = takeSessions(endpoint, figures?.session) || isChanged;
    }
    return isChanged;
  }

  /** Of its record those that lead there from here now. A route with the same address keeps its health. */
  findRoutes(): void {
    this.#routes = routesOf(this.#record)
      .filter(({ kind }) => this.#kinds.has(kind))
      .map((route) => this.#routes.find((old) => isSameAddress(old, route)) ?? route);
  }

  /** The worker was restarted: what its former life said counts no longer; nor what it did, unless it was another a moment ago. */
  startAnew(epoch: number, nowMs: number): void {
    this.epoch = epoch;
    this.#stateSeq = -1;
    this.stateReason = '';
    this.lastFault = null;
    for (const route of this.#routes) route.health.reset();
    for (const endpoint of this.#endpoints.values()) forget(endpoint, nowMs);
  }

  /**
   * Whether its record is behind what it says of it, and was not asked for a moment ago: who finds out fetches it. A
   * lower revision is old news; that of another life comes with its epoch.
   */
  isRecordBehind(revision: number | null, nowMs: number): boolean {
    const known = this.#record.revision;
    if (revision === null || known === null || revision <= known) return false;
    if (nowMs - this.#behindAtMs < BEHIND_PAUSE_MS) return false;
    this.#behindAtMs = nowMs;
    return true;
  }

  /** What the peer says its state is, in a record or a report: the newest word counts. */
  reportState(state: WorkerState, seq: number, nowMs: number): void {
    if (seq < this.#stateSeq) return;
    // Its worker was gone and is back: not the one that failed.
    if (this.state === 'warming' && state === 'ready')
      for (const { standing } of this.#endpoints.values()) standing.startAnew(nowMs);
    if (this.state !== state) {
      this.stateSinceMs = nowMs;
      this.stateReason = '';
    }
    this.state = state;
    this.#stateSeq = seq;
  }

  /**
   * Ready by its own word, and found to be reachable from here: a request for the service (null: for any) would go there
   * and come back.
   */
  isReachable(service: string | null, nowMs: number): boolean {
    if (this.state !== 'ready' || this.presence !== 'live' || !isProved(this.#routes)) return false;
    if (service !== null) {
      const endpoint = this.#endpoints.get(service);
      return endpoint !== undefined && isTaking(endpoint, nowMs);
    }
    for (const endpoint of this.#endpoints.values()) if (isTaking(endpoint, nowMs)) return true;
    return false;
  }

  /** Returns whether it was offered. */
  drop(service: string): boolean {
    return this.#endpoints.delete(service);
  }
}

function isTaking({ isPaused, standing }: Endpoint, nowMs: number): boolean {
  return !isPaused && !standing.health.isEjected(nowMs);
}

/** Returns whether it is another word than before. */
function takeSessions(endpoint: Endpoint, word: string | undefined): boolean {
  if (word === endpoint.sessionWord) return false;
  endpoint.sessionWord = word;
  endpoint.sessions = word === undefined ? DEFAULT_CARRIERS : (parseCarriers(word) ?? DEFAULT_CARRIERS);
  return true;
}

/** Unless a report has said something newer: records and reports count by the same sequence. */
function takeFigures(
  endpoint: Endpoint,
  record: WorkerRecord,
  figures: ServiceFigures | undefined,
  nowMs: number,
): void {
  if (record.seq < endpoint.reportSeq) return;
  endpoint.reportSeq = record.seq;
  endpoint.load = record.load;
  endpoint.reportedAtMs = nowMs;
  endpoint.reportSource = 'record';
  if (figures === undefined) return;
  endpoint.inFlight = figures.in_flight;
  endpoint.queued = figures.queued;
  endpoint.concurrency = figures.concurrency;
  endpoint.serviceMs = figures.service_ms ?? Number.NaN;
  // A record is for everybody and does not say what is mine; what I have there now is the best guess.
  endpoint.mineReported = Math.min(endpoint.outstanding, figures.in_flight + figures.queued);
}

export type ReportSource = 'record' | 'probe' | 'response';

export interface Endpoint {
  readonly peer: Peer;
  readonly service: string;
  /** By its answers to me. */
  readonly standing: Standing;
  /** Its owner has taken it out for a while. */
  isPaused: boolean;
  /** What carries its sessions, and the word of its record for that; undefined = it says none. */
  sessions: SessionCarriers;
  sessionWord: string | undefined;
  /** Last reported load, 0..1. */
  load: number;
  /** Requests being served there at the last report. */
  inFlight: number;
  /** Requests waiting there at the last report. */
  queued: number;
  /** Slots there; 0 = unknown or not limited. */
  concurrency: number;
  /** Moving average of the service time there in ms; NaN = unknown. */
  serviceMs: number;
  /** How long the first in its queue was under way at the last report, in ms; NaN = nobody waited, or it is unknown. */
  oldestMs: number;
  /** My own share of `inFlight + queued` in the last report. */
  mineReported: number;
  /** How many sidecars send to it, ≥ 1. */
  activeCallers: number;
  /** Monotonic ms of the last report; -Infinity = never. */
  reportedAtMs: number;
  reportSource: ReportSource;
  /** Sequence number of the last record or report of the peer's present life; -1 = none. */
  reportSeq: number;
  /** Mine, now: sent there and not ended. */
  outstanding: number;
  /** Moving average of failures, 0..1, as of `failureAtMs`. */
  failureRate: number;
  /** Monotonic ms of the last change of `failureRate`. */
  failureAtMs: number;
}

function createEndpoint(peer: Peer, service: string): Endpoint {
  return {
    peer,
    service,
    standing: new Standing(),
    isPaused: false,
    sessions: DEFAULT_CARRIERS,
    sessionWord: undefined,
    load: 0,
    inFlight: 0,
    queued: 0,
    concurrency: 0,
    serviceMs: Number.NaN,
    oldestMs: Number.NaN,
    mineReported: 0,
    activeCallers: 1,
    reportedAtMs: Number.NEGATIVE_INFINITY,
    reportSource: 'record',
    reportSeq: -1,
    outstanding: 0,
    failureRate: 0,
    failureAtMs: Number.NEGATIVE_INFINITY,
  };
}

/** Back to nothing known, except for what I have outstanding there; and for its failures, unless it is excused. */
function forget(endpoint: Endpoint, nowMs: number): void {
  const { outstanding, failureRate, failureAtMs, sessions, sessionWord, standing, isPaused } = endpoint;
  const own = { outstanding, sessions, sessionWord, standing, isPaused };
  const kept = standing.startAnew(nowMs) ? own : { ...own, failureRate, failureAtMs };
  Object.assign(endpoint, createEndpoint(endpoint.peer, endpoint.service), kept);
}
