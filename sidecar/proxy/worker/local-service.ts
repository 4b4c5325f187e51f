/**
 * One service of the local worker: its slots, its readiness, and the attempt that reaches it, at its one instance or at
 * one of several.
 *
 * Used by both listeners, so that a request from the app beside it and one from a peer share one count and one queue.
 */
import type { Code } from '../../core/errors.ts';
import type { SentHost } from '../../core/forwarding/mount.ts';
import { type Answer, refusalMs } from '../../core/http/answer.ts';
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
import type { AttemptOutcome } from '../../http/attempt-outcome.ts';
import type { IncomingHead, RequestTimeouts, Upstreams } from '../../http/exchange.ts';
import type { Sessions } from '../peer/sessions.ts';
import { InstanceTries, type LocalAttempt, type Retries, type TriesHost } from './instance-tries.ts';
import { SlotQueue } from './slot-queue.ts';
import type { SlotUse } from './slot-use.ts';
import { answerIn, type Lack, type Left, refused, turnedAway } from './worker-fault.ts';
import type { AtWork } from './worker-health.ts';
import { type InstanceOptions, type WorkerInstance, WorkerInstances } from './worker-instance.ts';

export interface LocalServiceOptions {
  readonly name: string;
  /** At least one. */
  readonly instances: readonly InstanceOptions[];
  /** Requests that each of them serves at once; null = not limited. Asked where there are several. */
  readonly concurrencyEach?: number | null;
  /** What may be sent to another instance: by the rules between workers. */
  readonly retries?: Retries;
  /** Absent: that of its URL. */
  readonly sentHost?: SentHost;
  readonly timeouts: RequestTimeouts;
  readonly admission: Admission;
  readonly slotUse: SlotUse;
  readonly upstreams: Upstreams;
  /** Told of the answers, for the sessions that they give; absent = nobody wants to know. */
  readonly sessions?: Pick<Sessions, 'answeredHere' | 'placeOf'>;
}

type Ends = Pick<AttemptOptions, 'judge' | 'ended' | 'faulted'>;

