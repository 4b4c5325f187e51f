/**
 * What is printed: a table for each case, and one of the goals; for the terminal or in Markdown.
 *
 * It must not know how anything was measured.
 */
import type { Baseline } from './baseline.ts';
import type { Case } from './cases.ts';
import { figureText, headOf } from './figures.ts';
import { keyOf, reachedGoals } from './goals.ts';
import type { Row, Summary } from './summary.ts';

export interface Table {
  readonly title: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** What a row says when something in it went wrong. */
const ALARM = '!! ';

export function caseTable(each: Case, summary: Summary): Table {
  const measured = summary.rowsOf(each.name);
  const ratios = each.ratios.filter(({ to }) => measured.some(({ name }) => name === to));
  const head = [
    '',
    ...each.shown.map((figure) => headOf(figure, each.unit)),
    ...ratios.map(({ figure, to }) => `${shortHead(headOf(figure, each.unit))} × ${to}`),
    measured.some((row) => faultsOf(row) !== '') ? 'faults' : '',
  ];
  const rows = measured.map((row) => [
    labelOf(row),
    ...each.shown.map((figure) => figureText(summary.median(row, figure))),
    ...ratios.map((ratio) => figureText(summary.ratio(row, ratio))),
    faultsOf(row),
  ]);
  return { title: `${each.name}: ${each.about}`, head, rows };
}

/** Without its unit: a ratio has none. */
function shortHead(head: string): string {
  return head.replace(/ µs(?:\/\w+)?$/, '');
}

function labelOf({ name, hops, part }: Row): string {
  const who = part === '' ? name : `${name}, ${part}`;
  return hops === 0 ? who : `${hops} ${hops === 1 ? 'hop ' : 'hops'} ${who}`;
}

function faultsOf({ samples }: Row): string {
  const faults = samples.filter(({ faults }) => faults !== '').map(({ faults }) => faults);
  if (faults.length === 0) return '';
  const first = faults[0] ?? '';
  return `${ALARM}${first}${faults.length > 1 ? ` (and in ${faults.length - 1} more rounds)` : ''}`;
}

export function goalTable(summary: Summary, baseline: Baseline | null): Table {
  const rows = reachedGoals(summary).map(({ goal, value, isReached }) => {
    const kept = baseline?.figures[keyOf(goal)];
    const change = kept === undefined ? '-' : percentText(value / kept - 1);
    return [
      `${goal.hops === 1 ? '1 hop ' : '2 hops'} ${goal.about}`,
      figureText(value),
      `${goal.isAtMost ? '≤' : '≥'} ${figureText(goal.limit)}`,
      isReached ? 'reached' : 'not reached',
      ...(baseline === null ? [] : [figureText(kept), change]),
    ];
  });
  const head = ['', 'now', 'goal', '', ...(baseline === null ? [] : ['baseline', 'change'])];
  const made = baseline === null ? '' : `, and against the baseline of Node ${baseline.node}`;
  return { title: `The sidecar against its goals${made}`, head, rows };
}

function percentText(share: number): string {
  return `${share >= 0 ? '+' : ''}${(100 * share).toFixed(1)} %`;
}

/** Columns of equal width; the first and the last one begin at the left. */
export function textOf({ title, head, rows }: Table): string {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((cells) => (cells[column] ?? '').length)));
  const lines = all.map((cells) =>
    cells
      .map((cell, column) => {
        const isLeft = column === 0 || column === head.length - 1;
        const width = widths[column] ?? 0;
        return isLeft ? cell.padEnd(width) : cell.padStart(width);
      })
      .join('  ')
      .trimEnd(),
  );
  return [title, ...lines].join('\n');
}

export function markdownOf({ title, head, rows }: Table): string {
  const lines = [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`);
  return [`**${title}**`, '', ...lines].join('\n');
}
