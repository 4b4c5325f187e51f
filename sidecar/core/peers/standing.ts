/**
 * How one service of one worker stands here, by the answers that it gave: ejected or not, full or not, and how many of
 * its answers were faults.
 *
 * The same for a service of a peer and for that of the worker beside us, so that both are judged by the same rules.
 */
import { ServiceHealth } from './service-health.ts';

/** How an answer counts; apart from refusals, which say nothing of how good the worker is. */
export type Counted =
  /** Below 400. */
  | 'served'
  /** 4xx: the client's fault, unless the other workers give far fewer of them. */
  | 'rejected'
  /** 5xx, or no whole answer. */
  | 'failed';

/** So often the counts are halved: what was long ago fades. */
const HALVE_EVERY_MS = 30_000;

/** After so many halvings nothing is left. */
const MAX_HALVINGS = 32;

/** The word of a worker bars it no longer than this. */
const MAX_FULL_MS = 30_000;

export class Standing {
  readonly health = new ServiceHealth();
  /** Answers of each kind, faded. */
  readonly #counts: Record<Counted, number> = { served: 0, rejected: 0, failed: 0 };
  #halvedAtMs = 0;
  #fullAt = Number.POSITIVE_INFINITY;
  #fullSinceMs = Number.NEGATIVE_INFINITY;
  #fullUntilMs = Number.NEGATIVE_INFINITY;
  #asideUntilMs = Number.NEGATIVE_INFINITY;

  answered(kind: Counted, nowMs: number): void {
    this.#fade(nowMs);
    this.#counts[kind] += 1;
    if (kind === 'served') this.health.succeeded(nowMs);
    else this.health[kind](nowMs);
  }

  /** All answers that count. */
  total(nowMs: number): number {
    this.#fade(nowMs);
    const { served, rejected, failed } = this.#counts;
    return served + rejected + failed;
  }

  count(kind: Counted): number {
    return this.#counts[kind];
  }

  /** Its worker refused a request while it had so many others: no more than those for so long. */
  refusedAt(requests: number, nowMs: number, forMs: number): void {
    this.#fullAt = Math.max(0, requests);
    this.#fullSinceMs = nowMs;
    this.#fullUntilMs = nowMs + Math.min(MAX_FULL_MS, forMs);
  }

  /** Its worker served a request that began at `startedMs` beside so many others: what it said before is over. */
  took(others: number, startedMs: number, nowMs: number): void {
    if (this.isFull(others, nowMs) && startedMs > this.#fullSinceMs) this.hasRoom();
  }

  hasRoom(): void {
    this.#fullUntilMs = Number.NEGATIVE_INFINITY;
  }

  /** By its own word, or set aside: others come first. */
  isFull(requests: number, nowMs: number): boolean {
    return (nowMs < this.#fullUntilMs && requests >= this.#fullAt) || this.isSetAside(nowMs);
  }

  /** Many of its answers are faults, and the others have yet to show whether theirs are. */
  setAside(untilMs: number): void {
    this.#asideUntilMs = untilMs;
  }

  isSetAside(nowMs: number): boolean {
    return nowMs < this.#asideUntilMs;
  }

  /** How many it takes at most, as its worker has said; null = it has not, or that is over. */
  fullAt(nowMs: number): number | null {
    return nowMs < this.#fullUntilMs ? this.#fullAt : null;
  }

  /** How long that holds. */
  fullForMs(nowMs: number): number {
    return Math.max(0, this.#fullUntilMs - nowMs);
  }

  /** Ejected, set aside, or full by its own word until then, monotonic ms; in the past when it is not. */
  get barredUntilMs(): number {
    const { state } = this.health;
    const ejectedUntilMs = state.kind === 'ejected' ? state.untilMs : Number.NEGATIVE_INFINITY;
    return Math.max(this.#fullUntilMs, this.#asideUntilMs, ejectedUntilMs);
  }

  /** Begins anew after a new start of the worker; false when it did so a moment ago, then its faults stay. */
  startAnew(nowMs: number): boolean {
    this.hasRoom();
    this.#asideUntilMs = Number.NEGATIVE_INFINITY;
    const isExcused = this.health.reset(nowMs);
    if (isExcused) this.forgetAnswers();
    return isExcused;
  }

  forgetAnswers(): void {
    this.#counts.served = 0;
    this.#counts.rejected = 0;
    this.#counts.failed = 0;
  }

  #fade(nowMs: number): void {
    const periods = Math.floor((nowMs - this.#halvedAtMs) / HALVE_EVERY_MS);
    if (!(periods > 0)) return;
    this.#halvedAtMs += periods * HALVE_EVERY_MS;
    const left = 0.5 ** Math.min(periods, MAX_HALVINGS);
    this.#counts.served *= left;
    this.#counts.rejected *= left;
    this.#counts.failed *= left;
  }
}
