/**
 * The single place where a failure becomes an HTTP response: problem+json (RFC 9457) with every attempt listed,
 * Proxy-Status (RFC 9209) and Retry-After; and, since most apps speak through an SDK of OpenAI's kind, the `error`
 * member that those show and the `x-should-retry` that they obey.
 */
import { STATUS_CODES } from 'node:http';
import { CODES, type Code } from '../core/errors.ts';
import { grpcMessage, grpcStatus, isGrpc } from '../core/http/grpc.ts';
import { without } from '../core/http/headers.ts';
import type { RawFields } from '../core/http/message.ts';
import type { SkippedPeer } from '../core/peers/exclusion-reason.ts';
import type { RouteKind } from '../core/peers/route.ts';
import type { Stage } from '../core/retry.ts';
import type { HeldAnswer } from '../http/attempt-outcome.ts';
import type { Downstream } from '../http/exchange.ts';
import type { LocalReply } from '../http/local-reply.ts';

/** Clients bound the fields of a response; the whole is in its body. */
const MAX_DETAILS_CHARS = 500;

/** RFC 4151: an absolute URI that leads nowhere, as RFC 9457 §3.1.1 wants where there is no page to read. */
const TYPE_PREFIX = 'tag:dht-sidecar,2026:';

/** What SDKs tell apart errors of the model and of its way by. */
const SDK_ERROR_TYPE = 'sidecar_error';

export interface Problem {
  readonly code: Code;
  readonly detail: string;
  readonly service: string | null;
  readonly requestId: string | null;
  readonly attempts: readonly AttemptTrace[];
  /** Workers that could not be asked; absent or empty where that says nothing. */
  readonly skipped?: readonly SkippedPeer[];
  /** Nothing of it was done, or doing it twice is harmless; absent where that is not known. */
  readonly isRepeatable?: boolean;
  /** This proxy's name in Proxy-Status. */
  readonly proxyName: string;
}

export function problemReply(problem: Problem): LocalReply {
  const entry = CODES[problem.code];
  const body = Buffer.from(
    `${JSON.stringify({
      type: `${TYPE_PREFIX}${problem.code}`,
      title: entry.meaning,
      status: entry.status,
      code: problem.code,
      detail: problem.detail,
      advice: entry.advice,
      error: {
        message: problem.detail === '' ? entry.meaning : `${entry.meaning} ${problem.detail}`,
        type: SDK_ERROR_TYPE,
        code: problem.code,
      },
      ...(problem.service === null ? {} : { service: problem.service }),
      ...(problem.requestId === null ? {} : { request_id: problem.requestId }),
      attempts: problem.attempts,
      ...(problem.skipped === undefined || problem.skipped.length === 0
        ? {}
        : { not_asked: problem.skipped }),
    })}\n`,
  );
  const fields = [
    'Content-Type',
    'application/problem+json',
    'Proxy-Status',
    `${problem.proxyName}; error=${entry.proxyStatus}; details=${sfString(`${problem.code}: ${problem.detail}`)}`,
  ];
  fields.push('x-should-retry', entry.isTransient && problem.isRepeatable === true ? 'true' : 'false');
  if (entry.status === 401) fields.push('WWW-Authenticate', 'Bearer'); // RFC 9110 §15.5.2
  if (entry.retryAfterSeconds !== null) fields.push('Retry-After', String(entry.retryAfterSeconds));
  return { status: entry.status, reason: STATUS_CODES[entry.status] ?? 'Error', fields, body };
}

/** Sends a whole response, with more fields if given; where another one has begun, that one is broken off. */
export function sendReply(downstream: Downstream, reply: LocalReply, moreFields: readonly string[]): void {
  if (downstream.isStarted) {
    downstream.destroy();
    return;
  }
  downstream.start(reply.status, reply.reason, [...reply.fields, ...moreFields], reply.body.length);
  downstream.write(reply.body);
  downstream.end([]);
}

/** A refusal of the worker that was held back in vain. `fields`: as the client gets them. */
export function sendHeld(downstream: Downstream, held: HeldAnswer, fields: RawFields): void {
  const { status, reason, body, trailers } = held;
  downstream.start(status, reason, fields, trailers.length > 0 ? null : body.length);
  if (body.length > 0) downstream.write(body);
  downstream.end(trailers);
}

export function bytesReply(body: Buffer): LocalReply {
  return { status: 200, reason: 'OK', fields: ['Content-Type', 'application/octet-stream'], body };
}

export function jsonReply(status: number, value: unknown): LocalReply {
  return {
    status,
    reason: STATUS_CODES[status] ?? '',
    fields: ['Content-Type', 'application/json'],
    body: Buffer.from(`${JSON.stringify(value)}\n`),
  };
}

/** A structured-field string (RFC 8941 §3.3.3): printable ASCII, with quote and backslash escaped. */
function sfString(text: string): string {
  // Cut before it is escaped: an escape cut in half would take the closing quote for its other half.
  const plain = text.slice(0, MAX_DETAILS_CHARS).replace(/[^\x20-\x7e]/g, '?');
  return `"${plain.replace(/["\\]/g, '\\$&')}"`;
}

export interface AttemptTrace {
  /** worker_id. */
  readonly peer: string;
  readonly route: RouteKind;
  /** Of the peer's sidecar, of its tunnel, or of the local worker. */
  readonly address: string;
  readonly code: Code;
  readonly stage: Stage;
  readonly reason: string;
  /** ISO 8601. */
  readonly at: string;
  /** Milliseconds since the request arrived. */
  readonly at_ms: number;
  readonly took_ms: number;
}

/** Clients take 8 KiB of fields in all; of the longest text, that of who was not asked, the beginning says most. */
const MAX_MESSAGE_CHARS = 800;

/** The reply, or the same one as gRPC clients read it ("Trailers-Only": status and message in the fields, no body). */
export function inFormOf(downstream: Downstream, reply: LocalReply, code: Code, detail: string): LocalReply {
  if (downstream.version !== '2.0' || !isGrpc(downstream.head.fields)) return reply;
  return {
    status: 200,
    reason: 'OK',
    fields: [
      'content-type',
      'application/grpc',
      'grpc-status',
      String(grpcStatus(CODES[code].status)),
      'grpc-message',
      grpcMessage(`${code}: ${detail}`.slice(0, MAX_MESSAGE_CHARS)),
      ...without(reply.fields, (name) => name === 'content-type'),
    ],
    body: Buffer.alloc(0),
  };
}
