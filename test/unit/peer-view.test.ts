/**
 * Peer view: the record's own names and what is ours, as JSON without NaN, counted by state.
 */
import { describe, expect, test } from '@jest/globals';
import { Peer } from '../../sidecar/core/peers/peer.ts';
import type { WorkerRecord } from '../../sidecar/core/peers/record.ts';
import { countPeers, describePeer, peerStateOf, scrapeTargets } from '../../sidecar/observe/peer-view.ts';
import { healthOf } from '../support/meshes/peers.ts';
import { expectNamed } from '../support/runner/expectations.ts';

const record = (change: Partial<WorkerRecord> = {}): WorkerRecord => ({
  worker_id: 'worker-gpu-001',
  vpn_ip: '10.42.0.10',
  tunnel_url: 'https://gpu.example/base',
  services: ['llm-inference'],
  capabilities: { has_gpu: true },
  load: 0.35,
  last_seen: 1_702_150_000,
  public_key: 'ab'.repeat(32),
  epoch: 1_702_140_000_000,
  seq: 4,
  revision: 0,
  state: 'ready',
  inbound_port: 8000,
  figures: { 'llm-inference': { in_flight: 3, concurrency: 8, queued: 1, service_ms: null } },
  ...change,
});

describe('the view of peers', () => {
  test('a peer is shown with the names of the record, its routes, and ages', () => {
    const peer = new Peer(record(), 1_000);
    const shown = JSON.parse(JSON.stringify(describePeer(peer, 3_500)));
    for (const [name, value] of Object.entries(record())) {
      if (name !== 'figures' && name !== 'inbound_port') expectNamed(shown[name], name).toStrictEqual(value);
    }
    expect(shown.age_s).toBe(2.5);
    expect(
      shown.routes.map(({ kind, address, state }: Record<string, string>) => `${kind} ${address} ${state}`),
    ).toStrictEqual(['vpn http://10.42.0.10:8000 up', 'tunnel https://gpu.example:443/base up']);
    const figures = shown.figures['llm-inference'];
    expect(figures.in_flight).toBe(3);
    expectNamed(figures.service_ms, 'unknown is null, never NaN or 0').toBe(null);
    expect(figures.report_source).toBe('record');
    expect(figures.report_age_s).toBe(2.5);
  });

  test('suspicion and ejection win over what the record says, and every state is counted', () => {
    const ready = new Peer(record(), 0);
    const warming = new Peer(record({ state: 'warming' }), 0);
    const suspect = new Peer(record(), 0);
    suspect.presence = 'suspect';
    const ejected = new Peer(record(), 0);
    for (let i = 0; i < 5; i++) healthOf(ejected).failed(10);
    expect(peerStateOf(ejected, 20)).toBe('ejected');
    expect(countPeers([ready, warming, suspect, ejected], 20)).toStrictEqual({
      ready: 1,
      warming: 1,
      draining: 0,
      suspect: 1,
      ejected: 1,
    });
  });

  test('one service that is ejected is told among its figures; all of them make the peer ejected', () => {
    const peer = new Peer(record({ services: ['llm-inference', 'embeddings'] }), 0);
    const told = (): unknown => {
      const { state, health, why_not_ready, figures } = describePeer(peer, 20) as {
        state: string;
        health: string;
        why_not_ready: string | null;
        figures: Record<string, { health: string; why_ejected: string | null }>;
      };
      const each = Object.entries(figures).map(
        ([name, figure]) => `${name} ${figure.health} ${figure.why_ejected?.slice(0, 7)}`,
      );
      return [state, health, why_not_ready?.slice(0, 7) ?? null, ...each];
    };
    for (let i = 0; i < 5; i++) healthOf(peer, 'embeddings').failed(10);
    expect(told()).toStrictEqual([
      'ready',
      'closed',
      null,
      'llm-inference closed undefined',
      'embeddings ejected ejected',
    ]);
    for (let i = 0; i < 5; i++) healthOf(peer).failed(10);
    expect(told()).toStrictEqual([
      'ejected',
      'ejected',
      'ejected',
      'llm-inference ejected ejected',
      'embeddings ejected ejected',
    ]);
  });

  test('scrape targets: this one and every peer that the VPN reaches', () => {
    const peers = [new Peer(record(), 0), new Peer(record({ worker_id: 'home', vpn_ip: null }), 0)];
    expect(scrapeTargets({ workerId: 'me', host: 'fd00::1', port: 9464 }, peers)).toStrictEqual([
      { targets: ['[fd00::1]:9464'], labels: { worker: 'me' } },
      { targets: ['10.42.0.10:9464'], labels: { worker: 'worker-gpu-001' } },
    ]);
  });
});
