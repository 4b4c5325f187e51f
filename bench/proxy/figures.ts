/**
 * What is measured, by name: one sample is the figures of one system in one round of one case.
 *
 * It must not know how they are taken.
 */
import type { Variant } from './systems.ts';

/** Per unit of the case: a request, an event, a megabyte. */
export type FigureName =
  | 'perSecond'
  | 'cpuUs'
  | 'p50Us'
  | 'p99Us'
  | 'addedP50Us'
  | 'rssMb'
  | 'largestRssMb'
  | 'busyPercent'
  | 'endsBusyPercent'
  | 'growthMb'
  | 'growthKbEach'
  | 'socketsEach'
  | 'allocatedBytes'
  | 'scavengesPerSecond'
  | 'longestScavengeMs'
  | 'collectingPercent';

export type Figures = Partial<Record<FigureName, number>>;

export interface Sample extends Variant {
  readonly caseName: string;
  readonly round: number;
  /** Which process, where each has a row of its own; '' for all. */
  readonly part: string;
  readonly figures: Figures;
  /** What went wrong, in words; '' for nothing. */
  readonly faults: string;
}

/** How a column is headed; `unit` is what is counted. */
export function headOf(figure: FigureName, unit: string): string {
  return {
    perSecond: `${unit}/s`,
    cpuUs: `CPU µs/${unit}`,
    p50Us: 'p50 µs',
    p99Us: 'p99 µs',
    addedP50Us: 'added p50 µs',
    rssMb: 'RSS MB',
    largestRssMb: 'largest RSS MB',
    busyPercent: 'core %',
    endsBusyPercent: 'ends %',
    growthMb: 'growth MB',
    growthKbEach: `growth KB/${unit}`,
    socketsEach: `sockets/${unit}`,
    allocatedBytes: `bytes allocated/${unit}`,
    scavengesPerSecond: 'scavenges/s',
    longestScavengeMs: 'longest scavenge ms',
    collectingPercent: 'collecting %',
  }[figure];
}

export function figureText(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return '-';
  const size = Math.abs(value);
  const digits = size < 10 ? 2 : size < 100 ? 1 : 0;
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
