/**
 * Whether all known workers of a service are gone, by what a request has met: then others may be in their place, or the
 * same ones elsewhere, and the service is looked up anew at once instead of when its view is old.
 *
 * A fault that says nothing of where a worker is (it broke off, it was slow, its sidecar refused) is no sign: it would
 * make each broken worker cost lookups.
 */
import type { Code } from '../../core/errors.ts';
import type { Peer } from '../../core/peers/peer.ts';
import type { AttemptTrace } from '../problem.ts';

/** Faults of attempts by which a worker is not where it was. */
const ABSENT: ReadonlySet<Code> = new Set([
  'connect_failed',
  'connect_timeout',
  'certificate_untrusted',
  'upstream_protocol',
  'not_offered_here',
  'draining',
]);

/** Keys of those that can be reached now. */
export function reachable(peers: readonly Peer[], service: string): ReadonlySet<string> {
  const nowMs = performance.now();
  return new Set(peers.filter((peer) => peer.isReachable(service, nowMs)).map(({ key }) => key));
}

/**
 * Nobody can be reached whom the request has not tried, and those that it tried were not there.
 *
 * @param tried keys of peers
 * @param attempts that failed, of this request; of none nothing is known to be there
 */
export function areGone(
  peers: readonly Peer[],
  service: string,
  tried: readonly string[],
  attempts: readonly AttemptTrace[],
): boolean {
  for (const key of reachable(peers, service)) if (!tried.includes(key)) return false;
  return attempts.every(({ code }) => ABSENT.has(code));
}
