/**
 * The load of a worker: the highest of what its sources say, and which one that was.
 *
 * The highest and not an average: a worker whose GPU is full is full, however idle its CPU. A source that
 * is unknown is left out and never reads as idle. It must not know how anything is measured.
 */

/**
 * `slots` = in-flight / concurrency; `cpu` = used / allowed; `pressure` = share of time in which something waited for
 * a CPU; the worker's own word: `orca` = the header on its responses, `push` = what was put on the admin port,
 * `metrics` = its metrics page.
 */
export const LOAD_KINDS = ['slots', 'cpu', 'pressure', 'gpu', 'orca', 'push', 'metrics'] as const;
export type LoadKind = (typeof LOAD_KINDS)[number];

/** Ratios, 0 idle … 1 full; null, NaN or absent = unknown. */
export type LoadSources = { readonly [kind in LoadKind]?: number | null };

export interface CombinedLoad {
  /** 0..1. */
  readonly loadRatio: number;
  /** null: no source is known, and the load reads 0. */
  readonly source: LoadKind | null;
}

/** The highest of `kinds`; ties go to the first of them. */
export function combineLoad(sources: LoadSources, kinds: readonly LoadKind[] = LOAD_KINDS): CombinedLoad {
  let loadRatio = 0;
  let source: LoadKind | null = null;
  for (const kind of kinds) {
    const value = sources[kind];
    if (value === undefined || value === null || Number.isNaN(value)) continue;
    const ratio = Math.min(1, Math.max(0, value));
    if (source !== null && ratio <= loadRatio) continue;
    loadRatio = ratio;
    source = kind;
  }
  return { loadRatio, source };
}
