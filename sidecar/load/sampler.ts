/**
 * Sampler: this worker's load, 0 idle … 1 full, as the highest of what can be measured, and which it was.
 *
 * The highest rather than a mean: a worker is full when its scarcest thing is. The machine's figures are sampled on a
 * timer; those of the services come with each question, for they change with each request. A source that fails is
 * dropped with one log line until it speaks again: it never reads as idle.
 */
import type { Log } from '../core/log.ts';
import { SELF_REPORT_KINDS, type SelfReportedFigures } from '../core/worker/self-reported-load.ts';
import { SourceWatch } from './source-watch.ts';

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

/**
 * The highest and not an average: a worker whose GPU is full is full, however idle its CPU. A source that is unknown is
 * left out and never reads as idle.
 *
 * Of `kinds`; ties go to the first of them.
 */
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

/** Which sources count, as a service's configuration names them; `auto` = the highest of all. */
export type LoadChoice = 'auto' | 'in-flight' | 'cpu' | 'gpu' | 'worker';

const CHOSEN_KINDS: Readonly<Record<LoadChoice, readonly LoadKind[]>> = {
  auto: LOAD_KINDS,
  'in-flight': ['slots'],
  cpu: ['cpu', 'pressure'],
  gpu: ['gpu'],
  worker: SELF_REPORT_KINDS,
};

export interface LoadSnapshot extends CombinedLoad {
  /** null: not there, failed, or nothing measured yet. */
  readonly bySource: Readonly<Record<LoadKind, number | null>>;
}

/** What a service says of itself; null where it says nothing (or nothing recent). */
export interface OwnFigures extends SelfReportedFigures {
  /** In-flight / concurrency. */
  readonly slots: number | null;
}

/** A figure 0..1, or null when there is none now. May throw: that reads as null. */
export type LoadReader = () => number | null;

export interface LoadSamplerOptions {
  readonly intervalMs: number;
  /** Read on the timer. A source that this system lacks is null. */
  readonly cpu: LoadReader | null;
  readonly pressure: LoadReader | null;
  readonly gpu: LoadReader | null;
  readonly log: Pick<Log, 'info' | 'warn'>;
}

type MachineKind = 'cpu' | 'pressure' | 'gpu';

interface MachineSource {
  readonly kind: MachineKind;
  readonly read: LoadReader;
  readonly watch: SourceWatch;
}

/** Weight of the newest sample: half, so that one busy second weighs less than a busy spell. */
const SMOOTHING = 0.5;

export class LoadSampler {
  readonly #intervalMs: number;
  readonly #sources: readonly MachineSource[];
  readonly #machine: Record<MachineKind, number | null> = { cpu: null, pressure: null, gpu: null };
  #timer: NodeJS.Timeout | null = null;

  constructor(options: LoadSamplerOptions) {
    this.#intervalMs = options.intervalMs;
    this.#sources = (['cpu', 'pressure', 'gpu'] as const).flatMap((kind) => {
      const read = options[kind];
      return read === null ? [] : [{ kind, read, watch: new SourceWatch(options.log, { source: kind }) }];
    });
  }

  /** Takes the first sample at once; CPU has a figure from the second. */
  start(): void {
    if (this.#timer !== null) return;
    this.sampleNow();
    this.#timer = setInterval(() => this.sampleNow(), this.#intervalMs);
    this.#timer.unref();
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  /**
   * The load now, of one service or of all of this worker. A source that `choice` names and that has no
   * figure now gives way to the others: no figure must not read as idle.
   */
  loadOf(own: OwnFigures, choice: LoadChoice): LoadSnapshot {
    const bySource = { ...this.#machine, ...own };
    const chosen = combineLoad(bySource, CHOSEN_KINDS[choice]);
    return { ...(chosen.source === null ? combineLoad(bySource) : chosen), bySource };
  }

  /** The ratio alone: it is told with each response. */
  ratioOf(own: OwnFigures, choice: LoadChoice): number {
    const chosen = this.#highest(own, CHOSEN_KINDS[choice]);
    return Math.max(0, chosen === -1 ? this.#highest(own, LOAD_KINDS) : chosen);
  }

  /** -1 = none of these is known. */
  #highest(own: OwnFigures, kinds: readonly LoadKind[]): number {
    let highest = -1;
    for (const kind of kinds) {
      const value = isMachineKind(kind) ? this.#machine[kind] : own[kind];
      if (value === null || Number.isNaN(value)) continue;
      highest = Math.max(highest, Math.min(1, Math.max(0, value)));
    }
    return highest;
  }

  /** One round of the timer. */
  sampleNow(): void {
    for (const { kind, read, watch } of this.#sources) {
      this.#machine[kind] = smoothed(this.#machine[kind], readOnce(read, watch));
    }
  }
}

function isMachineKind(kind: LoadKind): kind is MachineKind {
  return kind === 'cpu' || kind === 'pressure' || kind === 'gpu';
}

function readOnce(read: LoadReader, watch: SourceWatch): number | null {
  let value: number | null = null;
  let fault: unknown;
  try {
    value = usable(read());
  } catch (err) {
    fault = err;
  }
  if (value === null) watch.silent(fault);
  else watch.spoke();
  return value;
}

function usable(value: number | null): number | null {
  return value === null || !Number.isFinite(value) || value < 0 ? null : Math.min(1, value);
}

function smoothed(before: number | null, sample: number | null): number | null {
  if (sample === null || before === null) return sample;
  return before + SMOOTHING * (sample - before);
}
