/**
 * Lengths of time and amounts of data as people write them: `5m30s` → milliseconds, `1.5 MiB` → bytes.
 *
 * A unit of time is required (only `0` goes without), because `60` has meant a minute to one reader and 60 ms to the
 * next. Own code, as the packages for this accept years, "half an hour" and silent NaN. Binary units of data are powers
 * of 1,024 and decimal ones powers of 1,000 (IEC 80000-13); `64K` is refused, because it is read both ways.
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

const UNIT_BYTES: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  KB: 1000,
  MB: 1_000_000,
  GB: 1_000_000_000,
  KIB: 1024,
  MIB: 1_048_576,
  GIB: 1_073_741_824,
};

/** The whole of the text as a whole number of bytes; null when it is not an amount of data. */
export function parseByteSize(text: string): number | null {
  if (text.length > 40) return null;
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(text);
  if (match === null) return null;
  const unitBytes = UNIT_BYTES[(match[2] ?? '').toUpperCase()];
  if (unitBytes === undefined) return null;
  const bytes = Number(match[1]) * unitBytes;
  return Number.isSafeInteger(bytes) ? bytes : null;
}

/** The shortest text that parses back to the same number of bytes. */
export function formatByteSize(bytes: number): string {
  for (const unit of ['GiB', 'MiB', 'KiB']) {
    const unitBytes = UNIT_BYTES[unit.toUpperCase()] as number;
    if (bytes > 0 && bytes % unitBytes === 0) return `${bytes / unitBytes}${unit}`;
  }
  return `${bytes}`;
}
