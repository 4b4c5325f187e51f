/**
 * Asks the local worker whether it is ready, at intervals: `warming` until it says so, and again when it dies.
 *
 * Separate from the load and from the mesh: a worker that loads a model for ten minutes is not dead, and its sidecar
 * says exactly that.
 */
import { type CheckFault, checkWorker, type WorkerCheck } from '../../http/worker-check.ts';

export interface WorkerHealthOptions extends Omit<WorkerCheck, 'isFresh'> {
  readonly intervalMs: number;
  readonly healthyAfter: number;
  readonly unhealthyAfter: number;
  onChange(isReady: boolean, reason: string): void;
  /** The response carried `endpoint-load-metrics`: the worker's own word of its load. */
  onReport(value: string): void;
}

/** Pause between two checks of a worker that is not ready: somebody waits for it. */
const WARMING_INTERVAL_MS = 500;

/** Between two of one in doubt, at most and at least. */
const DOUBT_MAX_MS = 500;
const DOUBT_MIN_MS = 20;

/** Checks of one in doubt that are under way together: one that hangs must not delay the next. */
const CHECKS_AT_ONCE = 3;

export class WorkerHealth {
  readonly #options: WorkerHealthOptions;
  readonly #doubtMs: number;
  #isReady = false;
  #inRow = 0;
  #running = 0;
  /** Checks are numbered; what an earlier one says is out of date. */
  #begun = 0;
  #validFrom = 0;
  #timer: NodeJS.Timeout | null = null;
  #isStopped = false;
  #reason = 'not asked yet';

  constructor(options: WorkerHealthOptions) {
    const { intervalMs, timeoutMs } = options;
    this.#options = options;
    // So that three failures, each after its whole time, are in before two intervals are over.
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

  /** Resolves after the first check, whatever it says. */
  async start(): Promise<void> {
    await this.#check();
  }

  stop(): void {
    this.#isStopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  /** A real request could not connect: that counts as a failed check, once for all that fail together. */
  suspect(reason: string, isGone: boolean): void {
    if (!this.#isReady || this.#isStopped) return;
    if (this.#running > 0 && !isGone) return;
    this.#judge({ reason, isGone });
    void this.#check();
  }

  async #check(): Promise<void> {
    const number = ++this.#begun;
    // A kept connection may be the one that hangs.
    const isFresh = !this.#isReady || this.#inRow > 0 || this.#running > 0;
    this.#running++;
    // The next one does not wait for this one's answer, which may never come.
    if (this.#isReady) this.#plan(this.#doubtMs);
    const { fault, report } = await checkWorker({ ...this.#options, isFresh });
    this.#running--;
    if (this.#isStopped) return;
    if (report !== null) this.#options.onReport(report);
    if (number >= this.#validFrom) {
      if (fault === null) this.#validFrom = number;
      this.#judge(fault);
    }
    // After a failure the next check is planned already, unless those that hang were too many for it.
    if (this.#isReady && fault === null) this.#plan(this.#options.intervalMs);
    else if (this.#isReady && this.#timer === null) this.#plan(this.#doubtMs);
    else if (!this.#isReady && this.#running === 0)
      this.#plan(Math.min(this.#options.intervalMs, WARMING_INTERVAL_MS));
  }

  #plan(waitMs: number): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      // Else the end of one of those plans the next.
      if (this.#running < (this.#isReady ? CHECKS_AT_ONCE : 1)) void this.#check();
    }, waitMs);
  }

  #judge(fault: CheckFault | null): void {
    const isOk = fault === null;
    this.#reason = fault?.reason ?? 'healthy';
    this.#inRow = isOk === this.#isReady ? 0 : this.#inRow + 1;
    const needed = this.#isReady ? this.#options.unhealthyAfter : this.#options.healthyAfter;
    if (this.#inRow < needed && !(this.#isReady && fault?.isGone)) return;
    this.#inRow = 0;
    this.#isReady = isOk;
    this.#validFrom = isOk ? this.#validFrom : this.#begun + 1;
    this.#options.onChange(isOk, this.#reason);
  }
}
