/**
 * Peer view: what this sidecar knows of each peer, as JSON for `/peers`, counts for the gauge, and scrape targets for
 * Prometheus.
 *
 * One place that turns the balancer's tables into an outside form, so that core keeps no JSON and the names here can
 * stay while core changes.
 */
import { formatHostPort } from '../core/host-port.ts';
import { exclusionReason } from '../core/peers/exclusion-reason.ts';
import type { Endpoint, Peer } from '../core/peers/peer.ts';
import { routeAddress } from '../core/peers/route.ts';
import type { ServiceHealthState } from '../core/peers/service-health.ts';
import { PEER_STATES, type PeerStateLabel } from './labels.ts';

/** Suspicion and ejection are ours and newer than what the record says, so they win. */
export function peerStateOf(peer: Peer, nowMs: number): PeerStateLabel {
  if (peer.presence === 'suspect') return 'suspect';
  if (ejectedService(peer, nowMs) !== null) return 'ejected';
  return peer.state;
}

/** The first of its services when all are ejected; else null, and the figures of each service tell. */
function ejectedService(peer: Peer, nowMs: number): string | null {
  let first: string | null = null;
  for (const { service, standing } of peer.endpoints()) {
    if (!standing.health.isEjected(nowMs)) return null;
    first ??= service;
  }
  return first;
}

export function countPeers(peers: Iterable<Peer>, nowMs: number): Record<PeerStateLabel, number> {
  const counts = Object.fromEntries(PEER_STATES.map((state) => [state, 0])) as Record<PeerStateLabel, number>;
  for (const peer of peers) counts[peerStateOf(peer, nowMs)]++;
  return counts;
}

interface PeerAside {
  readonly clockOffsetMs?: number | null;
  readonly sharedBy?: readonly string[] | null;
}

/**
 * The record's own names, then what is ours: `presence`, `age_s` since it was last heard from, each
 * route's state and each service's live figures with their age and source. `nowMs` is monotonic. `clockOffsetMs`: how
 * far its clock is ahead of ours, null = not known. `sharedBy`: where two sidecars run with its key, null = one does.
 */
export function describePeer(
  peer: Peer,
  nowMs: number,
  { clockOffsetMs = null, sharedBy = null }: PeerAside = {},
): object {
  const { record } = peer;
  return {
    worker_id: record.worker_id,
    vpn_ip: record.vpn_ip,
    tunnel_url: record.tunnel_url,
    services: record.services,
    capabilities: record.capabilities,
    load: liveLoad(peer),
    last_seen: record.last_seen,
    state: peerStateOf(peer, nowMs),
    why_not_ready:
      peerStateOf(peer, nowMs) === 'ready'
        ? null
        : exclusionReason(peer, ejectedService(peer, nowMs) ?? '', nowMs),
    reported_state: peer.state,
    presence: peer.presence,
    health: healthOf(peer),
    age_s: seconds(nowMs - peer.heardAtMs),
    clock_offset_s: clockOffsetMs === null ? null : Math.round(clockOffsetMs) / 1000,
    public_key: peer.key,
    key_in_use_at: sharedBy,
    paused: record.paused ?? [],
    epoch: peer.epoch,
    seq: record.seq,
    revision: record.revision,
    routes: peer.routes.map((route) => ({
      kind: route.kind,
      address: routeAddress(route),
      state: route.health.state.kind,
      last_fault: route.health.isUp || route.health.lastFault === '' ? null : route.health.lastFault,
      extra_ms: finite(route.health.extraMs),
    })),
    figures: Object.fromEntries(
      Array.from(peer.endpoints(), (endpoint) => [endpoint.service, describeEndpoint(endpoint, nowMs)]),
    ),
  };
}

/** That of its services if it is the same for all. */
function healthOf(peer: Peer): ServiceHealthState['kind'] {
  const kinds = new Set(Array.from(peer.endpoints(), ({ standing }) => standing.health.state.kind));
  const [kind = 'closed'] = kinds;
  return kinds.size === 1 ? kind : 'closed';
}

function describeEndpoint(endpoint: Endpoint, nowMs: number): object {
  const { health } = endpoint.standing;
  const isEjected = health.isEjected(nowMs);
  return {
    health: health.state.kind,
    why_ejected: isEjected ? exclusionReason(endpoint.peer, endpoint.service, nowMs) : null,
    full_at: endpoint.standing.fullAt(nowMs),
    load: endpoint.load,
    in_flight: endpoint.inFlight,
    queued: endpoint.queued,
    concurrency: endpoint.concurrency,
    service_ms: finite(endpoint.serviceMs),
    outstanding: endpoint.outstanding,
    sharers: endpoint.activeCallers,
    failure_rate: endpoint.failureRate,
    report_age_s: seconds(nowMs - endpoint.reportedAtMs),
    report_source: endpoint.reportSource,
  };
}

/** The newest report of any service; the record's figure until there is one. */
function liveLoad(peer: Peer): number {
  let newest: Endpoint | null = null;
  for (const endpoint of peer.endpoints()) {
    if (newest === null || endpoint.reportedAtMs > newest.reportedAtMs) newest = endpoint;
  }
  return newest === null || newest.reportedAtMs === Number.NEGATIVE_INFINITY ? peer.record.load : newest.load;
}

/** Prometheus `http_sd`; its label is `worker`, since `worker_id` is one of `sidecar_build_info` itself. */
export interface ScrapeTarget {
  readonly targets: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
}

/** This sidecar and every peer with a VPN address, on one admin port for all: records do not carry it. */
export function scrapeTargets(
  self: { readonly workerId: string; readonly host: string; readonly port: number },
  peers: Iterable<Peer>,
): readonly ScrapeTarget[] {
  const found: ScrapeTarget[] = [target(self.host, self.port, self.workerId)];
  for (const { record } of peers) {
    if (record.vpn_ip !== null) found.push(target(record.vpn_ip, self.port, record.worker_id));
  }
  return found;
}

function target(address: string, port: number, workerId: string): ScrapeTarget {
  return { targets: [formatHostPort({ host: address, port })], labels: { worker: workerId } };
}

/** JSON has no NaN and no Infinity: unknown is null. */
function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}

function seconds(ms: number): number | null {
  return Number.isFinite(ms) ? Math.round(Math.max(0, ms)) / 1000 : null;
}
