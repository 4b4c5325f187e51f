/**
 * What the rows of a table say: us against the ideal, the best of HAProxy and nginx against the ideal, and us against
 * that one; as a line below each table and as one table in Markdown for the documents.
 *
 * All three, because a ratio to a rival alone misleads both ways: where a rival itself reaches the ideal nobody can
 * have half of its time. It must not know how anything was measured.
 */
import { ratioText } from '../../sim/quantiles.ts';

export interface Row {
  readonly name: string;
  /** p50, p90, p99, p99.9 as ratios to the ideal. */
  readonly ratios: readonly number[];
  readonly errors: number;
  readonly why: string;
  readonly notes: string;
}

export interface Verdict {
  readonly scenario: string;
  readonly busy: string;
  readonly idealP99Ms: number;
  readonly ours: Row;
  /** null when none was run. */
  readonly best: Row | null;
}

const OURS = 'sidecars adaptive';

/** `haproxy tuned` is told by hand what each worker is, and plays no part. */
const RIVAL = /^(?:haproxy (?!tuned)|nginx )/;
const P99 = 2;
const GOAL = 1.1;
const RIVAL_GOAL = 0.5;

function p99Of(row: Row): number {
  return row.ratios[P99] ?? Number.NaN;
}

/** null when we did not run. */
export function verdictOf(
  scenario: string,
  busy: string,
  idealP99Ms: number,
  rows: readonly Row[],
): Verdict | null {
  const ours = rows.find(({ name }) => name === OURS);
  if (ours === undefined) return null;
  const rivals = rows.filter(({ name, ratios }) => RIVAL.test(name) && Number.isFinite(ratios[P99]));
  const best = rivals.toSorted((a, b) => p99Of(a) - p99Of(b))[0] ?? null;
  return { scenario, busy, idealP99Ms, ours, best };
}

export function verdictText({ ours, best }: Verdict): string {
  const reached = (ratio: number, goal: number): string =>
    `goal ${goal.toFixed(2)}: ${ratio <= goal ? 'reached' : 'not reached'}`;
  const text = `p99 ${ratioText(p99Of(ours))} × the ideal (${reached(p99Of(ours), GOAL)})`;
  if (best === null) return text;
  const share = p99Of(ours) / p99Of(best);
  const floor = 1 / p99Of(best);
  const bound =
    floor > RIVAL_GOAL
      ? `goal ${RIVAL_GOAL.toFixed(2)}; the ideal itself ${ratioText(floor)}`
      : reached(share, RIVAL_GOAL);
  return `${text}; the best other, ${best.name}, ${ratioText(p99Of(best))} × the ideal: ours ${ratioText(share)} of it (${bound})`;
}

/** In Markdown, one row per scenario and utilisation. */
export function summary(verdicts: readonly Verdict[]): string {
  const head = [
    'busy',
    'scenario',
    'ideal p99',
    'p50',
    'p90',
    'p99',
    'p99.9',
    'errors',
    'best other',
    'its p99',
    'ours to it',
  ];
  const rows = verdicts.map(({ busy, scenario, idealP99Ms, ours, best }) => [
    busy,
    scenario,
    `${idealP99Ms.toFixed(0)} ms`,
    ...ours.ratios.map(ratioText),
    String(ours.errors),
    best?.name ?? '',
    best === null ? '' : ratioText(p99Of(best)),
    best === null ? '' : ratioText(p99Of(ours) / p99Of(best)),
  ]);
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}
