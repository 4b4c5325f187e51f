/**
 * What tests ask of the dashboard: its queries filled in as Grafana would, and run on a real Prometheus.
 *
 * Shared, so that the check against a few metrics and the one against a running mesh ask the same. It must
 * not know which panels there are.
 */
import type { Dashboard } from '../../../dashboards/sidecar.ts';
import type { Prometheus } from './prometheus.ts';

export interface BoardQuery {
  readonly panel: string;
  readonly refId: string;
  /** As it stands in the file. */
  readonly raw: string;
  /** With the variables filled in. */
  readonly promql: string;
}

/** Every query of the board; rates over `rateInterval` (at least two scrapes), all instances. */
export function boardQueries(board: Dashboard, rateInterval: string): readonly BoardQuery[] {
  const values = new Map(board.templating.list.map(({ name, allValue }) => [name, allValue ?? '.*']));
  const fill = (raw: string) =>
    raw
      .replaceAll('$__rate_interval', rateInterval)
      .replace(/\$(\w+)/g, (whole, name: string) => values.get(name) ?? whole);
  return board.panels.flatMap((panel) =>
    (panel.targets ?? []).map(({ refId, expr }) => ({
      panel: panel.title,
      refId,
      raw: expr,
      promql: fill(expr),
    })),
  );
}

/**
 * Runs every query of the board and returns those without data (or with nothing but NaN), as
 * `panel A: promql`; empty: all of them show something. Throws when one does not parse.
 */
export async function queriesWithoutData(
  prometheus: Pick<Prometheus, 'query'>,
  board: Dashboard,
  rateInterval: string,
): Promise<readonly string[]> {
  const without: string[] = [];
  for (const { panel, refId, promql } of boardQueries(board, rateInterval)) {
    const samples = await prometheus.query(promql);
    if (!samples.some(({ value }) => !Number.isNaN(value))) without.push(`${panel} ${refId}: ${promql}`);
  }
  return without;
}
