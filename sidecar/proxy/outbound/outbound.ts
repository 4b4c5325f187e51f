/**
 * Requests from apps: classify → select → attempt → judge → respond, in that order, top to bottom.
 *
 * A loop over attempts in one place, instead of a stack of retrying layers: each step sees what the one before it
 * returned, and so does the one who reads the response.
 */
import type { Code } from '../../core/errors.ts';
import { type Addressed, serviceAddress } from '../../core/forwarding/service-address.ts';
import { viaContains } from '../../core/forwarding/via.ts';
import type { Answer } from '../../core/http/answer.ts';
import type { RawFields } from '../../core/http/message.ts';
import { isPreflight, preflightFields, type WebPages } from '../../core/http/web-pages.ts';
import { type RetryBudget, whyNoRetry } from '../../core/retry.ts';
import type { AttemptOutcome } from '../../http/attempt-outcome.ts';
import type { Downstream } from '../../http/exchange.ts';
import { type FinalRecipient, finalRecipient } from '../final-recipient.ts';
import type { OutboundObserver } from '../observers.ts';
import type { LocalService } from '../worker/local-service.ts';
import { AppTokens } from './app-tokens.ts';
import { attemptText, kindOf } from './attempt-trace.ts';
import { type BoundSelectorOptions, type Selector, selectorFor } from './bound-selector.ts';
import type { PeerDirectory } from './directory.ts';
import { attemptLocal, type LocalAttemptOptions } from './local-attempt.ts';
import { ejectOutlier } from './outliers.ts';
import {
  type AttemptContext,
  attemptPeer,
  type PeerAttemptEnd,
  type PeerAttemptOptions,
} from './peer-attempt.ts';
import { type ReportOptions, RequestReport } from './report.ts';
import { OutboundRequest, type RequestOptions, type WorkerWishes, workerWishes } from './request.ts';
import type { LocalTarget, PeerTarget, Target } from './target.ts';

/** More repeats of what a worker may have done have never helped anyone. */
const MAX_SENT = 8;

/**
 * What nobody took is bounded by the candidates, each of whom is asked once, and by the time that it takes to find them
 * dead: no client waits much longer.
 */
const MAX_SEARCH_MS = 30_000;

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

/** What tells a request of an app that is carried from one that is not. */
export interface ClassifyOptions {
  /** Wanted of every request when set, unless it has that of a named app. */
  readonly token: string | null;
  /** App → its own token; absent = none. */
  readonly tokens?: ReadonlyMap<string, string>;
  readonly pseudonym: string;
  readonly aliases: ReadonlyMap<string, string>;
  /** Which web pages may call. */
  readonly webPages: Pick<WebPages, 'judge'>;
}

/** All that the steps take, each of it declared by the step that takes it. */
export interface OutboundOptions
  extends ClassifyOptions,
    RequestOptions,
    BoundSelectorOptions,
    LocalAttemptOptions,
    PeerAttemptOptions,
    ReportOptions {
  readonly directory: PeerDirectory;
  readonly services: ReadonlyMap<string, LocalService>;
  readonly budget: RetryBudget;
  readonly observer: OutboundObserver;
}

type Refused = { readonly code: Code; readonly detail: string };
type LocallyAnswered = Extract<FinalRecipient, { kind: 'reply' }>;

const NO_TOKENS: ReadonlyMap<string, string> = new Map();

const NO_TOKEN: Refused = {
  code: 'not_a_member',
  detail: 'no token of an app: sidecar-token, or Authorization: Bearer, is missing or wrong',
};

const NO_BYTES = Buffer.alloc(0);

const NOWHERE = { service: '', target: '/', prefix: '' };

export function createOutbound(options: OutboundOptions): (downstream: Downstream) => void {
  const { observer, webPages } = options;
  const tokens = new AppTokens(options.token, options.tokens ?? NO_TOKENS);
  return (downstream) => {
    observer.requestStarted();
    const { head } = downstream;
    const page = webPages.judge(head);
    const origin = page.kind === 'allowed' ? page.origin : null;
    const isQuestion = origin !== null && isPreflight(head); // comes without the token (Fetch §4.8)
    const app = isQuestion || page.kind === 'refused' ? null : tokens.admit(head);
    const asked =
      page.kind === 'refused'
        ? page
        : isQuestion
          ? preflightReply(origin, head.fields)
          : app === null
            ? NO_TOKEN
            : classify(downstream, options);
    const whom = 'service' in asked ? asked : NOWHERE;
    const request = new OutboundRequest(downstream, whom, options, { app: app?.name ?? null, origin });
    const report = new RequestReport(request, options);
    if ('code' in asked) report.refuse(asked.code, asked.detail);
    else if ('reply' in asked) report.replyLocally(asked.reply);
    else new Forwarding(request, report, options).start();
  };
}

/** By this sidecar: the worker may not be there yet, and has nothing to do with whose pages may call. */
function preflightReply(origin: string, fields: RawFields): LocallyAnswered {
  const reply = {
    status: 204,
    reason: 'No Content',
    fields: preflightFields(origin, fields),
    body: NO_BYTES,
  };
  return { kind: 'reply', reply };
}

