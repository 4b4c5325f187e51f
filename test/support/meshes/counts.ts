/**
 * Nothing of any request is left in a pair of sidecars, and nobody was blamed: what holds after every client that left.
 *
 * In one place, so that a count which is added is held by all tests of leaving.
 */
import { expect } from '@jest/globals';
import type { SidecarPair } from './sidecar-pair.ts';

export function assertCountsAreZero(pair: SidecarPair): void {
  const { b } = pair;
  expect({
    running: pair.running,
    there: b.running,
    outstanding: b.outstanding,
    inFlight: b.service.admission.inFlight,
    queued: b.service.admission.queued,
    failures: b.standing.health.consecutiveFailures,
    route: b.peer.routes[0]?.health.state.kind,
  }).toStrictEqual({
    running: 0,
    there: 0,
    outstanding: 0,
    inFlight: 0,
    queued: 0,
    failures: 0,
    route: 'up',
  });
}
