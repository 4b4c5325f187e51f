/**
 * What is told of one request: to the app in fields and problems, to the observer when it is over, exactly once.
 *
 * It lists the attempts, and takes from the steps what they return: where the request went, and how that ended.
 */
import { CODES, type Code } from '../../core/errors.ts';
import { has } from '../../core/http/headers.ts';
import type { RawFields } from '../../core/http/message.ts';
import { corsFields } from '../../core/http/web-pages.ts';
import type { SkippedPeer } from '../../core/peers/exclusion-reason.ts';
import type { Ttfb } from '../../core/peers/ttfb.ts';
import type { TunnelLimits } from '../../core/peers/tunnel-limits.ts';
import { mayRetry, type Stage } from '../../core/retry.ts';
import type { AttemptOutcome, HeldAnswer } from '../../http/attempt-outcome.ts';
import type { LocalReply } from '../../http/local-reply.ts';
import type { OutboundObserver, RequestOutcome } from '../observers.ts';
import { type AttemptTrace, inFormOf, problemReply, sendHeld, sendReply } from '../problem.ts';
import type { LocalService } from '../worker/local-service.ts';
import { kindOf, type Tried, traceOf, workerOf } from './attempt-trace.ts';
import type { OutboundRequest } from './request.ts';
import { NOTHING_SEEN, type Seen, type Target } from './target.ts';

export interface ReportOptions {
  readonly workerId: string;
  readonly pseudonym: string;
  /** What an edge cuts off is remembered of the service, and what a response took. */
  readonly tunnelLimits: TunnelLimits;
  readonly ttfb: Ttfb;
  readonly observer: Pick<OutboundObserver, 'requestRouted' | 'requestFinished'>;
}

type Failed = Extract<AttemptOutcome, { kind: 'failed' }>;
type Responded = Extract<AttemptOutcome, { kind: 'completed' | 'broken' }>;

/** As logs of proxies have it; nobody is there to be told. */
const CLIENT_GONE_STATUS = 499;
const NOBODY: readonly SkippedPeer[] = [];

/** The list of a request that was tried everywhere stays one that can be read: of more, the last one is kept. */
const MAX_LISTED = 32;

/** Ends of an attempt after which a refusal that was held back is the best that can be told. */
const UNTAKEN: ReadonlySet<Stage> = new Set(['not_sent', 'refused']);

/** Members may say of themselves what no field can hold: as Latin-1 some of it would end the line. */
function fieldJson(value: unknown): string {
  return JSON.stringify(value).replace(/[^\x20-\x7e]/g, '?');
}

export class RequestReport {
  readonly #request: OutboundRequest;
  readonly #options: ReportOptions;
  readonly #attempts: AttemptTrace[] = [];
  #count = 0;
  #sentCount = 0;
  #searchMs = 0;
  /** The last refusal of a worker, for when nobody takes it. */
  #held: { readonly answer: HeldAnswer; readonly tried: Tried } | null = null;
  /** Workers that could not be asked, once nobody else can. */
  #skipped: readonly SkippedPeer[] = NOBODY;
  #seen: Seen = NOTHING_SEEN;
  #isRouted = false;
  #isOver = false;
  #detail: string | null = null;

  constructor(request: OutboundRequest, options: ReportOptions) {
    this.#request = request;
    this.#options = options;
  }

  /** The attempts that failed, in their order. */
  get attempts(): readonly AttemptTrace[] {
    return this.#attempts;
  }

  /** Attempts of which a worker may have seen the request. */
  get sentCount(): number {
    return this.#sentCount;
  }

  /** Time spent on attempts that did not come to a worker; its turn in a queue is no such time. */
  get searchMs(): number {
    return this.#searchMs;
  }

  /** Where the request goes next, and what was seen of the mesh for that. Counts where it goes first; once. */
  selected(target: Target, seen: Seen): void {
    this.#seen = seen;
    if (target.kind === 'no_upstream') this.#skipped = target.skipped;
    else if (!this.#isRouted) {
      this.#isRouted = true;
      this.#options.observer.requestRouted(target.kind === 'local' ? 'local' : 'forwarded');
    }
  }

  /** The worker beside us offers the service and cannot take it now. */
  localNotReady(service: LocalService, whyNot: NonNullable<LocalService['whyNot']>): void {
    this.#list({ kind: 'local', service }, { ...whyNot, stage: 'not_sent' }, performance.now());
  }

