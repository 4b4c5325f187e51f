/**
 * What a sidecar may cost: the goals, as readings of a run with their limits.
 *
 * They are also what is kept as the baseline, for they are ratios and bytes, which hold on another machine too.
 */
import type { FigureName } from './figures.ts';
import type { Reading, Summary } from './summary.ts';
import type { Hops, SystemName } from './systems.ts';

export interface Goal extends Reading {
  readonly about: string;
  readonly limit: number;
  /** Else at least. */
  readonly isAtMost: boolean;
}

/** Of http-proxy's CPU time a hop may use a fifth. */
const FIFTH = 0.2;

const GOALS: readonly Goal[] = [
  ratio('CPU per request', 'get-100', 1, 'cpuUs', 'nginx', 1.5),
  ratio('CPU per request', 'get-100', 1, 'cpuUs', 'http-proxy', FIFTH),
  ratio('CPU per request', 'get-100', 2, 'cpuUs', 'nginx', 2),
  ratio('p99 at saturation', 'get-100', 1, 'p99Us', 'nginx', 2),
  ratio('p99 at saturation', 'get-100', 2, 'p99Us', 'nginx', 2),
  ratio('added p50, one at a time', 'one-at-a-time', 2, 'addedP50Us', 'nginx', 1.25),
  ratio('CPU per event', 'sse', 1, 'cpuUs', 'nginx', 1.5),
  ratio('CPU per event', 'sse', 2, 'cpuUs', 'nginx', 1.5),
  ratio('MB/s down', 'download', 1, 'perSecond', 'nginx', 1, false),
  ratio('MB/s down', 'download', 2, 'perSecond', 'nginx', 1, false),
  ratio('MB/s up', 'upload', 1, 'perSecond', 'nginx', 1, false),
  ratio('MB/s up', 'upload', 2, 'perSecond', 'nginx', 1, false),
  absolute('RSS of a busy sidecar, MB', 'get-100', 1, 'largestRssMb', 120),
  absolute('RSS of a busy sidecar (the larger), MB', 'get-100', 2, 'largestRssMb', 120),
  absolute('memory per idle keep-alive pair, KB', 'idle', 1, 'growthKbEach', 60),
  absolute('memory of 1,000 event streams, MB', 'idle-sse', 1, 'growthMb', 40),
  ...allocation(1, ''),
  ...allocation(2, 'outbound'),
  ...allocation(2, 'inbound'),
];

function ratio(
  about: string,
  caseName: string,
  hops: Hops,
  figure: FigureName,
  to: SystemName,
  limit: number,
  isAtMost = true,
): Goal {
  return { about: `${about}, × ${to}`, caseName, hops, part: '', figure, to, limit, isAtMost };
}

function absolute(
  about: string,
  caseName: string,
  hops: Hops,
  figure: FigureName,
  limit: number,
  part = '',
): Goal {
  return { about, caseName, hops, part, figure, to: null, limit, isAtMost: true };
}

function allocation(hops: Hops, part: string): Goal[] {
  const of = part === '' ? '' : ` (${part})`;
  return [
    absolute(`bytes allocated per request${of}`, 'allocation', hops, 'allocatedBytes', 4_096, part),
    absolute(`longest scavenge${of}, ms`, 'allocation', hops, 'longestScavengeMs', 3, part),
  ];
}

/** Under which a reading is kept. */
export function keyOf({ caseName, hops, part, figure, to }: Reading): string {
  return [caseName, `${hops}-hop`, part, figure, to === null ? '' : `to-${to}`].filter(Boolean).join(' ');
}

/** Those that this run can tell. */
export function reachedGoals(summary: Summary): { goal: Goal; value: number; isReached: boolean }[] {
  return GOALS.flatMap((goal) => {
    const value = summary.read(goal);
    if (value === undefined) return [];
    return [{ goal, value, isReached: goal.isAtMost ? value <= goal.limit : value >= goal.limit }];
  });
}
