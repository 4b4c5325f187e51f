/**
 * Requests from apps: classify → choose → attempt → judge → answer, in that order, top to bottom.
 *
 * A loop over attempts in one place, instead of a stack of retrying layers: each step sees what the one before it
 * learnt, and so does the one who reads the response.
 */
import { timingSafeEqual } from 'node:crypto';
import type { Code } from '../../core/errors.ts';
import { type Addressed, serviceAddress } from '../../core/forwarding/service-address.ts';
import { viaContains } from '../../core/forwarding/via.ts';
import { first, has } from '../../core/http/headers.ts';
import { whyNoRetry } from '../../core/retry.ts';
import type { AttemptOutcome } from '../../http/attempt-outcome.ts';
import type { Downstream } from '../../http/exchange.ts';
import { type FinalRecipient, finalRecipient } from '../final-recipient.ts';
import type { AttemptTrace } from '../problem.ts';
import { attemptText } from './attempt-trace.ts';
import { attemptLocal } from './local-attempt.ts';
import type { OutboundOptions } from './options.ts';
import { attemptPeer } from './peer-attempt.ts';
import { type OutboundRequest, startRequest } from './request.ts';
import { nextTarget, type Target } from './target.ts';

/** More attempts than this have never helped anyone; each one is listed in the response. */
const MAX_ATTEMPTS = 8;

/**
 * Ends that no other peer could better: the app's own doing, or its time is up. `timeouts.head` is the time that an
 * answer may take, not that of one attempt; a request that one worker hangs at is not taken to the next.
 */
const FINAL: ReadonlySet<Code> = new Set([
  'deadline',
  'request_timeout',
  'response_timeout',
  'loop_detected',
]);

export function createOutbound(options: OutboundOptions): (downstream: Downstream) => void {
  return (downstream) => {
    options.observer.requestStarted();
    const request = startRequest(downstream, options);
    const addressed = classify(downstream, options);
    if ('code' in addressed) request.refuse(addressed.code, addressed.detail);
    else if ('reply' in addressed) request.replyLocally(addressed.reply);
    else {
      route(request, addressed, options).catch((error: unknown) => {
        options.observer.internalError(error);
        request.refuse('internal', 'a fault in this sidecar');
      });
    }
  };
}

/** What is asked for; or why it is not carried. */
function classify(
  { head }: Downstream,
  { token, pseudonym, aliases }: OutboundOptions,
): Addressed | { readonly code: Code; readonly detail: string } | Extract<FinalRecipient, { kind: 'reply' }> {
  if (token !== null && !isSame(first(head.fields, 'sidecar-token') ?? '', token)) {
    return { code: 'not_a_member', detail: 'the field sidecar-token is missing or wrong' };
  }
  if (head.method === 'CONNECT') return { code: 'not_supported', detail: 'CONNECT is not carried' };
  if (viaContains(head.fields, pseudonym))
    return {
      code: 'loop_detected',
      detail: 'Via names this sidecar already: the request came back to where it came from',
    };
  const last = finalRecipient(head);
  if (last.kind !== 'forward') return last;
  const addressed = serviceAddress(head, aliases);
  return 'error' in addressed ? { code: addressed.error, detail: addressed.detail } : addressed;
}

async function route(
  request: OutboundRequest,
  addressed: Addressed,
  options: OutboundOptions,
): Promise<void> {
  request.address(addressed);
  options.budget.deposit(performance.now());
  for (;;) {
    const target = await nextTarget(request, options);
    if (request.relay.isGone) return request.clientGone(null);
    if (target.kind === 'nobody') return request.refuse(target.code, target.detail);
    const outcome =
      target.kind === 'local'
        ? await attemptLocal(request, target, options)
        : await attemptPeer(request, target, options);
    if (judge(request, target, outcome, options) === 'settled') return;
  }
}

/** Ends the request, or notes the failure and lets it go on. */
function judge(
  request: OutboundRequest,
  target: Exclude<Target, { kind: 'nobody' }>,
  outcome: AttemptOutcome,
  { budget, observer }: OutboundOptions,
): 'settled' | 'again' {
  if (outcome.kind === 'client_gone') {
    request.clientGone(target, outcome.firstByteMs);
    return 'settled';
  }
  if (outcome.kind !== 'failed') {
    request.responded(target, outcome);
    return 'settled';
  }
  request.failedAttempt(target, outcome);
  observer.attemptFailed(outcome.code);
  let end = whyItEnds(request, outcome);
  // What no worker saw cost none of them anything; turning away is bounded by itself. The budget is for repeats.
  if (end === null && outcome.stage !== 'not_sent' && !budget.withdraw(performance.now())) {
    observer.retryRefused();
    end = 'not sent again, since the retry budget is used up (retries.budgetRatio, retries.perSecond)';
  }
  if (end === null) {
    if (request.redispatch.migration?.state === 'back') observer.migrated();
    observer.retried(outcome.code);
    return 'again';
  }
  const last = attemptText(request.attempts.at(-1) as AttemptTrace);
  request.refuse(outcome.code, end === '' ? last : `${last}; ${end}`);
  return 'settled';
}

/** null = another attempt is allowed. '' = the code says it. */
function whyItEnds(
  request: OutboundRequest,
  outcome: Extract<AttemptOutcome, { kind: 'failed' }>,
): string | null {
  if (outcome.isPathLost !== true && FINAL.has(outcome.code)) return '';
  if (request.attempts.length >= MAX_ATTEMPTS) return `${MAX_ATTEMPTS} attempts are enough`;
  const { head } = request.downstream;
  return whyNoRetry({
    stage: outcome.stage,
    method: head.method,
    replayable: request.relay.isReplayable,
    idempotencyKey: has(head.fields, 'idempotency-key'),
    postOptIn: request.policy.retryPost,
  });
}

function isSame(given: string, wanted: string): boolean {
  const a = Buffer.from(given, 'latin1');
  const b = Buffer.from(wanted, 'latin1');
  return a.length === b.length && timingSafeEqual(a, b);
}
