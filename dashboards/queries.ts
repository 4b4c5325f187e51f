/**
 * Queries: the PromQL idioms of the board, each written once.
 *
 * Rates are over Grafana's own interval and every selector is bounded by the `instance` variable: a fixed
 * range or a selector without it is how a board shows gaps or the wrong sidecar. It must not know panels.
 */

/** The label matchers of a selector, bounded by the variable. */
export const of = (matchers = '') => `{instance=~"$instance"${matchers === '' ? '' : `,${matchers}`}}`;

/** Events per second of a counter, added up over all but the labels in `by`. */
export function sumRate(metric: string, ...by: readonly string[]): string {
  const grouped = by.length === 0 ? '' : ` by (${by.join(', ')})`;
  return `sum${grouped} (rate(sidecar_${metric}${of()}[$__rate_interval]))`;
}

/** A quantile of a histogram, by these labels. */
export function quantile(q: number, metric: string, ...by: readonly string[]): string {
  return `histogram_quantile(${q}, ${sumRate(`${metric}_bucket`, 'le', ...by)})`;
}

/** The five that happen most; those that do not happen are left out, for there are many codes. */
export const mostFrequent = (metric: string, ...by: readonly string[]) =>
  `topk(5, ${sumRate(metric, ...by)} > 0)`;

/** A share of nothing is 0, not "no data". */
export const share = (part: string, whole: string) => `${part} / clamp_min(${whole}, 1e-9)`;

export const ROUTED = `(${sumRate('local_requests_total')} + ${sumRate('forwarded_requests_total')})`;
export const ASKED = `(${sumRate('cache_hits_total')} + ${sumRate('cache_misses_total')})`;
