/**
 * Request log: the last requests of apps, each with its decision and attempts, for `/explain?request=ID`.
 *
 * A ring of references: adding is one store, and looking up scans (an operator asks once, a request comes ten thousand
 * times). Only the long words of a failure are cut, as others may have chosen them and all are kept for long.
 */
import { Buffer } from 'node:buffer';
import { CODES, type Code } from '../core/errors.ts';
import type { OutcomeLabel, RouteLabel } from './labels.ts';

export interface RecordedRequest {
  readonly id: string;
  /** Arrival, Unix ms. */
  readonly atMs: number;
  readonly method: string;
  readonly service: string;
  /** The app that asked, by the name of its token; null or absent where that has none. */
  readonly app?: string | null;
  /** Of the attempt that was answered; `none` when no worker answered. */
  readonly route: RouteLabel;
  /** worker_id of the one who answered; null when the sidecar did. */
  readonly peer: string | null;
  /** What the app saw; 499 when it left before the end. */
  readonly status: number | null;
  readonly outcome: OutcomeLabel;
  readonly code: Code | null;
  readonly firstByteMs: number | null;
  readonly durationMs: number;
  /** The attempts that failed, as they stand in a problem answer. */
  readonly attempts: readonly object[];
  /** Of a failure, for people. */
  readonly detail: string | null;
  /** Workers that could not be asked, when that ended it. */
  readonly skipped: readonly { readonly peer: string; readonly reason: string }[];
  /** How the view was got, and how old it was. */
  readonly view: string;
  readonly viewAgeMs: number | null;
  /** What the balancer saw and chose; null unless the app asked for it. */
  readonly decision: unknown;
  /** Which worker it was for, and what became of that; null or absent = any. */
  readonly bound?: object | null;
}

const MAX_REASON_CHARS = 240;
const MAX_DETAIL_CHARS = 2_000;
const MAX_NOT_ASKED = 16;

export class RequestHistory {
  readonly #ring: (RecordedRequest | undefined)[];
  #next = 0;

  constructor(options: { readonly capacity: number }) {
    this.#ring = new Array<RecordedRequest | undefined>(Math.max(1, options.capacity)).fill(undefined);
  }

  add(request: RecordedRequest): void {
    this.#ring[this.#next] = bounded(request);
    this.#next = (this.#next + 1) % this.#ring.length;
  }

  /** The newest request of that id, as JSON for `/explain`; null when it is not among the last ones. */
  explain(id: string): object | null {
    const size = this.#ring.length;
    for (let back = 1; back <= size; back++) {
      const request = this.#ring[(this.#next - back + size) % size];
      if (request === undefined) return null;
      if (request.id === id) return toJson(request);
    }
    return null;
  }
}

function bounded(request: RecordedRequest): RecordedRequest {
  if (request.detail === null && request.skipped.length === 0) return request;
  return {
    ...request,
    detail: request.detail === null ? null : cut(request.detail, MAX_DETAIL_CHARS),
    skipped: request.skipped
      .slice(0, MAX_NOT_ASKED)
      .map(({ peer, reason }) => ({ peer, reason: cut(reason, MAX_REASON_CHARS) })),
  };
}

/** A copy: a slice alone would keep the whole text alive. */
function cut(text: string, maxChars: number): string {
  if (text.length <= maxChars) return text;
  return Buffer.from(`${text.slice(0, maxChars - 1)}…`).toString();
}

function toJson(request: RecordedRequest): object {
  return {
    request_id: request.id,
    received_at: request.atMs / 1000,
    method: request.method,
    service: request.service,
    ...(typeof request.app === 'string' ? { app: request.app } : {}),
    outcome: request.outcome,
    code: request.code,
    status: request.status,
    worker: request.peer,
    route: request.route,
    first_byte_ms: request.firstByteMs,
    duration_ms: request.durationMs,
    view: request.view,
    view_age_ms: request.viewAgeMs,
    detail: request.detail,
    advice: request.code === null ? null : CODES[request.code].advice,
    failed_attempts: request.attempts,
    not_asked: request.skipped,
    decision: request.decision,
    bound: request.bound ?? null,
  };
}
