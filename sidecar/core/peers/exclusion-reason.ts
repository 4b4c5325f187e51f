/**
 * How a peer that was not asked stands, in a sentence for the one who reads a refusal.
 *
 * Made from the same state that decides about candidates (core/balancing/candidates), only when nobody could be chosen.
 */
import { requestsAt } from './accounting.ts';
import type { Peer } from './peer.ts';
import { NO_REQUIREMENTS, type Requirement, unmetText } from './requirements.ts';
import type { Route } from './route.ts';
import { routeAddress } from './route.ts';
import type { Standing } from './standing.ts';
import type { Tombstone } from './tombstones.ts';

/** A known worker that was not asked, and why. */
export interface SkippedPeer {
  /** worker_id. */
  readonly peer: string;
  readonly reason: string;
}

/** Longer lists help nobody, and a refusal must stay cheap when there are a thousand workers. */
const MAX_LISTED = 8;

/** Said of a service of any worker. */
export const PAUSED = 'paused: the one who runs it has taken it out for a while (dht-sidecar pause)';

/** Older failures say nothing of the present. */
const RECENT_MS = 300_000;

/** Of the peers that offer the service those that were not tried. */
export function skippedPeers(
  peers: readonly Peer[],
  service: string,
  triedKeys: ReadonlySet<string>,
  nowMs: number,
  requirements: readonly Requirement[] = NO_REQUIREMENTS,
): { readonly listed: readonly SkippedPeer[]; readonly more: number } {
  const listed: SkippedPeer[] = [];
  let more = 0;
  for (const peer of peers) {
    if (triedKeys.has(peer.key)) continue;
    if (listed.length === MAX_LISTED) more += 1;
    else
      listed.push({
        peer: peer.record.worker_id,
        reason: exclusionReason(peer, service, nowMs, requirements),
      });
  }
  return { listed, more };
}

/** `gpu-1: warming …; gpu-2: draining …; and 3 more`. */
export function skippedText(listed: readonly SkippedPeer[], more: number): string {
  const parts = listed.map(({ peer, reason }) => `${peer}: ${reason}`);
  if (more > 0) parts.push(`and ${more} more`);
  return parts.join('; ');
}

export function exclusionReason(
  peer: Peer,
  service: string,
  nowMs: number,
  requirements: readonly Requirement[] = NO_REQUIREMENTS,
): string {
  const unmet = unmetText(peer.record.capabilities, requirements);
  if (unmet !== '') return `does not meet ${unmet}`;
  switch (peer.state) {
    case 'warming': {
      const { stateReason } = peer;
      const why =
        stateReason === '' ? `its health check does not pass${lastFault(peer, nowMs)}` : stateReason;
      const sinceMs = nowMs - peer.stateSinceMs;
      const since = sinceMs < 1_000 ? '' : ` for at least ${span(sinceMs)}`;
      return `warming${since}: ${why}${silence(peer, nowMs)}`;
    }
    case 'draining':
      return `draining: it shuts down and takes no new requests${silence(peer, nowMs)}`;
  }
  const endpoint = peer.endpoint(service);
  if (endpoint?.isPaused === true) return `${PAUSED}${silence(peer, nowMs)}`;
  if (peer.routes.length === 0) return noRoute(peer);
  if (endpoint?.standing.health.isEjected(nowMs) === true)
    return `${ejected(endpoint.standing, service, nowMs)}${lastFault(peer, nowMs)}`;
  if (peer.routes.every(({ health }) => !health.isUp)) {
    return `no route works: ${peer.routes.map((route) => downRoute(route, nowMs)).join(', ')}`;
  }
  if (peer.presence === 'suspect') {
    return `suspect: it did not answer when asked, last heard ${span(nowMs - peer.heardAtMs)} ago${lastFault(peer, nowMs)}`;
  }
  if (endpoint?.standing.isFull(requestsAt(endpoint), nowMs) === true) return full(endpoint.standing, nowMs);
  return `ready, and not chosen${lastFault(peer, nowMs)}`;
}

/** Why the worker beside the app is passed over while it has so many requests; null = it is not. */
export function passedOverReason(
  standing: Standing,
  service: string,
  requests: number,
  nowMs: number,
): string | null {
  if (standing.health.isEjected(nowMs)) return ejected(standing, service, nowMs);
  return standing.isFull(requests, nowMs) ? full(standing, nowMs) : null;
}

/** Of a peer that was known. `left`: it said good-bye; `silent`: it did not answer; `revoked`: its key was. */
export function absenceReason(
  { peer, sinceMs }: Tombstone,
  why: 'left' | 'silent' | 'revoked',
  nowMs: number,
): SkippedPeer | null {
  if (peer === null) return null;
  const ago = `${span(nowMs - sinceMs)} ago`;
  return { peer: peer.record.worker_id, reason: absenceText(peer, why, ago, nowMs) };
}

function absenceText(peer: Peer, why: 'left' | 'silent' | 'revoked', ago: string, nowMs: number): string {
  switch (why) {
    case 'left':
      return `left: it said good-bye ${ago}`;
    case 'silent':
      return `gone: it did not answer when asked, ${ago}${lastFault(peer, nowMs)}; used again once it answers`;
    case 'revoked':
      return `revoked: its key is a member no longer, told ${ago} (dht-sidecar mesh revoke)`;
  }
}

/** What it said may be old by now. */
function silence(peer: Peer, nowMs: number): string {
  if (peer.presence !== 'suspect') return '';
  return `; its sidecar was asked since and does not answer, last heard ${span(nowMs - peer.heardAtMs)} ago`;
}

function noRoute({ record }: Peer): string {
  if (record.vpn_ip === null) return 'no route to it: it has neither a VPN address nor a tunnel';
  return `no route from here: it has the VPN address ${record.vpn_ip} and no tunnel, and this sidecar has no VPN`;
}

function ejected({ health }: Standing, service: string, nowMs: number): string {
  const { consecutiveFailures, outlier, state } = health;
  const why =
    outlier === null
      ? ` after ${consecutiveFailures} failures in a row`
      : ` as an outlier of ${service}: ${outlier.text}`;
  if (state.kind !== 'ejected') return `ejected${why}, and on trial with another request now`;
  return `ejected for ${span(state.untilMs - nowMs)} more${why}`;
}

function full(standing: Standing, nowMs: number): string {
  if (standing.isSetAside(nowMs))
    return 'set aside for a second: many of its answers are faults, and those of the others are not known yet';
  const most = standing.fullAt(nowMs) ?? 0;
  const others = most === 0 ? '' : ` while it had ${most}`;
  return `full: its worker refused a request${others}, and takes no more for ${span(standing.fullForMs(nowMs))}`;
}

function downRoute(route: Route, nowMs: number): string {
  const { state, lastFault: why } = route.health;
  const since = state.kind === 'up' ? '' : ` for ${span(nowMs - state.sinceMs)}`;
  return `${route.kind} ${routeAddress(route)} is down${since}${why === '' ? '' : ` (${why})`}`;
}

function lastFault({ lastFault: fault }: Peer, nowMs: number): string {
  if (fault === null || nowMs - fault.atMs > RECENT_MS) return '';
  return `; its last failure, ${span(nowMs - fault.atMs)} ago: ${fault.text}`;
}

/** A length of time in whole seconds, or minutes. */
function span(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  return seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
}
