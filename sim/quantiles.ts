/**
 * Quantiles of response times, and how they stand to those of the ideal.
 *
 * It must not know how the times were taken.
 */

const SHARES = [0.5, 0.9, 0.99, 0.999] as const;

/** One for each of `SHARES`, by the nearest rank; NaN without values. */
export function quantiles(values: Float64Array | readonly number[]): number[] {
  const sorted = Float64Array.from(values).sort();
  return SHARES.map((share) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN);
}

/** Two figures that matter: 1.04, 12.3, 456. */
export function ratioText(ratio: number): string {
  if (!Number.isFinite(ratio)) return '-';
  return ratio.toFixed(ratio < 10 ? 2 : ratio < 100 ? 1 : 0);
}
