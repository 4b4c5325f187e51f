/**
 * The response by which one sidecar tells another that it did not get a response from its worker, and how far the
 * request went: request field names and the parser for them.
 *
 * Told in a field of its own instead of by status, because a worker's 503 is a response and a sidecar's 503 is a reason
 * to go elsewhere; with the words for the one who has to mend it. Only believed when the response is signed.
 */
import { CODES, type Code } from '../../core/errors.ts';
import { first } from '../../core/http/headers.ts';
import type { RawFields } from '../../core/http/message.ts';
import type { Stage } from '../../core/retry.ts';

export const REFUSAL_HEADER = 'sidecar-refusal';

/** The queue length that the caller expects at the peer. */
export const EXPECTED_QUEUE_HEADER = 'sidecar-expected-queue';

/** How long the request was under way before it was sent there, in ms: its place in the queue. Absent = just begun. */
export const UNDER_WAY_HEADER = 'sidecar-under-way-ms';

/** Longer ones count as this; nobody's word puts him further in front. */
export const MAX_UNDER_WAY_MS = 120_000;

export interface Refusal {
  readonly code: Code;
  readonly stage: Stage;
  /** What happened there, for people; '' = not told. */
  readonly detail: string;
}

/** Clients bound the fields of a response. */
const MAX_DETAIL_CHARS = 240;

export function encodeRefusal({ code, stage, detail }: Refusal): string {
  return `${code};${stage};${plain(detail)}`;
}

/** null when it is not one; never throws. An unknown stage counts as the worse one. */
export function parseRefusal(value: string): Refusal | null {
  const [code = '', stage = '', ...detail] = value.split(';');
  if (!Object.hasOwn(CODES, code)) return null;
  return {
    code: code as Code,
    stage: stage === 'not_sent' ? 'not_sent' : 'sent',
    detail: plain(detail.join(';')),
  };
}

/** What a field may hold and a terminal may show, on both sides: the other one is not trusted to have done it. */
function plain(text: string): string {
  return text
    .replace(/[^\x20-\x7e]/g, '?')
    .slice(0, MAX_DETAIL_CHARS)
    .trim();
}

/** A small non-negative count in a field; null when absent or anything else. */
export function parseCount(value: string | undefined): number | null {
  return value !== undefined && /^\d{1,6}$/.test(value) ? Number(value) : null;
}

/** As the fields of a request say; 0 = just begun. */
export function underWayMs(fields: RawFields): number {
  return Math.min(parseCount(first(fields, UNDER_WAY_HEADER)) ?? 0, MAX_UNDER_WAY_MS);
}