export class LocalService {
  readonly name: string;
  readonly instances: WorkerInstances;
  readonly admission: Admission;
  /** By its answers, to the app here and to peers. */
  readonly standing = new Standing();
  /** What the worker itself says of its load. */
  readonly selfReportedLoad = new SelfReportedLoad();
  readonly #options: LocalServiceOptions;
  readonly #callers = new CallerCounts();
  readonly #queue: SlotQueue;
  readonly #triesHost: TriesHost = {
    isPaused: () => this.#isPaused,
    seekSlot: (attempt, tries) => this.#seekSlot(attempt, tries),
    unused: (slot, callerKey) => this.#unused(slot, callerKey),
    attemptAt: (instance, slot, attempt, tries) => {
      if (slot === null) this.#attemptBeside(attempt, instance, tries);
      else this.#attemptIn(slot, attempt, instance, tries);
    },
  };
  #isPaused = false;
  #wasReady = false;
  readonly #stateListeners: (() => void)[] = [];

  constructor(options: LocalServiceOptions) {
    this.name = options.name;
    const { instances, sentHost = { kind: 'worker' }, concurrencyEach = null } = options;
    this.instances = new WorkerInstances({
      instances,
      sentHost,
      concurrencyEach,
      admission: options.admission,
    });
    this.admission = options.admission;
    this.#queue = new SlotQueue(options.admission);
    this.#options = options;
  }

  get state(): Exclude<WorkerState, 'draining'> {
    return this.instances.isReady ? 'ready' : 'warming';
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
    return this.state === 'ready' ? null : this.instances.unready;
  }

  /** Called when it has become ready, or is not any more; and when it is paused or resumed. */
  onStateChange(listener: () => void): void {
    this.#stateListeners.push(listener);
  }

  /** By its health checks. One that was gone and is back is not the one that failed. */
  stateChanged(instance = this.instances.first): void {
    const nowMs = performance.now();
    if (instance.health.isReady) instance.standing.startAnew(nowMs);
    this.instances.resize();
    const isReady = this.state === 'ready';
    if (this.instances.hasSeveral && isReady === this.#wasReady) return;
    this.#wasReady = isReady;
    if (isReady) this.standing.startAnew(nowMs);
    for (const listener of this.#stateListeners) listener();
  }

  /** By its answers: one of another worker is the better choice for the app here, if there is one. */
  isLeftOut(nowMs: number): boolean {
    return this.standing.health.isEjected(nowMs) || this.standing.isFull(this.admission.inFlight, nowMs);
  }

  /** How the program at a place is at it, as far as this service knows; null = any of its own. */
  atWork(place: string | null = null): AtWork {
    const { headMs } = this.#options.timeouts;
    return this.instances.atWork(place, headMs, this.admission.serviceMs(performance.now()));
  }

  get isHttp2(): boolean {
    return this.instances.first.origin.scheme === 'h2c';
  }

  /** What was sent to one may be sent again here: its body is worth keeping. */
  get mayRepeat(): boolean {
    return this.isHttp2 || this.instances.hasSeveral;
  }

  /** Where the worker is reached. */
  get address(): string {
    return this.instances.address;
  }

  get healthReason(): string {
    return this.instances.reason;
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
  reported(value: string, instance = this.instances.first): void {
    const load = loadInOrca(value);
    if (load === null) return;
    const nowMs = performance.now();
    this.selfReportedLoad.report('orca', this.instances.said(instance, load, nowMs), nowMs);
  }

  /**
   * Its caller has somewhere better for it. False when it does not wait here, or no more. Who asks again, since what
   * was said has not reached him, is told the same.
   */
  cancelQueued(callerKey: string, nonce: string): boolean {
    return this.#queue.cancel(callerKey, nonce);
  }

  /**
   * Waits for a slot, then makes the attempt; a refusal is an outcome with stage `not_sent`. What one of several
   * instances does not serve goes to the next. Never throws.
   */
  attempt(attempt: LocalAttempt): void {
    const { instances, whyNot } = this;
    if (whyNot !== null) {
      attempt.ended(refused(whyNot.code, whyNot.detail));
      return;
    }
    if (!this.isHttp2 && isGrpc(attempt.head.fields)) {
      attempt.ended(refused('grpc_not_carried', 'the worker is spoken to in HTTP/1.1: its URL lacks h2c://'));
      return;
    }
    const tries = instances.hasSeveral ? this.#triesOf(attempt) : null;
    if (!this.#options.slotUse.isFree(attempt.head, instances.first.basePath)) this.#seekSlot(attempt, tries);
    else if (tries === null) this.#attemptBeside(attempt, instances.first, null);
    else tries.attemptNext(null);
  }

  #triesOf(attempt: LocalAttempt): InstanceTries {
    const { instances } = this;
    const { retries, sessions } = this.#options;
    const bound = instances.at(sessions?.placeOf(this.name, attempt.head.fields) ?? null);
    return new InstanceTries({ instances, attempt, retries, bound }, this.#triesHost);
  }

  /** `tries`: null where there is one instance. */
  #seekSlot(attempt: LocalAttempt, tries: InstanceTries | null): void {
    this.#callers.began(attempt.callerKey);
    const slot = this.admission.acquireFree();
    if (slot !== null) this.#granted(slot, attempt, tries);
    else {
      const waited = this.#queue.wait(attempt).then((end) => this.#waited(end, attempt, tries));
      waited.catch((error: unknown) => attempt.faulted(error));
    }
  }

  #waited(end: Slot | Lack | Left, attempt: LocalAttempt, tries: InstanceTries | null): void {
    if (typeof end !== 'string') {
      this.#granted(end, attempt, tries);
      return;
    }
    this.#callers.ended(attempt.callerKey, performance.now());
    const outcome = turnedAway(end, this.admission);
    if (tries === null) attempt.ended(outcome);
    else tries.end(outcome);
  }

  #granted(slot: Slot, attempt: LocalAttempt, tries: InstanceTries | null): void {
    if (tries === null) this.#attemptIn(slot, attempt, this.instances.first, null);
    else tries.attemptNext(slot);
  }

  #unused(slot: Slot, callerKey: string): void {
    const nowMs = performance.now();
    if (slot.release(nowMs, null)) this.#callers.ended(callerKey, nowMs);
  }

  /** Without a slot: it neither waits nor has others wait. */
  #attemptBeside(attempt: LocalAttempt, instance: WorkerInstance, tries: InstanceTries | null): void {
    this.admission.opened();
    instance.open++;
    this.standing.health.tried(performance.now());
    const over = (counted: Answer | null): void => {
      this.admission.closed();
      instance.open--;
      const nowMs = performance.now();
      if (tries !== null) this.instances.judge(instance, counted, nowMs);
      this.#counted(counted, nowMs);
    };
    this.#run(attempt, instance, {
      judge: (response, answer) => {
        this.#heard(attempt, instance, response, answer, tries);
        return attempt.judge(response, answer, false, false);
      },
      ended: (outcome) => {
        over(answerIn(outcome));
        attempt.ended(this.#noted(instance, outcome));
      },
      faulted: (error) => {
        over(null);
        attempt.faulted(error);
      },
    });
  }

  #attemptIn(slot: Slot, attempt: LocalAttempt, instance: WorkerInstance, tries: InstanceTries | null): void {
    const startedMs = performance.now();
    const { head, callerKey } = attempt;
    const { slotUse } = this.#options;
    const others = this.admission.inFlight - 1;
    const othersThere = instance.inFlight++;
    let isComing = false;
    if (othersThere === 0) instance.signMs = startedMs;
    this.standing.health.tried(startedMs);
    // Also after a fault of this program: a slot is never lost.
    const over = (counted: Answer | null, serviceMs: number | null, nowMs: number): void => {
      if (isComing) instance.coming--;
      const kind = serviceMs === null ? 0 : requestClass(head.method, head.target);
      if (slot.isHeld) instance.inFlight--;
      else instance.open--;
      // Before the slot goes on: that of one that is left out goes to nobody.
      if (tries !== null) this.instances.judge(instance, counted, nowMs);
      if (slot.release(nowMs, serviceMs, kind)) this.#callers.ended(callerKey, nowMs);
      else this.admission.closed();
      this.#counted(counted, nowMs);
    };
    this.#run(attempt, instance, {
      judge: (response, answer) => {
        this.#heard(attempt, instance, response, answer, tries);
        const nowMs = performance.now();
        instance.signMs = nowMs;
        if (answer === 'served') {
          this.standing.took(others, startedMs, nowMs);
          if (tries !== null) instance.standing.took(othersThere, startedMs, nowMs);
        }
        const isChannel = head.method === 'GET' && slotUse.isFreeStream(response);
        if (isChannel) this.#giveBack(instance, slot, callerKey);
        else {
          instance.coming++;
          isComing = true;
        }
        return attempt.judge(response, answer, !isChannel, false);
      },
      ended: (outcome) => {
        const counted = answerIn(outcome);
        const nowMs = performance.now();
        // A session (101) is as long as its two ends like: it says nothing of the worker.
        const isMeasure =
          counted === 'served' &&
          outcome.kind === 'completed' &&
          outcome.status !== 101 &&
          slotUse.isWork(head, instance.basePath);
        over(counted, isMeasure ? nowMs - startedMs : null, nowMs);
        attempt.ended(this.#noted(instance, outcome));
      },
      faulted: (error) => {
        over(null, null, performance.now());
        attempt.faulted(error);
      },
    });
  }

  /** What has begun goes on without a slot. */
  #giveBack(instance: WorkerInstance, slot: Slot, callerKey: string): void {
    const nowMs = performance.now();
    this.#callers.ended(callerKey, nowMs);
    this.admission.opened();
    instance.inFlight--;
    instance.open++;
    slot.release(nowMs, null);
  }

  #run(attempt: LocalAttempt, { origin }: WorkerInstance, { judge, ended, faulted }: Ends): void {
    const { upstreams, timeouts } = this.#options;
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
  #heard(
    { head }: LocalAttempt,
    instance: WorkerInstance,
    response: IncomingHead,
    answer: Answer,
    tries: InstanceTries | null,
  ): void {
    const report = first(response.fields, 'endpoint-load-metrics');
    if (report !== undefined) this.reported(report, instance);
    if (answer !== 'refused') {
      this.#options.sessions?.answeredHere(this.name, head, response, instance.url);
      return;
    }
    const nowMs = performance.now();
    const forMs = refusalMs(response.fields, Date.now());
    if (tries !== null) {
      this.instances.refused(instance, nowMs, forMs);
      if (tries.mayGoOn('refused')) return;
    }
    this.standing.refusedAt(this.admission.inFlight - 1, nowMs, forMs);
  }

  /** null: the worker is not to blame for how it ended. */
  #counted(answer: Answer | null, nowMs: number): void {
    if (answer === null || answer === 'refused') this.standing.health.abandoned(nowMs);
    else this.standing.answered(answer, nowMs);
  }

  #noted({ health }: WorkerInstance, outcome: AttemptOutcome): AttemptOutcome {
    if (outcome.kind === 'failed' && outcome.stage === 'not_sent')
      health.suspect(outcome.detail, outcome.isRefused === true);
    return outcome;
  }
}
