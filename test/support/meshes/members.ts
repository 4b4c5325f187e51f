/**
 * Members of a mesh for tests: identities that are made in a line, with the same mesh key unless told.
 *
 *
 */
import { Buffer } from 'node:buffer';
import type { WorkerRecord } from '../../../sidecar/core/peers/record.ts';
import { createBundle } from '../../../sidecar/mesh/membership/certificate-bundle.ts';
import { type Identity, openIdentity } from '../../../sidecar/mesh/membership/identity.ts';
import { fromMeshKey } from '../../../sidecar/mesh/membership/mesh-keys.ts';

export const MESH_KEY = Buffer.from(
  '000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f',
  'hex',
);
export const OTHER_MESH_KEY = Buffer.from(MESH_KEY).reverse();

/** 2026-01-01 00:00:00 UTC. */
export const NOW_MS = 1_767_225_600_000;

export function member(
  workerId: string,
  options: { services?: readonly string[]; meshKey?: Uint8Array; nowMs?: number } = {},
): Identity {
  return openIdentity({
    meshKey: options.meshKey ?? MESH_KEY,
    certBundle: null,
    workerId,
    services: options.services ?? ['llm-inference'],
    stateDir: null,
    nowMs: options.nowMs ?? NOW_MS,
  });
}

/** A member by certificate. */
export function certified(
  workerId: string,
  options: { offers?: readonly string[]; calls?: readonly string[]; days?: number } = {},
): Identity {
  const certBundle = createBundle(fromMeshKey(MESH_KEY), {
    workerId,
    offers: options.offers ?? ['llm-inference'],
    calls: options.calls ?? ['*'],
    days: options.days ?? 30,
    nowSeconds: NOW_MS / 1000,
  });
  return openIdentity({ meshKey: null, certBundle, workerId, services: [], stateDir: null, nowMs: NOW_MS });
}

export function recordOf(identity: Identity, changes: Partial<WorkerRecord> = {}): WorkerRecord {
  return {
    worker_id: identity.workerId,
    vpn_ip: '10.42.0.10',
    tunnel_url: null,
    services: ['llm-inference'],
    capabilities: { has_gpu: true, gpu_type: 'RTX 4090', worker_type: 'gpu' },
    load: 0.35,
    last_seen: NOW_MS / 1000,
    public_key: identity.keyHex,
    epoch: NOW_MS - 60_000,
    seq: 7,
    revision: 0,
    state: 'ready',
    inbound_port: 8000,
    figures: { 'llm-inference': { in_flight: 3, concurrency: 8, queued: 0, service_ms: 210.5 } },
    ...changes,
  };
}
