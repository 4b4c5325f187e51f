/**
 * The limits for heads between two sidecars: those of the outside, and room for what the sidecars add.
 *
 * Without that room a head of just the limit would pass the first sidecar and be refused by the second, as an error
 * that nobody could place. Also for what a tunnel's edge adds. It must not know which fields those are.
 */
import type { HeadLimits } from '../http/message.ts';

/** Proof of membership, Via, Forwarded and X-Forwarded-*, load report; some twenty fields of an edge. */
const ADDED_BYTES = 8_192;
const ADDED_FIELDS = 32;

/** `/service/` and a name of 63 bytes, when the service was addressed in another way; the path of a tunnel's URL. */
const ADDED_TARGET_BYTES = 512;

export function betweenSidecars(outside: HeadLimits): HeadLimits {
  return {
    maxHeadBytes: outside.maxHeadBytes + ADDED_BYTES,
    maxFields: outside.maxFields + ADDED_FIELDS,
    maxTargetBytes: outside.maxTargetBytes + ADDED_TARGET_BYTES,
  };
}
