/**
 * The load of a worker: the highest of what its sources say, and which one that was.
 *
 * The highest and not an average: a worker whose GPU is full is full, however idle its CPU. A source that
 * is unknown is left out and never reads as idle. It must not know how anything is measured.
 */

export const LOAD_KINDS = ['slots', 'cpu', 'gpu', 'worker'] as const;
/** `slots` = in-flight / concurrency; `worker` = what the worker itself reports. */
export type LoadKind = (typeof LOAD_KINDS)[number];

/** Ratios, 0 idle … 1 full; null, NaN or absent = unknown. */
export type LoadSources = { readonly [kind in LoadKind]?: number | null };

export interface CombinedLoad {
  /** 0..1. */
  readonly loadRatio: number;
  /** null: no source is known, and the load reads 0. */
  readonly source: LoadKind | null;
}

/** Ties go to the first in the order of `LOAD_KINDS`. */
export function combineLoad(sources: LoadSources): CombinedLoad {
  let loadRatio = 0;
  let source: LoadKind | null = null;
  for (const kind of LOAD_KINDS) {
    const value = sources[kind];
    if (value === undefined || value === null || Number.isNaN(value)) continue;
    const ratio = Math.min(1, Math.max(0, value));
    if (source !== null && ratio <= loadRatio) continue;
    loadRatio = ratio;
    source = kind;
  }
  return { loadRatio, source };
}