/** What is asked for; or why it is not carried. */
function classify(
  { head }: Downstream,
  { pseudonym, aliases }: ClassifyOptions,
): (Addressed & WorkerWishes) | Refused | LocallyAnswered {
  if (head.method === 'CONNECT') return { code: 'not_supported', detail: 'CONNECT is not carried' };
  if (viaContains(head.fields, pseudonym))
    return {
      code: 'loop_detected',
      detail: 'Via names this sidecar already: the request came back to where it came from',
    };
  const last = finalRecipient(head);
  if (last.kind !== 'forward') return last;
  const addressed = serviceAddress(head, aliases);
  if ('error' in addressed) return { code: addressed.error, detail: addressed.detail };
  const wishes = workerWishes(head.fields);
  return 'fault' in wishes ? { code: 'bad_request', detail: wishes.fault } : { ...addressed, ...wishes };
}

/**
 * The attempts of one request, one after the other. By callbacks: nearly every request is over with its first attempt,
 * and pays for no promise.
 */
class Forwarding implements AttemptContext {
  readonly request: OutboundRequest;
  readonly selector: Selector;
  readonly report: RequestReport;
  readonly #options: OutboundOptions;
  /** Of the attempt that is out. */
  #target: LocalTarget | PeerTarget | null = null;
  #startedMs = 0;

  constructor(request: OutboundRequest, report: RequestReport, options: OutboundOptions) {
    this.request = request;
    this.report = report;
    this.selector = selectorFor(request, options);
    this.#options = options;
  }

  start(): void {
    const { budget, services } = this.#options;
    try {
      budget.deposit(this.request.sinceMs);
      const local = services.get(this.request.service);
      if (local !== undefined && local.whyNot !== null) this.report.localNotReady(local, local.whyNot);
      this.#next();
    } catch (error) {
      this.faulted(error);
    }
  }

  #next(): void {
    const next = this.selector.next(this.report.attempts);
    if (next instanceof Promise)
      next.then((target) => this.#attempt(target)).catch((error: unknown) => this.faulted(error));
    else this.#attempt(next);
  }

  #attempt(target: Target): void {
    const { report, request } = this;
    report.selected(target, this.selector.seen);
    if (request.relay.isGone) report.clientGone(null, null);
    else if (target.kind === 'no_upstream') report.refuse(target.code, target.detail);
    else this.#send(target);
  }

  #send(target: LocalTarget | PeerTarget): void {
    this.#target = target;
    this.#startedMs = performance.now();
    this.#options.observer.attempted(kindOf(target));
    if (target.kind === 'local') attemptLocal(target, this, this.#options);
    else attemptPeer(target, this, this.#options, this.#startedMs);
  }

  peerEnded(end: PeerAttemptEnd): void {
    if (this.#target?.kind === 'peer') this.selector.attempted(this.#target, end);
    this.ended(end.outcome);
  }

  ended(outcome: AttemptOutcome): void {
    // However many fail at once, none is tried from inside the one before it.
    if (outcome.kind === 'failed') queueMicrotask(() => this.#over(outcome));
    else this.#over(outcome);
  }

  faulted(error: unknown): void {
    this.#options.observer.internalError(error);
    this.report.refuse('internal', 'a fault in this sidecar');
  }

  #over(outcome: AttemptOutcome): void {
    try {
      if (this.#target !== null) this.#judged(this.#target, outcome);
    } catch (error) {
      this.faulted(error);
    }
  }

  #judged(target: LocalTarget | PeerTarget, outcome: AttemptOutcome): void {
    const { report } = this;
    if (outcome.kind === 'completed' && target.kind === 'local') this.#compare(target, outcome.answer);
    if (outcome.kind === 'client_gone') report.clientGone(target, outcome.firstByteMs);
    else if (outcome.kind === 'failed') this.#failed(target, outcome);
    else report.responded(target, outcome);
  }

  #failed(target: LocalTarget | PeerTarget, outcome: Extract<AttemptOutcome, { kind: 'failed' }>): void {
    const { report, request, selector } = this;
    const { observer } = this.#options;
    const trace = report.failed(target, outcome, this.#startedMs);
    observer.attemptFailed(outcome.code);
    if (outcome.stage === 'refused') selector.refused();
    const end = judge(request, outcome, report, this.#options);
    if (end !== null) {
      const last = attemptText(trace);
      report.refuse(outcome.code, end === '' ? last : `${last}; ${end}`);
      return;
    }
    if (selector.isMigrating) observer.migrated();
    observer.retried(outcome.code);
    this.#next();
  }

  #compare({ service }: LocalTarget, answer: Answer): void {
    if (answer !== 'failed' && answer !== 'rejected') return;
    ejectOutlier(service.standing, answer, this.request.service, this.#options, performance.now());
  }
}

/** null = another attempt is made. '' = none, as the code says; else why there is none, for people. */
function judge(
  request: OutboundRequest,
  { code, isPathLost, stage }: Extract<AttemptOutcome, { kind: 'failed' }>,
  { searchMs, sentCount }: Pick<RequestReport, 'searchMs' | 'sentCount'>,
  { budget, observer }: Pick<OutboundOptions, 'budget' | 'observer'>,
): string | null {
  if (isPathLost !== true && FINAL.has(code)) return '';
  if (sentCount >= MAX_SENT) return `${MAX_SENT} attempts that were sent are enough`;
  if (searchMs >= MAX_SEARCH_MS) return `nobody took it within ${MAX_SEARCH_MS / 1000} s of trying`;
  const why = whyNoRetry(request.retryQuestion(stage));
  // What no worker took cost none of them anything; turning away is bounded by itself. The budget is for repeats.
  if (why !== null || stage !== 'sent' || budget.withdraw(performance.now())) return why;
  observer.retryRefused();
  return 'not sent again, since the retry budget is used up (retries.budgetRatio, retries.perSecond)';
}
