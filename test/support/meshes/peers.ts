/**
 * Made-up peers for the balancer's tests: a record with what a test cares about, and a table of them.
 */
import type { ChoiceRequest } from '../../../sidecar/core/balancing/choice.ts';
import type { Endpoint, Peer } from '../../../sidecar/core/peers/peer.ts';
import { PeerTable } from '../../../sidecar/core/peers/peer-table.ts';
import type { ServiceFigures, WorkerRecord } from '../../../sidecar/core/peers/record.ts';
import type { ServiceHealth } from '../../../sidecar/core/peers/service-health.ts';

export const SERVICE = 'llm-inference';

export function keyOf(n: number): string {
  return n.toString(16).padStart(8, '0').repeat(8);
}

export function recordOf(n: number, changes: Partial<WorkerRecord> = {}): WorkerRecord {
  return {
    worker_id: `worker-${n}`,
    vpn_ip: `10.42.${n >> 8}.${n & 255}`,
    tunnel_url: null,
    services: [SERVICE],
    capabilities: {},
    load: 0,
    last_seen: 1_702_150_000,
    public_key: keyOf(n),
    epoch: 1_000,
    seq: 1,
    revision: 0,
    state: 'ready',
    inbound_port: 8000,
    figures: {},
    ...changes,
  };
}

export function figures(changes: Partial<ServiceFigures> = {}): Record<string, ServiceFigures> {
  return { [SERVICE]: { in_flight: 0, concurrency: 4, queued: 0, service_ms: null, ...changes } };
}

/** One live peer per record, all heard at 0. */
export function tableOf(records: readonly WorkerRecord[]): PeerTable {
  const table = new PeerTable({ ttlMs: 60_000, evictionBanMs: 30_000 });
  for (const record of records) table.apply(record, 'record', 0);
  return table;
}

export function peerOf(table: PeerTable, n: number): Peer {
  const peer = table.get(keyOf(n));
  if (peer === undefined) throw new Error(`no peer ${n}`);
  return peer;
}

export function endpointOf(table: PeerTable, n: number): Endpoint {
  const endpoint = peerOf(table, n).endpoint(SERVICE);
  if (endpoint === undefined) throw new Error(`no endpoint ${n}`);
  return endpoint;
}

/** Of a service of a peer, by its answers. */
export function healthOf(peer: Peer, service = SERVICE): ServiceHealth {
  const endpoint = peer.endpoint(service);
  if (endpoint === undefined) throw new Error(`the peer does not offer ${service}`);
  return endpoint.standing.health;
}

export function asking(random: () => number, changes: Partial<ChoiceRequest> = {}): ChoiceRequest {
  return { service: SERVICE, nowMs: 0, random, excluded: new Set(), affinityKey: null, ...changes };
}

/** Uniform in [0, 1), the same for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
