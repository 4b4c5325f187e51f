/**
 * Bounds the work on a head that comes byte by byte, from a client or from an origin: the parsers hold no state, so
 * each call reads from the start, which is cheap for a head in a piece or two and quadratic for one in thousands.
 */
import type { HeadLimits } from '../../core/http/message.ts';

/** Up to here a head may be parsed as often as it likes. */
const FREE_BYTES = 4_096;

/** Whether `bytes`, of which the first `knownBytes` were parsed before without an end, are worth another try. */
export function worthReparsing(bytes: Buffer, knownBytes: number, limits: HeadLimits): boolean {
  if (knownBytes <= FREE_BYTES || bytes.length > limits.maxHeadBytes) return true;
  return bytes.indexOf('\r\n\r\n', knownBytes - 3) >= 0;
}
