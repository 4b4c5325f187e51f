/**
 * Asks the local worker whether it is ready, at intervals: `warming` until it says so, and again when it dies.
 *
 * One check at a time, whatever comes of it, since those that a busy worker has not taken up yet fill its listen backlog.
 * And a busy worker is alive: where it is at work, an answer that is late says nothing; that nobody listens says all.
 * Separate from the load and from the mesh: a worker that loads a model for ten minutes is not dead.
 */
import { askText, CONNECT, type HealthAsk } from '../../core/worker/health-ask.ts';
import { setTimeoutAfterPoll } from '../../http/sockets/timers.ts';
import { type CheckFault, type CheckResult, checkWorker, type WorkerCheck } from '../../http/worker-check.ts';

/**
 * How the worker is at it. `waits`: it has requests, and has answered none for a while that is still bearable; `moves`:
 * a response is coming from it.
 */
export type AtWork = 'no' | 'waits' | 'moves';

export interface WorkerHealthOptions extends Omit<WorkerCheck, 'isFresh' | 'limitMs' | 'signal'> {
  readonly intervalMs: number;
  readonly healthyAfter: number;
  readonly unhealthyAfter: number;
  atWork(): AtWork;
  onChange(isReady: boolean, reason: string): void;
  /** Its certificate is found not to be good here; once, until it is otherwise. */
  onUntrusted?(reason: string): void;
  /** The response carried `endpoint-load-metrics`: the worker's own word of its load. */
  onReport(value: string): void;
}

/** Pause between two checks of a worker that is not ready: somebody waits for it. */
const WARMING_INTERVAL_MS = 500;

/** Between two failures of one check that has no answer, at most and at least. */
const DOUBT_MAX_MS = 500;
const DOUBT_MIN_MS = 20;

/**
 * A check of one that is not ready stands there so long before another one takes its place, n times longer each time
 * and at most so long: an answer may be lost, and what is given up still stands in a listen backlog of five.
 */
const HELD_MS = 2_000;
const HELD_GROWTH = 3;
const MAX_HELD_MS = 60_000;

/** And while the worker is at work, for as long as that takes; no longer than this. */
const LIMIT_MS = 600_000;

/** Of those whose answer is late, so many are given up at once for another one: an answer may be lost. */
const GIVEN_UP = 1;

/** One check. */
class Running {
  readonly begunMs = performance.now();
  readonly abort = new AbortController();
  /** When the worker was last seen at work, while this one stands there. */
  atWorkMs = Number.NEGATIVE_INFINITY;
  /** Forgets the time at which it is looked at. */
  forget = (): void => {};
}

export class WorkerHealth {
  readonly #options: WorkerHealthOptions;
  readonly #doubtMs: number;
  #ask: HealthAsk;
  #isReady = false;
  #inRow = 0;
  #running: Running | null = null;
  /** Checks in a row that were given up unanswered. */
  #givenUp = 0;
  #heldMs = HELD_MS;
  #timer: NodeJS.Timeout | null = null;
  #isStopped = false;
  #reason = 'not asked yet';
  #isUntrusted = false;
  #onFirst = (): void => {};

