/**
 * One service of the local worker: its slots, its readiness, and the attempt that reaches it.
 *
 * Used by both listeners, so that a request from the app beside it and one from a peer share one count and one queue.
 */
import type { Code } from '../../core/errors.ts';
import type { SentHost } from '../../core/forwarding/mount.ts';
import { type Answer, refusalMs } from '../../core/http/answer.ts';
import { hostHeader } from '../../core/http/base-url.ts';
import { isGrpc } from '../../core/http/grpc.ts';
import { first } from '../../core/http/headers.ts';
import { PAUSED } from '../../core/peers/exclusion-reason.ts';
import type { WorkerState } from '../../core/peers/record.ts';
import { Standing } from '../../core/peers/standing.ts';
import type { Admission, Slot } from '../../core/worker/admission.ts';
import { CallerCounts } from '../../core/worker/caller-counts.ts';
import { loadInOrca } from '../../core/worker/orca.ts';
import { SelfReportedLoad } from '../../core/worker/self-reported-load.ts';
import { requestClass } from '../../core/worker/service-times.ts';
import { type AttemptOptions, runAttempt } from '../../http/attempt.ts';
import type { AttemptOutcome, Judgement } from '../../http/attempt-outcome.ts';
import {
  type IncomingHead,
  type Origin,
  placeOf,
  type RequestTimeouts,
  type Upstreams,
} from '../../http/exchange.ts';
import type { Sessions } from '../peer/sessions.ts';
import { SlotQueue } from './slot-queue.ts';
import type { SlotUse } from './slot-use.ts';
import { answerIn, type Lack, type Left, refused, turnedAway } from './worker-fault.ts';
import type { AtWork, WorkerHealth } from './worker-health.ts';

export interface LocalServiceOptions {
  readonly name: string;
  readonly origin: Origin;
  /** Of the worker, as it is shown. */
  readonly url: string;
  /** Path of the worker's URL without a trailing slash; '' for none. */
  readonly basePath: string;
  /** Absent: that of its URL. */
  readonly sentHost?: SentHost;
  readonly timeouts: RequestTimeouts;
  readonly admission: Admission;
  readonly slotUse: SlotUse;
  readonly health: WorkerHealth;
  readonly upstreams: Upstreams;
  /** Told of the answers, for the sessions that they give; absent = nobody wants to know. */
  readonly sessions?: Pick<Sessions, 'answeredHere'>;
}

type Given = 'upstreams' | 'origin' | 'timeouts' | 'repeatStale' | 'judge' | 'watch';

export type LocalAttempt = Omit<AttemptOptions, Given> & {
  /** `holdsSlot`: whether it goes on holding one. */
  judge(response: IncomingHead, answer: Answer, holdsSlot: boolean): Judgement;
  /** Key of the peer that asks; '' for the app beside this sidecar. */
  readonly callerKey: string;
  /** The queue that the caller counts on; a longer one is refused at once. null = any. */
  readonly expectedQueue: number | null;
  /** Since when the request is under way, monotonic ms. */
  readonly sinceMs: number;
  /** By which its caller can take it back while it waits. */
  readonly nonce?: string;
};

type Ends = Pick<AttemptOptions, 'judge' | 'ended' | 'faulted'>;

/** Where it is known how long its requests take, it may be silent for so many times that, and for so long at least. */
const SILENT_RATIO = 20;
const SILENT_MS = 60_000;

export class LocalService {
  readonly name: string;
  readonly basePath: string;
  /** Of its URL, as a Host field says it. */
  readonly host: string;
  /** Of the URLs that it makes of itself. */
  readonly scheme: 'http' | 'https';
  /** Where the program listens that is asked, whatever it is asked for. */
  readonly place: string;
  readonly sentHost: SentHost;
  readonly admission: Admission;
  /** By its answers, to the app here and to peers. */
  readonly standing = new Standing();
  /** What the worker itself says of its load. */
  readonly selfReportedLoad = new SelfReportedLoad();
  readonly #options: LocalServiceOptions;
  readonly #callers = new CallerCounts();
  /** Responses that are coming from the worker to those who hold a slot. */
  #coming = 0;
  /** Monotonic ms at which the worker last gave a sign, or was given the first of the requests that it has. */
  #signMs = Number.NEGATIVE_INFINITY;
  readonly #queue: SlotQueue;
  #isPaused = false;
  readonly #stateListeners: (() => void)[] = [];

