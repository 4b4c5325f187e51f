/**
 * What went wrong at a worker: how it counts against it, and how it is told to those who do not know its address; and why a
 * request did not come to it.
 */
import type { Code } from '../../core/errors.ts';
import type { Answer } from '../../core/http/answer.ts';
import { PAUSED } from '../../core/peers/exclusion-reason.ts';
import type { Acquired, Admission } from '../../core/worker/admission.ts';
import type { AttemptOutcome } from '../../http/attempt-outcome.ts';

/** What the end of an attempt says of the worker; null = nothing. */
export function answerIn(outcome: AttemptOutcome): Answer | null {
  switch (outcome.kind) {
    case 'completed':
      return outcome.answer;
    case 'failed':
    case 'broken':
      return WORKERS_FAULT.has(outcome.code) ? 'failed' : null;
    case 'client_gone':
      return null;
  }
}

/** One that takes no connection is withdrawn by its health checks. */
const WORKERS_FAULT: ReadonlySet<Code> = new Set(['upstream_reset', 'upstream_protocol', 'response_timeout']);

/** What went wrong between this sidecar and its worker, told so that a peer does not take it for its own way here. */
export function atWorker(service: { readonly address: string }, outcome: AttemptOutcome): AttemptOutcome {
  if (outcome.kind !== 'failed' || !BETWEEN.has(outcome.code)) return outcome;
  return { ...outcome, detail: `its worker (${service.address}): ${outcome.detail}` };
}

const BETWEEN: ReadonlySet<Code> = new Set([
  'connect_failed',
  'connect_timeout',
  'certificate_untrusted',
  'upstream_reset',
  'upstream_protocol',
  'response_timeout',
]);

/** Why a request waits for a slot no more. */
export type Left = 'gone' | 'late' | 'cancelled' | 'paused';

/** Why it may not wait for one. */
export type Lack = Extract<Acquired, { kind: 'saturated' }>['reason'];

export function turnedAway(why: Lack | Left, admission: Admission): AttemptOutcome {
  switch (why) {
    case 'gone':
      return { kind: 'client_gone', firstByteMs: null };
    case 'cancelled':
      return refused('saturated', 'its caller cancelled it in the queue');
    case 'paused':
      return refused('paused', PAUSED);
    case 'late':
      return refused('deadline', 'the deadline of the caller passed in the queue');
    default:
      return refused('saturated', full(admission, why));
  }
}

function full({ slots: { inFlight, queued }, concurrency }: Admission, lack: Lack): string {
  const slots = `${inFlight} of ${concurrency} slots are taken and ${queued} requests wait`;
  return lack === 'queue_full' ? `${slots}: the queue is full` : `${slots}: more than the caller counted on`;
}

/** The worker has not seen it. */
export function refused(code: Code, detail: string): AttemptOutcome {
  return { kind: 'failed', code, stage: 'not_sent', detail };
}
