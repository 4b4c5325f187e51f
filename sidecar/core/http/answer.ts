/**
 * What a worker's answer means: it served the request, refused it for now, or failed; and a client error, which only the
 * answers of other workers can tell from a failure.
 *
 * By status, and for gRPC by grpc-status where it stands in the head, which is then all there is ("Trailers-Only"): no
 * message has come. An answer that is good is told by its status alone, since nearly all are.
 */
import { first } from './headers.ts';
import type { RawFields } from './message.ts';

export type Answer =
  /** Below 400, or gRPC OK. The only kind that teaches how long the worker takes. */
  | 'served'
  /** "Not now": 429, 503 with Retry-After, gRPC RESOURCE_EXHAUSTED and UNAVAILABLE before any message. */
  | 'refused'
  /** Any other 4xx, and what of gRPC comes of the request. */
  | 'rejected'
  /** Any other 5xx, or a status that nobody knows; gRPC UNKNOWN, INTERNAL, DATA_LOSS, and the above once too late. */
  | 'failed';

/** grpc-status: https://grpc.github.io/grpc/core/md_doc_statuscodes.html */
const GRPC_REFUSED: ReadonlySet<string> = new Set(['8', '14']);
const GRPC_FAILED: ReadonlySet<string> = new Set(['2', '13', '15']);

/** A refusal without a time holds for so long; one with any time for no less and no more than these. */
const USUAL_REFUSAL_MS = 1_000;
const MIN_REFUSAL_MS = 100;
const MAX_REFUSAL_MS = 30_000;

export interface AnswerHead {
  readonly status: number;
  readonly fields: RawFields;
  /** 0 = no body. */
  readonly bodyBytes: number | null;
}

export function answerOf({ status, fields, bodyBytes }: AnswerHead): Answer {
  if (status < 400) {
    if (bodyBytes !== 0 || status !== 200) return 'served';
    const grpc = first(fields, 'grpc-status');
    if (grpc === undefined || grpc === '0') return 'served';
    return GRPC_REFUSED.has(grpc) ? 'refused' : GRPC_FAILED.has(grpc) ? 'failed' : 'rejected';
  }
  if (status === 429) return 'refused';
  if (status < 500) return 'rejected';
  return status === 503 && first(fields, 'retry-after') !== undefined ? 'refused' : 'failed';
}

/** The same at the end of an answer whose head was good: gRPC says it in the trailers. */
export function answerAtEnd(trailers: RawFields): Answer {
  const grpc = first(trailers, 'grpc-status');
  if (grpc === undefined || grpc === '0') return 'served';
  // By then it is too late to go elsewhere: what began was not finished.
  return GRPC_REFUSED.has(grpc) || GRPC_FAILED.has(grpc) ? 'failed' : 'rejected';
}

/**
 * How long a refusal holds, within bounds: its Retry-After (RFC 9110 §10.2.3), or what OpenAI and gRPC say in its place.
 * `nowUnixMs`: for one that names a date.
 */
export function refusalMs(fields: RawFields, nowUnixMs: number): number {
  const ms = first(fields, 'retry-after-ms') ?? first(fields, 'grpc-retry-pushback-ms');
  const value = (ms ?? first(fields, 'retry-after') ?? '').trim();
  const isNumber = /^\d{1,9}$/.test(value);
  const waitMs = isNumber ? Number(value) * (ms === undefined ? 1_000 : 1) : Date.parse(value) - nowUnixMs;
  if (Number.isNaN(waitMs)) return USUAL_REFUSAL_MS;
  return Math.min(MAX_REFUSAL_MS, Math.max(MIN_REFUSAL_MS, waitMs));
}