  constructor(options: LocalServiceOptions) {
    this.name = options.name;
    this.basePath = options.basePath;
    this.host = hostHeader(options.origin);
    this.scheme = options.origin.scheme === 'https' ? 'https' : 'http';
    this.place = placeOf(options.origin);
    this.sentHost = options.sentHost ?? { kind: 'worker' };
    this.admission = options.admission;
    this.#queue = new SlotQueue(options.admission);
    this.#options = options;
  }

  get state(): Exclude<WorkerState, 'draining'> {
    return this.#options.health.isReady ? 'ready' : 'warming';
  }

  /** Whoever runs the worker has taken it out for a while. */
  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** What waits goes elsewhere, what runs goes on to its end. */
  setPaused(isPaused: boolean): void {
    if (isPaused === this.#isPaused) return;
    this.#isPaused = isPaused;
    if (isPaused) this.#queue.turnAway();
    for (const listener of this.#stateListeners) listener();
  }

  /** Why no request is taken now; null = they are. */
  get whyNot(): { readonly code: Code; readonly detail: string } | null {
    if (this.#isPaused) return { code: 'paused', detail: PAUSED };
    if (this.state === 'ready') return null;
    const code = this.#options.health.isUntrusted ? 'certificate_untrusted' : 'warming';
    return { code, detail: `the worker is not ready: ${this.healthReason}` };
  }

  /** Called when it has become ready, or is not any more; and when it is paused or resumed. */
  onStateChange(listener: () => void): void {
    this.#stateListeners.push(listener);
  }

  /** By its health checks. One that was gone and is back is not the one that failed. */
  stateChanged(): void {
    if (this.state === 'ready') this.standing.startAnew(performance.now());
    for (const listener of this.#stateListeners) listener();
  }

  /** By its answers: one of another worker is the better choice for the app here, if there is one. */
  isLeftOut(nowMs: number): boolean {
    return this.standing.health.isEjected(nowMs) || this.standing.isFull(this.admission.inFlight, nowMs);
  }

  /**
   * A response that stands still ends by `timeouts.idle`, so one that goes on moves; and no worker is silent about all
   * that it has for longer than one answer may take.
   */
  get atWork(): AtWork {
    if (this.#coming > 0) return 'moves';
    if (this.admission.inFlight === 0) return 'no';
    const nowMs = performance.now();
    const { headMs } = this.#options.timeouts;
    const usualMs = this.admission.serviceMs(nowMs);
    const bearableMs = usualMs === null ? headMs : Math.max(SILENT_MS, SILENT_RATIO * usualMs);
    return nowMs - this.#signMs < Math.min(headMs, bearableMs) ? 'waits' : 'no';
  }

  get isHttp2(): boolean {
    return this.#options.origin.scheme === 'h2c';
  }

  /** Where the worker is reached. */
  get address(): string {
    return this.#options.url;
  }

  get healthReason(): string {
    return this.#options.health.reason;
  }

  /** Requests of this caller that hold a slot here now, or wait for one. */
  outstandingOf(callerKey: string): number {
    return this.#callers.outstandingOf(callerKey);
  }

  /** Callers that have requests here now or had some a moment ago, at least 1. */
  get activeCallers(): number {
    return this.#callers.activeCallers(performance.now());
  }

  /** The worker's own `endpoint-load-metrics`, on a response or to a health check. */
  reported(value: string): void {
    const load = loadInOrca(value);
    if (load !== null) this.selfReportedLoad.report('orca', load, performance.now());
  }

  /**
   * Its caller has somewhere better for it. False when it does not wait here, or no more. Who asks again, since what
   * was said has not reached him, is told the same.
   */
  cancelQueued(callerKey: string, nonce: string): boolean {
    return this.#queue.cancel(callerKey, nonce);
  }

  /** Waits for a slot, then makes the attempt; a refusal is an outcome with stage `not_sent`. Never throws. */
  attempt(attempt: LocalAttempt): void {
    const { whyNot } = this;
    if (whyNot !== null) {
      attempt.ended(refused(whyNot.code, whyNot.detail));
      return;
    }
    if (!this.isHttp2 && isGrpc(attempt.head.fields)) {
      attempt.ended(refused('grpc_not_carried', 'the worker is spoken to in HTTP/1.1: its URL lacks h2c://'));
      return;
    }
    if (this.#options.slotUse.isFree(attempt.head, this.basePath)) {
      this.#attemptBeside(attempt);
      return;
    }
    this.#callers.began(attempt.callerKey);
    const slot = this.admission.acquireFree();
    if (slot !== null) this.#attemptIn(slot, attempt);
    else {
      const waited = this.#queue.wait(attempt).then((end) => this.#waited(end, attempt));
      waited.catch((error: unknown) => attempt.faulted(error));
    }
  }

  #waited(end: Slot | Lack | Left, attempt: LocalAttempt): void {
    if (typeof end !== 'string') {
      this.#attemptIn(end, attempt);
      return;
    }
    this.#callers.ended(attempt.callerKey, performance.now());
    attempt.ended(turnedAway(end, this.admission));
  }

  /** Without a slot: it neither waits nor has others wait. */
  #attemptBeside(attempt: LocalAttempt): void {
    this.admission.opened();
    this.standing.health.tried(performance.now());
    const over = (counted: Answer | null): void => {
      this.admission.closed();
      this.#counted(counted, performance.now());
    };
    this.#run(attempt, {
      judge: (response, answer) => {
        this.#heard(attempt, response, answer);
        return attempt.judge(response, answer, false);
      },
      ended: (outcome) => {
        over(answerIn(outcome));
        attempt.ended(this.#noted(outcome));
      },
      faulted: (error) => {
        over(null);
        attempt.faulted(error);
      },
    });
  }

  #attemptIn(slot: Slot, attempt: LocalAttempt): void {
    const startedMs = performance.now();
    const { head, callerKey } = attempt;
    const { slotUse } = this.#options;
    const others = this.admission.inFlight - 1;
    let isComing = false;
    if (this.admission.inFlight === 1) this.#signMs = startedMs;
    this.standing.health.tried(startedMs);
    // Also after a fault of this program: a slot is never lost.
    const over = (counted: Answer | null, serviceMs: number | null, nowMs: number): void => {
      if (isComing) this.#coming--;
      const kind = serviceMs === null ? 0 : requestClass(head.method, head.target);
      if (slot.release(nowMs, serviceMs, kind)) this.#callers.ended(callerKey, nowMs);
      else this.admission.closed();
      this.#counted(counted, nowMs);
    };
    this.#run(attempt, {
      judge: (response, answer) => {
        this.#heard(attempt, response, answer);
        const nowMs = performance.now();
        this.#signMs = nowMs;
        if (answer === 'served') this.standing.took(others, startedMs, nowMs);
        const isChannel = head.method === 'GET' && slotUse.isFreeStream(response);
        if (isChannel) this.#giveBack(slot, callerKey);
        else {
          this.#coming++;
          isComing = true;
        }
        return attempt.judge(response, answer, !isChannel);
      },
      ended: (outcome) => {
        const counted = answerIn(outcome);
        const nowMs = performance.now();
        // A session (101) is as long as its two ends like: it says nothing of the worker.
        const isMeasure =
          counted === 'served' &&
          outcome.kind === 'completed' &&
          outcome.status !== 101 &&
          slotUse.isWork(head, this.basePath);
        over(counted, isMeasure ? nowMs - startedMs : null, nowMs);
        attempt.ended(this.#noted(outcome));
      },
      faulted: (error) => {
        over(null, null, performance.now());
        attempt.faulted(error);
      },
    });
  }

