/**
 * Who is next among those that wait: fair among callers first, by age within a caller.
 *
 * How long a request is under way is its caller's word, and one that always says two minutes would come before all
 * others for ever. So each caller has a count of what it was served since the queue was last empty, and one that is far
 * ahead of another who waits has to let that one go first (start-time fair queueing, Goyal, Vin and Cheng 1996, with a
 * tolerance). Within the tolerance age decides, as in one queue for all: honest callers, whose bursts are short, hardly
 * meet the limit.
 */

export interface Waiter {
  /** Key of the peer that asks; '' for the app beside this sidecar. */
  readonly caller: string;
  /** Since when the request is under way, monotonic ms, by its caller's word. */
  readonly sinceMs: number;
  /** The admission that it came by: services may share their slots. */
  readonly owner: object;
  isWaiting: boolean;
  /** Takes the slot that has become free. */
  grant(): void;
  readonly onDisplaced: (() => void) | undefined;
}

interface Line {
  /** Requests that were served, or as many as count for it when it came. */
  served: number;
  /** Under way longest first, equals as they came. */
  readonly waiters: Waiter[];
}

/**
 * In a full queue who is under way so much longer takes the place of the last: one that has waited elsewhere and comes
 * from there must not end because it moved. Less is no reason: all who come are a little older than one another.
 */
const DISPLACED_BY_MS = 100;

/** Callers that wait no more are forgotten beyond it, once they have nothing to their credit or debit. */
const MAX_IDLE_LINES = 64;

export class FairQueue {
  /** A caller may be served so many more than another who waits. */
  readonly #tolerance: number;
  readonly #lines = new Map<string, Line>();
  #size = 0;

  constructor(tolerance: number) {
    this.#tolerance = tolerance;
  }

  get size(): number {
    return this.#size;
  }

  /** Who is next; null = nobody waits. */
  get first(): Waiter | null {
    return this.#next()?.waiters[0] ?? null;
  }

  /** The place in the queue that such a request would have, from 1. Exact for one caller; else as things are now. */
  placeOf(caller: string, sinceMs: number): number {
    const own = this.#lines.get(caller);
    const before = own === undefined ? 0 : olderIn(own.waiters, sinceMs);
    const turn = this.#startOf(own) + before;
    let place = 1 + before;
    for (const line of this.#lines.values()) {
      const { served, waiters } = line;
      if (line === own || waiters.length === 0) continue;
      const atLeast = turn - this.#tolerance - served;
      const atMost = turn + this.#tolerance - served + 1;
      const older = olderIn(waiters, sinceMs);
      place += Math.min(waiters.length, Math.max(0, atLeast, Math.min(older, Math.max(0, atMost))));
    }
    return place;
  }

  add(waiter: Waiter): void {
    let line = this.#lines.get(waiter.caller);
    const served = this.#startOf(line);
    if (line === undefined) {
      if (this.#lines.size >= MAX_IDLE_LINES) this.#forgetIdle();
      line = { served, waiters: [] };
      this.#lines.set(waiter.caller, line);
    } else line.served = served;
    line.waiters.splice(olderIn(line.waiters, waiter.sinceMs), 0, waiter);
    this.#size += 1;
  }

  /** False when it does not wait any more. */
  remove(waiter: Waiter): boolean {
    if (!waiter.isWaiting) return false;
    waiter.isWaiting = false;
    const waiters = this.#lines.get(waiter.caller)?.waiters ?? [];
    waiters.splice(waiters.indexOf(waiter), 1);
    this.#left();
    return true;
  }

  shift(): Waiter | undefined {
    const line = this.#next();
    const waiter = line?.waiters.shift();
    if (line === null || waiter === undefined) return undefined;
    waiter.isWaiting = false;
    line.served += 1;
    this.#left();
    return waiter;
  }

  /**
   * Who has to make room for such a request in a full queue of this owner: the last of the caller that has most there,
   * if that is more than this one would have; or, of a caller with no fewer, one that is under way for much less long.
   */
  displacedBy(caller: string, sinceMs: number, owner: object): Waiter | null {
    const own = this.#lines.get(caller)?.waiters.filter((each) => each.owner === owner).length ?? 0;
    let most = own + 1;
    let greedy: Waiter | null = null;
    let younger: Waiter | null = null;
    for (const { waiters } of this.#lines.values()) {
      const theirs = waiters.filter((each) => each.owner === owner);
      const last = theirs.at(-1);
      if (last?.onDisplaced === undefined || theirs.length < own) continue;
      if (theirs.length > most) {
        most = theirs.length;
        greedy = last;
      }
      if (last.sinceMs > sinceMs + DISPLACED_BY_MS && last.sinceMs > (younger?.sinceMs ?? -Infinity))
        younger = last;
    }
    return greedy ?? younger;
  }

  /** The line with the oldest request among the callers that are not too far ahead. */
  #next(): Line | null {
    const limit = this.#least() + this.#tolerance;
    let next: Line | null = null;
    for (const line of this.#lines.values()) {
      const [first] = line.waiters;
      if (first === undefined || line.served > limit) continue;
      if (next === null || first.sinceMs < (next.waiters[0] as Waiter).sinceMs) next = line;
    }
    return next;
  }

  /** What was served to the caller that waits and had least; Infinity when nobody waits. */
  #least(): number {
    let least = Number.POSITIVE_INFINITY;
    for (const { served, waiters } of this.#lines.values())
      if (waiters.length > 0 && served < least) least = served;
    return least;
  }

  /** Who did not wait has no credit beyond the tolerance: else it could keep all others out for as long as it was away. */
  #startOf(line: Line | undefined): number {
    const served = line?.served ?? 0;
    if (this.#size === 0 || (line !== undefined && line.waiters.length > 0)) return served;
    return Math.max(served, this.#least() - this.#tolerance);
  }

  #left(): void {
    this.#size -= 1;
    if (this.#size === 0) this.#lines.clear();
  }

  #forgetIdle(): void {
    const floor = this.#least() - this.#tolerance;
    for (const [caller, { served, waiters }] of this.#lines)
      if (waiters.length === 0 && served <= floor) this.#lines.delete(caller);
  }
}

/** How many come before one that is under way since then. */
function olderIn(waiters: readonly Waiter[], sinceMs: number): number {
  let low = 0;
  let high = waiters.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((waiters[middle] as Waiter).sinceMs <= sinceMs) low = middle + 1;
    else high = middle;
  }
  return low;
}