  /** Lists an attempt that began at `startedMs`, monotonic. */
  failed(tried: Tried, outcome: Failed, startedMs: number): AttemptTrace {
    const { ttfb, tunnelLimits } = this.#options;
    if (outcome.code === 'response_timeout' && kindOf(tried) === 'tunnel')
      ttfb.cutAt(this.#request.service, tunnelLimits.firstByteMs, performance.now());
    if (outcome.held !== undefined) this.#held = { answer: outcome.held, tried };
    const trace = this.#list(tried, outcome, startedMs);
    if (outcome.stage === 'sent') this.#sentCount++;
    else if (outcome.stage === 'not_sent' && outcome.code !== 'saturated') this.#searchMs += trace.took_ms;
    return trace;
  }

  /** Adds the fields that tell the app who answered; the decision too, if it asked. */
  pushResponseHeaders(fields: RawFields, tried: Tried, attempts = this.#count + 1): void {
    fields.push(
      'sidecar-worker',
      workerOf(tried, this.#options.workerId),
      'sidecar-route',
      kindOf(tried),
      'sidecar-attempts',
      String(attempts),
    );
    this.#pushIds(fields);
    // Where the worker has words of its own for pages, those stand.
    const { origin } = this.#request;
    if (origin !== null && !has(fields, 'access-control-allow-origin')) fields.push(...corsFields(origin));
  }

  responded(tried: Tried, outcome: Responded): void {
    const result = outcome.kind === 'broken' ? 'broken' : outcome.status >= 500 ? 'worker_error' : 'ok';
    const code = outcome.kind === 'broken' ? outcome.code : null;
    this.#options.ttfb.took(this.#request.service, outcome.firstByteMs, performance.now());
    if (outcome.kind === 'broken') this.#detail = `the response broke off: ${outcome.detail}`;
    this.#finish(result, code, outcome.status, outcome.firstByteMs, tried);
  }

  /** For a request that goes no further than here. */
  replyLocally(reply: LocalReply): void {
    sendReply(this.#request.downstream, reply, this.#replyHeaders(reply.fields));
    this.#finish('ok', null, reply.status, null, null);
  }

  /** `tried`: where the request was then; null = nowhere yet. */
  clientGone(tried: Tried | null, firstByteMs: number | null): void {
    this.#finish('client_gone', null, CLIENT_GONE_STATUS, firstByteMs, tried);
  }

  /** Answers in place of a worker; if one has refused the request and none has taken it, with that refusal. */
  refuse(code: Code, detail: string): void {
    const { downstream, id, relay, service } = this.#request;
    if (relay.isGone) {
      this.clientGone(null, null);
      return;
    }
    const last = this.#attempts.at(-1);
    if (this.#held !== null && last !== undefined && UNTAKEN.has(last.stage) && code !== 'internal') {
      this.#giveHeld(this.#held);
      return;
    }
    const reply = problemReply({
      code,
      detail,
      service: service === '' ? null : service,
      requestId: id,
      attempts: this.#attempts,
      skipped: this.#skipped,
      isRepeatable: this.#isRepeatable(),
      proxyName: this.#options.pseudonym,
    });
    sendReply(downstream, inFormOf(downstream, reply, code, detail), this.#replyHeaders(reply.fields));
    this.#detail = detail;
    const { status } = CODES[code];
    this.#finish(status < 500 || code === 'loop_detected' ? 'rejected' : 'failed', code, status, null, null);
  }

  #giveHeld({ answer, tried }: { readonly answer: HeldAnswer; readonly tried: Tried }): void {
    const { status, firstByteMs } = answer;
    const fields = [...answer.fields];
    this.pushResponseHeaders(fields, tried, this.#count);
    sendHeld(this.#request.downstream, answer, fields);
    this.responded(tried, { kind: 'completed', status, firstByteMs, answer: 'refused' });
  }

  /** By the app, which has the whole body. */
  #isRepeatable(): boolean {
    const wasSent = this.#attempts.some(({ stage }) => stage !== 'not_sent');
    return mayRetry({ ...this.#request.retryQuestion(wasSent ? 'sent' : 'not_sent'), replayable: true });
  }

  #list(tried: Tried, failure: Parameters<typeof traceOf>[2], attemptStartedMs: number): AttemptTrace {
    const { arrivedAtMs, elapsedMs, sinceMs } = this.#request;
    const startedMs = attemptStartedMs - sinceMs;
    const times = { arrivedAtMs, startedMs, tookMs: elapsedMs - startedMs };
    const trace = traceOf(tried, this.#options.workerId, failure, times);
    this.#count++;
    if (this.#attempts.length === MAX_LISTED) this.#attempts.pop();
    this.#attempts.push(trace);
    return trace;
  }

  /** Beside those that the reply has. */
  #replyHeaders(own: RawFields): RawFields {
    const fields = ['sidecar-attempts', String(this.#count)];
    this.#pushIds(fields);
    const { origin } = this.#request;
    if (origin !== null && !has(own, 'access-control-allow-origin')) fields.push(...corsFields(origin));
    return fields;
  }

  #pushIds(fields: RawFields): void {
    fields.push('sidecar-request-id', this.#request.id);
    const { decision } = this.#seen;
    if (decision !== null) fields.push('sidecar-decision', fieldJson(decision));
  }

  #finish(
    outcome: RequestOutcome,
    code: Code | null,
    status: number | null,
    firstByteMs: number | null,
    tried: Tried | null,
  ): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const { app, arrivedAtMs, deadline, downstream, elapsedMs, id, service } = this.#request;
    deadline?.cancel();
    this.#options.observer.requestFinished({
      id,
      atMs: arrivedAtMs,
      method: downstream.head.method,
      service,
      app,
      route: tried === null ? 'none' : kindOf(tried),
      peer: tried === null ? null : workerOf(tried, this.#options.workerId),
      status,
      outcome,
      code,
      firstByteMs,
      durationMs: elapsedMs,
      detail: this.#detail,
      attempts: this.#attempts,
      skipped: this.#skipped,
      view: this.#seen.view,
      viewAgeMs: this.#seen.viewAgeMs,
      decision: this.#seen.decision,
      bound: this.#seen.bound,
    });
  }
}
