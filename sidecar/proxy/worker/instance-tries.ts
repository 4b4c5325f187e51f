/**
 * An attempt on a service of this worker; and where several instances serve it, which of them it is made at, and when
 * what one did not serve goes to the next on the same machine: by the rules that hold between workers.
 */
import type { Code } from '../../core/errors.ts';
import type { Answer } from '../../core/http/answer.ts';
import { has } from '../../core/http/headers.ts';
import { mayRetry, type Stage } from '../../core/retry.ts';
import type { Slot } from '../../core/worker/admission.ts';
import type { AttemptOptions } from '../../http/attempt.ts';
import type { AttemptOutcome, Judgement } from '../../http/attempt-outcome.ts';
import type { IncomingHead, OutgoingHead } from '../../http/exchange.ts';
import { refused } from './worker-fault.ts';
import type { WorkerInstance, WorkerInstances } from './worker-instance.ts';

type Given = 'upstreams' | 'origin' | 'timeouts' | 'repeatStale' | 'judge' | 'watch';

/** `head` is as the first instance gets it. */
export type LocalAttempt = Omit<AttemptOptions, Given> & {
  /** The request as that one gets it, which is asked from now on. null where there is only one. */
  readonly headFor: ((instance: WorkerInstance) => OutgoingHead) | null;
  /** `holdsSlot`: whether it goes on holding one. `mayGoOn`: a refusal that is held goes to another instance. */
  judge(response: IncomingHead, answer: Answer, holdsSlot: boolean, mayGoOn: boolean): Judgement;
  /** Key of the peer that asks; '' for the app beside this sidecar. */
  readonly callerKey: string;
  /** The queue that the caller counts on; a longer one is refused at once. null = any. */
  readonly expectedQueue: number | null;
  /** Since when the request is under way, monotonic ms. */
  readonly sinceMs: number;
  /** By which its caller can take it back while it waits. */
  readonly nonce?: string;
};

/** As the service has it. */
export interface Retries {
  readonly post: boolean;
  readonly refused: boolean;
}

export interface TriesOptions {
  readonly instances: WorkerInstances;
  readonly attempt: LocalAttempt;
  readonly retries: Retries | undefined;
  /** It has the session of the request: no other is asked. null = any of them. */
  readonly bound: WorkerInstance | null;
}

/** What the service does for them. */
export interface TriesHost {
  /** No other is asked any more. */
  isPaused(): boolean;
  /** Calls `tries.attemptNext` with one. */
  seekSlot(attempt: LocalAttempt, tries: InstanceTries): void;
  /** It was not needed. */
  unused(slot: Slot, callerKey: string): void;
  /** `slot`: null for what holds none. */
  attemptAt(instance: WorkerInstance, slot: Slot | null, attempt: LocalAttempt, tries: InstanceTries): void;
}

const FINAL: ReadonlySet<Code> = new Set(['deadline', 'request_timeout', 'response_timeout']);

const AS_SERVICES_DO: Retries = { post: false, refused: true };

/** Of one request: each of the instances once, until one serves it. */
export class InstanceTries {
  readonly #options: TriesOptions;
  readonly #host: TriesHost;
  readonly #tried = new Set<WorkerInstance>();
  #head: OutgoingHead;
  #headIsFor: WorkerInstance;
  #refusal: AttemptOutcome | null = null;

  constructor(options: TriesOptions, host: TriesHost) {
    this.#options = options;
    this.#host = host;
    this.#head = options.attempt.head;
    this.#headIsFor = options.instances.first;
  }

  /** At the one whose turn it is. Never throws. */
  attemptNext(slot: Slot | null): void {
    const { attempt, instances } = this.#options;
    try {
      const instance = this.#next();
      if (instance === null) {
        if (slot !== null) this.#host.unused(slot, attempt.callerKey);
        const { code, detail } = this.#unready;
        this.end(refused(code, detail));
        return;
      }
      this.#tried.add(instance);
      instances.chosen(instance);
      this.#host.attemptAt(instance, slot, this.#attemptAt(instance, slot !== null), this);
    } catch (error) {
      if (slot !== null) this.#host.unused(slot, attempt.callerKey);
      attempt.faulted(error);
    }
  }

  /** Whether what ended at this stage may go to another. */
  mayGoOn(stage: Stage): boolean {
    return !this.#host.isPaused() && this.#maySendAgain(stage) && this.#next() !== null;
  }

  /** A refusal of a worker is the better answer than that the next one could not be asked. */
  end(outcome: AttemptOutcome): void {
    this.#options.attempt.ended(outcome.kind === 'failed' ? (this.#refusal ?? outcome) : outcome);
  }

  /** As it is made at this one. */
  #attemptAt(instance: WorkerInstance, needsSlot: boolean): LocalAttempt {
    const { attempt } = this.#options;
    if (instance !== this.#headIsFor && attempt.headFor !== null) {
      this.#head = attempt.headFor(instance);
      this.#headIsFor = instance;
    }
    return {
      ...attempt,
      head: this.#head,
      judge: (response, answer, holdsSlot) =>
        attempt.judge(response, answer, holdsSlot, answer === 'refused' && this.mayGoOn('refused')),
      ended: (outcome) => {
        if (this.#isOver(outcome)) this.end(named(outcome, instance));
        else if (!needsSlot) this.attemptNext(null);
        // Who has been let in does not go away for a queue.
        else this.#host.seekSlot({ ...attempt, expectedQueue: null }, this);
      },
    };
  }

  /** Why none is left to be asked. */
  get #unready(): { readonly code: Code; readonly detail: string } {
    const { bound, instances } = this.#options;
    if (bound === null) return instances.unready;
    return {
      code: 'warming',
      detail: `the worker is not ready: its session is at ${bound.url}: ${bound.health.reason}`,
    };
  }

  /** null = all were asked, or are ill. */
  #next(): WorkerInstance | null {
    const { instances, bound } = this.#options;
    if (bound === null) return instances.next(this.#tried);
    return bound.health.isReady && !this.#tried.has(bound) ? bound : null;
  }

  #isOver(outcome: AttemptOutcome): boolean {
    if (outcome.kind !== 'failed') return true;
    if (outcome.held !== undefined) this.#refusal = outcome;
    return FINAL.has(outcome.code) || this.#options.attempt.relay.isGone || !this.mayGoOn(outcome.stage);
  }

  #maySendAgain(stage: Stage): boolean {
    const { downstream, relay } = this.#options.attempt;
    const { post, refused: ofRefused } = this.#options.retries ?? AS_SERVICES_DO;
    return mayRetry({
      stage,
      method: downstream.head.method,
      replayable: relay.isReplayable,
      idempotencyKey: has(downstream.head.fields, 'idempotency-key'),
      postOptIn: post,
      refusedOptIn: ofRefused,
    });
  }
}

function named(outcome: AttemptOutcome, { url }: WorkerInstance): AttemptOutcome {
  return outcome.kind === 'failed' ? { ...outcome, detail: `${url}: ${outcome.detail}` } : outcome;
}