  /** What has begun goes on without a slot. */
  #giveBack(slot: Slot, callerKey: string): void {
    const nowMs = performance.now();
    this.#callers.ended(callerKey, nowMs);
    this.admission.opened();
    slot.release(nowMs, null);
  }

  #run(attempt: LocalAttempt, { judge, ended, faulted }: Ends): void {
    const { upstreams, origin, timeouts } = this.#options;
    const { downstream, relay, head, deadline, informational, trailers } = attempt;
    runAttempt({
      downstream,
      relay,
      head,
      deadline,
      informational,
      trailers,
      upstreams,
      origin,
      timeouts,
      repeatStale: true,
      judge,
      ended,
      faulted,
    });
  }

  /** What the head of a response tells of the worker. One that refuses is full with what it has besides. */
  #heard({ head }: LocalAttempt, { status, fields }: IncomingHead, answer: Answer): void {
    const report = first(fields, 'endpoint-load-metrics');
    if (report !== undefined) this.reported(report);
    if (answer !== 'refused') {
      this.#options.sessions?.answeredHere(this.name, head, { status, fields });
      return;
    }
    const nowMs = performance.now();
    this.standing.refusedAt(this.admission.inFlight - 1, nowMs, refusalMs(fields, Date.now()));
  }

  /** null: the worker is not to blame for how it ended. */
  #counted(answer: Answer | null, nowMs: number): void {
    if (answer === null || answer === 'refused') this.standing.health.abandoned(nowMs);
    else this.standing.answered(answer, nowMs);
  }

  #noted(outcome: AttemptOutcome): AttemptOutcome {
    if (outcome.kind === 'failed' && outcome.stage === 'not_sent')
      this.#options.health.suspect(outcome.detail, outcome.isRefused === true);
    return outcome;
  }
}
