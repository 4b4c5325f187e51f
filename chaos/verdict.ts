/**
 * What a chaos run must have kept, and how it is told.
 *
 * Each promise is one line with its number, so that a failed run says which one broke. It must not run anything.
 */
import { type ChaosReport, SPARE_FILES } from './run.ts';
import { IDEMPOTENT, KINDS } from './tally.ts';

export interface Kept {
  readonly what: string;
  readonly value: string;
  readonly isKept: boolean;
}

/** Connections to peers that are kept for a minute, when they were not waited for. */
const KEPT_FILES = 500;

/** Between runs of the collector a heap of this size comes and goes. */
const KEPT_MB = 60;
const SHOWN_FAILURES = 12;

export function judge(report: ChaosReport): Kept[] {
  const { crashes, leftInFlight, options, tally, twice, usage } = report;
  const zero = (what: string, count: number): Kept => ({ what, value: String(count), isKept: count === 0 });
  const moreFiles = options.settleMs > 0 ? SPARE_FILES : KEPT_FILES;
  return [
    zero('idempotent requests failed', tally.total(IDEMPOTENT, 'failed')),
    zero('requests without an end', tally.total(KINDS, 'stuck')),
    zero('POSTs delivered twice', twice.length),
    zero('answers truncated, yet cleanly ended', tally.total(KINDS, 'truncated')),
    zero('sidecars crashed', crashes.length),
    zero('left in flight by the gauges', leftInFlight),
    ...usage.flatMap(({ after, before, name }) => [
      {
        what: `open files of ${name}`,
        value: `${before.files} → ${after.files}`,
        isKept: after.files <= before.files + moreFiles,
      },
      {
        what: `memory of ${name}`,
        value: `${before.residentMb.toFixed(0)} → ${after.residentMb.toFixed(0)} MB`,
        isKept: after.residentMb <= before.residentMb + KEPT_MB,
      },
    ]),
  ];
}

export function describe(report: ChaosReport, promises: readonly Kept[]): string {
  const { crashes, delivered, events, skipped, tally, twice } = report;
  const head = ['kind', 'ok', 'failed', 'cut', 'truncated', 'stuck'];
  const rows = KINDS.map((kind) => [
    IDEMPOTENT.has(kind) ? kind : `${kind} *`,
    ...(['ok', 'failed', 'cut', 'truncated', 'stuck'] as const).map((end) => String(tally.count(kind, end))),
  ]);
  const lines = [
    `${events.length} faults struck in ${report.seconds.toFixed(1)} s${skipped > 0 ? `, ${skipped} were skipped` : ''}; ${delivered} POSTs were delivered`,
    '',
    ...[head, ...rows].map((row) =>
      row.map((cell, i) => (i === 0 ? cell.padEnd(10) : cell.padStart(10))).join(''),
    ),
    '* may fail: not to be sent twice. cut: the response had begun, and the app was told by a broken connection.',
    '',
    ...promises.map(({ isKept, value, what }) => `${isKept ? 'ok  ' : 'FAIL'}  ${what.padEnd(40)}${value}`),
  ];
  const { failures } = tally;
  const told = failures.filter(({ end, kind }) => end !== 'failed' || IDEMPOTENT.has(kind));
  for (const { atMs, detail, end, kind } of told.slice(0, SHOWN_FAILURES)) {
    lines.push(`  ${(atMs / 1_000).toFixed(1)} s ${kind} ${end}: ${detail}`);
  }
  for (const crash of crashes) lines.push(`  crash: ${crash}`);
  if (twice.length > 0) lines.push(`  delivered twice: ${twice.slice(0, SHOWN_FAILURES).join(' ')}`);
  return `${lines.join('\n')}\n`;
}
