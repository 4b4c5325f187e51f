/**
 * What the command prints: a mutant as two lines of a diff, and the table of who was caught.
 *
 * Of a change that spans many lines only the beginning and the end are shown.
 */
import type { Verdict } from './judge.ts';
import type { Mutant } from './mutants.ts';

const MAX_TEXT = 200;

function clipped(text: string): string {
  if (text.length <= MAX_TEXT) return text;
  return `${text.slice(0, (MAX_TEXT * 3) / 4)} … ${text.slice(-MAX_TEXT / 4)}`;
}

export function mutantText({ key, file, line, before, after }: Mutant, verdict?: Verdict): string {
  const reached = verdict?.kind === 'survived' ? `, survived ${verdict.reachedBy} tests` : '';
  return `${key} ${file}:${line}${reached}\n  - ${clipped(before)}\n  + ${clipped(after)}`;
}

function row(area: string, results: readonly boolean[]): string {
  const caught = results.filter((isCaught) => isCaught).length;
  const percent = ((100 * caught) / results.length).toFixed(1);
  return [
    area.padEnd(18),
    String(caught).padStart(7),
    String(results.length).padStart(7),
    percent.padStart(7),
  ].join('');
}

/** Of pairs of area and whether it was caught. */
export function tableText(results: readonly (readonly [area: string, isCaught: boolean])[]): string {
  const areas = [...Map.groupBy(results, ([area]) => area)].sort(([a], [b]) => (a < b ? -1 : 1));
  const head = ['area'.padEnd(18), ' caught', '  total', '      %'].join('');
  const rows = areas.map(([area, of]) =>
    row(
      area,
      of.map(([, isCaught]) => isCaught),
    ),
  );
  return [
    '',
    head,
    ...rows,
    row(
      'total',
      results.map(([, isCaught]) => isCaught),
    ),
  ].join('\n');
}
