/**
 * What a worker itself says of its load, by each of the ways it may say it, and for how long that counts.
 *
 * Each way is kept apart, so that a worker that pushes and is scraped is as loaded as the worse of the two says, and
 * that an operator sees which one it was. A word that is old is no word: it never reads as idle.
 */

export const SELF_REPORT_KINDS = ['orca', 'push', 'metrics'] as const;
export type SelfReportKind = (typeof SELF_REPORT_KINDS)[number];

/**
 * How long a word counts, in ms. A header comes with each response, a push when the worker's author thought of it; a
 * metrics page is asked again and again, and its loss is told by `silent`.
 */
export const SELF_REPORT_TTL_MS: Readonly<Record<SelfReportKind, number>> = {
  orca: 10_000,
  push: 30_000,
  metrics: Number.POSITIVE_INFINITY,
};

/** Ratios, 0 idle … 1 full; null = nothing said, or too long ago. */
export type SelfReportedFigures = { readonly [kind in SelfReportKind]: number | null };

export class SelfReportedLoad {
  readonly #said = new Map<SelfReportKind, { readonly ratio: number; readonly atMs: number }>();

  /** What is not a number says nothing; what is out of range is bounded. */
  report(kind: SelfReportKind, ratio: number, nowMs: number): void {
    if (Number.isNaN(ratio)) return;
    this.#said.set(kind, { ratio: Math.min(1, Math.max(0, ratio)), atMs: nowMs });
  }

  clear(kind: SelfReportKind): void {
    this.#said.delete(kind);
  }

  figures(nowMs: number): SelfReportedFigures {
    return {
      orca: this.#figure('orca', nowMs),
      push: this.#figure('push', nowMs),
      metrics: this.#figure('metrics', nowMs),
    };
  }

  #figure(kind: SelfReportKind, nowMs: number): number | null {
    const said = this.#said.get(kind);
    return said !== undefined && nowMs - said.atMs < SELF_REPORT_TTL_MS[kind] ? said.ratio : null;
  }
}
