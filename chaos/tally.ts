/**
 * What became of each request of a chaos run, by kind.
 *
 * Five ends and no more, each with another meaning for the one who reads them. It must not know how requests are sent.
 */

export const KINDS = ['get', 'post', 'events', 'big_get', 'big_post', 'socket'] as const;
export type Kind = (typeof KINDS)[number];

/** May be sent again by whoever carries it (RFC 9110 §9.2.2). */
export const IDEMPOTENT: ReadonlySet<Kind> = new Set(['get', 'events', 'big_get', 'socket']);

export type End =
  /** Whole and right. */
  | 'ok'
  /** No response of a worker: an error of the sidecar, or the connection broke before any. */
  | 'failed'
  /** The response had begun and its connection was broken: the app knows. */
  | 'cut'
  /** It ended cleanly and was not whole: the app cannot know. */
  | 'truncated'
  /** Neither end nor error within the limit. */
  | 'stuck';

export interface Failure {
  readonly atMs: number;
  readonly kind: Kind;
  readonly end: End;
  readonly detail: string;
}

export class Tally {
  readonly failures: Failure[] = [];
  readonly #counts = new Map<string, number>();
  readonly #startedMs = performance.now();

  add(kind: Kind, end: End, detail = ''): void {
    const key = `${kind} ${end}`;
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
    if (end === 'ok' || end === 'cut') return;
    this.failures.push({ atMs: Math.round(performance.now() - this.#startedMs), kind, end, detail });
  }

  count(kind: Kind, end: End): number {
    return this.#counts.get(`${kind} ${end}`) ?? 0;
  }

  total(kinds: Iterable<Kind>, ...ends: readonly End[]): number {
    let sum = 0;
    for (const kind of kinds) for (const end of ends) sum += this.count(kind, end);
    return sum;
  }
}
