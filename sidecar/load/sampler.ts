/**
 * Sampler: this worker's load, 0 idle … 1 full, as the highest of what can be measured, and which it was.
 *
 * The highest rather than a mean: a worker is full when its scarcest thing is. The machine's figures are
 * sampled on a timer; those of the services come with each question, for they change with each request. A
 * source that fails is dropped with one log line until it speaks again: it never reads as idle. It must
 * not know HTTP or how load is announced.
 */

import { type CombinedLoad, combineLoad, type LoadKind } from '../core/load.ts';

/** Which sources count, as a service's configuration names them; `auto` = the highest of all. */
export type LoadChoice = 'auto' | 'in-flight' | Exclude<LoadKind, 'slots'>;

export interface LoadSnapshot extends CombinedLoad {
  /** null: not there, failed, or nothing measured yet. */
  readonly bySource: Readonly<Record<LoadKind, number | null>>;
}

/** What a service, or all of this worker, says of itself; null where it says nothing (or nothing recent). */
export interface OwnFigures {
  /** In-flight / concurrency. */
  readonly slots: number | null;
  /** The worker's own word. */
  readonly worker: number | null;
}

/** A figure 0..1, or null when there is none now. May throw: that reads as null. */
export type LoadReader = () => number | null;

export interface LoadSamplerOptions {
  readonly intervalMs: number;
  /** Read on the timer. A source that this system lacks is null. */
  readonly cpu: LoadReader | null;
  readonly gpu: LoadReader | null;
  readonly log: {
    info(fields: { readonly source: string }, message: string): void;
    warn(fields: { readonly source: string; readonly err?: unknown }, message: string): void;
  };
}

/** Weight of the newest sample: half, so that one busy second weighs less than a busy spell. */
const SMOOTHING = 0.5;

export class LoadSampler {
  readonly #options: LoadSamplerOptions;
  readonly #machine: { cpu: number | null; gpu: number | null } = { cpu: null, gpu: null };
  readonly #spoke = new Set<LoadKind>();
  readonly #dropped = new Set<LoadKind>();
  #timer: NodeJS.Timeout | null = null;

  constructor(options: LoadSamplerOptions) {
    this.#options = options;
  }

  /** Takes the first sample at once; CPU has a figure from the second. */
  start(): void {
    if (this.#timer !== null) return;
    this.sampleNow();
    this.#timer = setInterval(() => this.sampleNow(), this.#options.intervalMs);
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
    const bySource = { slots: own.slots, ...this.#machine, worker: own.worker };
    if (choice !== 'auto') {
      const kind = choice === 'in-flight' ? 'slots' : choice;
      const named = combineLoad({ [kind]: bySource[kind] });
      if (named.source !== null) return { ...named, bySource };
    }
    return { ...combineLoad(bySource), bySource };
  }

  /** One round of the timer. */
  sampleNow(): void {
    const { cpu, gpu } = this.#options;
    if (cpu !== null) this.#machine.cpu = smoothed(this.#machine.cpu, this.#read('cpu', cpu));
    if (gpu !== null) this.#machine.gpu = smoothed(this.#machine.gpu, this.#read('gpu', gpu));
  }

  #read(source: LoadKind, reader: LoadReader): number | null {
    let value: number | null = null;
    let fault: unknown;
    try {
      value = usable(reader());
    } catch (err) {
      fault = err;
    }
    if (value === null) {
      this.#silent(source, fault);
      return null;
    }
    this.#spoke.add(source);
    if (this.#dropped.delete(source)) this.#options.log.info({ source }, 'load source is back');
    return value;
  }

  /** Silence of a source that never spoke is no failure (no GPU, first sample), unless it threw. */
  #silent(source: LoadKind, fault: unknown): void {
    if (this.#dropped.has(source) || (fault === undefined && !this.#spoke.has(source))) return;
    this.#dropped.add(source);
    const why = fault === undefined ? {} : { err: fault };
    this.#options.log.warn({ source, ...why }, 'load source failed; dropped until it speaks again');
  }
}

function usable(value: number | null): number | null {
  return value === null || !Number.isFinite(value) || value < 0 ? null : Math.min(1, value);
}

function smoothed(before: number | null, sample: number | null): number | null {
  if (sample === null || before === null) return sample;
  return before + SMOOTHING * (sample - before);
}
