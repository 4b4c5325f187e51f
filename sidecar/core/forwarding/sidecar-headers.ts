/**
 * The header fields that belong to the sidecars, and that neither an app nor a worker may put into a message.
 *
 * One prefix instead of a list, so that a field of a later version cannot be forged through an older sidecar.
 *
 * | field | in | said by | | --- | --- | --- | | `sidecar-service`, `sidecar-explain`, `sidecar-affinity`,
 * `sidecar-deadline-ms`, `sidecar-require`, `sidecar-prefer`, `sidecar-worker` | request | the app; read and taken out by the first sidecar | | `sidecar-auth` | both | one
 * sidecar to the other | | `sidecar-route` | request | one sidecar to the other: `tunnel` where it came by one | |
 * `sidecar-expected-queue`, `sidecar-under-way-ms` | request | one sidecar to the other: the longest queue that it
 * takes, and its place there | | `sidecar-inbound`, `sidecar-revision` | request | one that asks for a record: `host:port` where its own is
 * to be had | | `sidecar-worker`, `sidecar-route`, `sidecar-attempts`, `sidecar-request-id`, `sidecar-decision` |
 * response | the app's sidecar | | `sidecar-load` | response | one sidecar to the other: how it is | | `sidecar-slot` |
 * response | one sidecar to the other: the stream that begins holds no slot there | |
 * `endpoint-load-metrics`, `endpoint-load-metrics-bin` | response | the worker to its sidecar, which reads it |
 */
import type { HeadLimits } from '../http/message.ts';

/** What an app requires of the worker, and what it prefers among those that have it (core/peers/requirements). */
export const REQUIRE_HEADER = 'sidecar-require';
export const PREFER_HEADER = 'sidecar-prefer';

/** In a request of an app: this worker and no other. In a response to it: the worker that gave it. */
export const WORKER_HEADER = 'sidecar-worker';

/** The request fields that an app may send; every one is consumed by the sidecar it is sent to. */
export const APP_HEADERS: ReadonlySet<string> = new Set([
  'sidecar-service',
  'sidecar-explain',
  'sidecar-affinity',
  'sidecar-deadline-ms',
  REQUIRE_HEADER,
  PREFER_HEADER,
  WORKER_HEADER,
]);

/** By it the one who is asked learns where the one who asks listens (mesh/discovery/introductions). */
export const INTRODUCTION_HEADER = 'sidecar-inbound';

/** Beside it: which revision its record has. */
export const REVISION_HEADER = 'sidecar-revision';

/** In a response between sidecars: how the peer is (core/peers/load-report). */
export const LOAD_HEADER = 'sidecar-load';

/** In a response between sidecars: what is open from here on holds no slot there, and `SLOT_FREE` is all that it says. */
export const SLOT_HEADER = 'sidecar-slot';
export const SLOT_FREE = 'free';

/** In a request between sidecars: by which way it came, where the other cannot see it. */
export const ROUTE_HEADER = 'sidecar-route';

const PREFIX = 'sidecar';

/**
 * Whether a field is the sidecars' own: never passed on from an app or a worker. True also for APP_HEADERS, because
 * those end at the sidecar that reads them; and for `sidecar_…`, which much software takes for the same name.
 */
export function isSidecarHeader(name: string): boolean {
  if (name.length <= PREFIX.length + 1) return false;
  const initial = name.charCodeAt(0) | 0x20;
  // 's' and 'e', the only initials of such fields, keep nearly every other name out.
  if (initial !== 0x73 && initial !== 0x65) return false;
  const lowerName = name.toLowerCase();
  return (
    (lowerName.startsWith(PREFIX) && !/[a-z0-9]/.test(lowerName.charAt(PREFIX.length))) ||
    lowerName === 'endpoint-load-metrics' ||
    lowerName === 'endpoint-load-metrics-bin'
  );
}

/** Proof of membership, Via, Forwarded and X-Forwarded-*, load report; some twenty fields of an edge. */
const ADDED_BYTES = 8_192;

const ADDED_FIELDS = 32;

/** `/service/` and a name of 63 bytes, when the service was addressed in another way; the path of a tunnel's URL. */
const ADDED_TARGET_BYTES = 512;

/**
 * The limits for heads between two sidecars: without room for what the sidecars (and a tunnel's edge) add, a head of
 * just the limit would pass the first one and be refused by the second, as an error that nobody could place.
 */
export function betweenSidecars(outside: HeadLimits): HeadLimits {
  return {
    maxHeadBytes: outside.maxHeadBytes + ADDED_BYTES,
    maxFields: outside.maxFields + ADDED_FIELDS,
    maxTargetBytes: outside.maxTargetBytes + ADDED_TARGET_BYTES,
  };
}
