/**
 * Lengths of time as people write them: `500ms`, `60s`, `1.5m`, `2h`, `30d`, `5m30s` → milliseconds.
 *
 * A unit is required (only `0` goes without), because `60` has meant a minute to one reader and 60 ms to
 * the next. Own code, as the packages for this accept years, "half an hour" and silent NaN. It must not
 * know which option a value is for or what range that option allows.
 */

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const MAX_TEXT = 40;

/** The whole of the text as milliseconds, rounded to one; null when it is not a length of time. */
export function parseDuration(text: string): number | null {
  const trimmed = text.trim();
  if (trimmed === '0') return 0;
  if (trimmed.length > MAX_TEXT || !/^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+$/.test(trimmed)) return null;
  let totalMs = 0;
  let previousUnitMs = Number.POSITIVE_INFINITY;
  for (const [, amount, unit] of trimmed.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)) {
    const unitMs = UNIT_MS[unit as string] as number;
    // `30s5m` and `1s1s` are slips of the pen, not sums.
    if (unitMs >= previousUnitMs) return null;
    previousUnitMs = unitMs;
    totalMs += Number(amount) * unitMs;
  }
  const rounded = Math.round(totalMs);
  return Number.isSafeInteger(rounded) ? rounded : null;
}

/** The shortest text that parses back to the same number of milliseconds. */
export function formatDuration(ms: number): string {
  const whole = Math.max(0, Math.round(ms));
  if (whole === 0) return '0s';
  for (const unit of ['d', 'h', 'm', 's']) {
    const unitMs = UNIT_MS[unit] as number;
    if (whole % unitMs === 0) return `${whole / unitMs}${unit}`;
  }
  return `${whole}ms`;
}
