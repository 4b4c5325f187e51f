/**
 * Amounts of data as people write them: `65536`, `64KiB`, `1.5 MiB`, `10MB` → bytes.
 *
 * Binary units are powers of 1,024 and decimal ones powers of 1,000, as in IEC 80000-13; `64K` is
 * refused, because it is read both ways. It must not know which option a value is for.
 */

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