  constructor(options: WorkerHealthOptions) {
    const { intervalMs, timeoutMs } = options;
    this.#options = options;
    this.#ask = options.ask;
    // So that three failures are in before two intervals are over.
    const spareMs = intervalMs > timeoutMs ? intervalMs - timeoutMs : intervalMs;
    this.#doubtMs = Math.max(DOUBT_MIN_MS, Math.min(DOUBT_MAX_MS, spareMs / 3));
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  /** What the last check saw, for people. */
  get reason(): string {
    return this.#reason;
  }

  /** Its certificate is what was not good when it was last asked. */
  get isUntrusted(): boolean {
    return this.#isUntrusted;
  }

  /** Resolves after the first check, whatever it says. */
  start(): Promise<void> {
    return new Promise((resolve) => {
      this.#onFirst = resolve;
      this.#check();
    });
  }

  stop(): void {
    this.#isStopped = true;
    this.#drop();
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#onFirst();
  }

  /** A real request could not connect: that counts as a failed check, once for all that fail together. */
  suspect(reason: string, isGone: boolean): void {
    if (!this.#isReady || this.#isStopped) return;
    if (!isGone && (this.#running !== null || this.#options.atWork() === 'moves')) return;
    this.#judge({ reason, kind: isGone ? 'gone' : 'unconnected' });
    // What a check that is under way will say is out of date.
    this.#drop();
    this.#check();
  }

  #check(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const running = new Running();
    this.#running = running;
    this.#lateAfter(running, this.#givenUp > 0 ? this.#doubtMs : this.#options.timeoutMs);
    const { signal } = running.abort;
    // A kept connection may be the one that hangs.
    const isFresh = !this.#isReady || this.#inRow > 0;
    const check = { ...this.#options, ask: this.#ask, isFresh, signal, limitMs: LIMIT_MS };
    void checkWorker(check).then((result) => this.#answered(running, result));
  }

  #answered(running: Running, { fault, report, isOver, isUnknownThere }: CheckResult): void {
    if (this.#running !== running) return;
    running.forget();
    this.#givenUp = 0;
    this.#heldMs = HELD_MS;
    if (report !== null) this.#options.onReport(report);
    if (isUnknownThere && fault === null) this.#ask = CONNECT;
    if (!this.#isExcused(fault)) this.#judge(fault);
    if (isOver === null) this.#ended(running);
    else {
      this.#replaceUnlessAtWork(running);
      void isOver.then(() => this.#ended(running));
    }
    this.#onFirst();
  }

  /** The connection was made, and stands there: closed by us, not taken up by the worker. */
  #replaceUnlessAtWork(running: Running): void {
    running.forget = setTimeoutAfterPoll(() => {
      if (this.#options.atWork() !== 'no') return this.#replaceUnlessAtWork(running);
      this.#drop();
      this.#check();
    }, MAX_HELD_MS);
  }

  /** Nothing of it stands at the worker any more. */
  #ended(running: Running): void {
    if (this.#running !== running) return;
    running.forget();
    this.#running = null;
    const { intervalMs } = this.#options;
    const isInDoubt = this.#isReady && this.#inRow > 0;
    const pauseMs = this.#isReady ? intervalMs : Math.min(intervalMs, WARMING_INTERVAL_MS);
    const sinceMs = this.#isReady ? performance.now() - running.begunMs : 0;
    this.#plan(isInDoubt ? this.#doubtMs : Math.max(DOUBT_MIN_MS, pauseMs - sinceMs));
  }

  #plan(waitMs: number): void {
    this.#timer = setTimeout(() => this.#check(), waitMs);
  }

  #drop(): void {
    const running = this.#running;
    this.#running = null;
    running?.forget();
    running?.abort.abort(new Error('given up'));
  }

  #lateAfter(running: Running, waitMs: number): void {
    running.forget = setTimeoutAfterPoll(() => this.#isLate(running), waitMs);
  }

  /** Its answer has not come in its time; or not since that was last found. */
  #isLate(running: Running): void {
    const { timeoutMs, atWork } = this.#options;
    const nowMs = performance.now();
    if (this.#isReady && atWork() !== 'no') running.atWorkMs = nowMs;
    // Once the work is done it has its time to answer.
    else if (nowMs - running.atWorkMs >= timeoutMs) {
      const reason = `no answer to ${askText(this.#ask)} within ${timeoutMs} ms`;
      this.#judge({ reason, kind: 'silent' });
      this.#onFirst();
      if (this.#isToBeReplaced(running)) {
        this.#drop();
        this.#check();
        return;
      }
    }
    this.#lateAfter(running, this.#doubtMs);
  }

  #isToBeReplaced({ begunMs }: Running): boolean {
    if (this.#isReady) return this.#givenUp++ < GIVEN_UP;
    if (performance.now() - begunMs < this.#heldMs) return false;
    this.#heldMs = Math.min(MAX_HELD_MS, HELD_GROWTH * this.#heldMs);
    return true;
  }

  /** It is at work: then it may be silent, and where a response is coming it may have as many connections as it can. */
  #isExcused(fault: CheckFault | null): boolean {
    if (fault === null || !this.#isReady) return false;
    const atWork = this.#options.atWork();
    return fault.kind === 'silent' ? atWork !== 'no' : fault.kind === 'unconnected' && atWork === 'moves';
  }

  #judge(fault: CheckFault | null): void {
    if (this.#isStopped) return;
    const isOk = fault === null;
    this.#reason = fault?.reason ?? 'healthy';
    const wasUntrusted = this.#isUntrusted;
    this.#isUntrusted = fault?.kind === 'untrusted';
    if (this.#isUntrusted && !wasUntrusted) this.#options.onUntrusted?.(this.#reason);
    this.#inRow = isOk === this.#isReady ? 0 : this.#inRow + 1;
    const needed = this.#isReady ? this.#options.unhealthyAfter : this.#options.healthyAfter;
    if (this.#inRow < needed && !(this.#isReady && fault?.kind === 'gone')) return;
    this.#inRow = 0;
    this.#isReady = isOk;
    // The one that comes back may be another program.
    if (!isOk) this.#ask = this.#options.ask;
    this.#options.onChange(isOk, this.#reason);
  }
}
