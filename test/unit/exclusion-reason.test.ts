/** How workers that were not asked stand: what the reader of a 503 is told of each. */
import { describe, expect, test } from '@jest/globals';
import { exclusionReason, skippedPeers, skippedText } from '../../sidecar/core/peers/exclusion-reason.ts';
import { EJECT_AFTER_FAILURES } from '../../sidecar/core/peers/service-health.ts';
import { healthOf, keyOf, peerOf, recordOf, SERVICE, tableOf } from '../support/meshes/peers.ts';
import { expectNamed } from '../support/runner/expectations.ts';

const one = (changes: Parameters<typeof recordOf>[1] = {}) => peerOf(tableOf([recordOf(1, changes)]), 1);

describe('the standing of workers not asked', () => {
  test('warming: for how long at least, and why, as the worker says', () => {
    const peer = one({ state: 'warming' });
    expect(exclusionReason(peer, SERVICE, 40_000)).toBe(
      'warming for at least 40 s: its health check does not pass',
    );
    peer.stateReason = 'GET /health gave 503';
    expect(exclusionReason(peer, SERVICE, 500)).toBe('warming: GET /health gave 503');
    peer.reportState('ready', 100, 1_000);
    peer.reportState('warming', 101, 50_000);
    peer.lastFault = { atMs: 50_000, text: 'connect_failed: connection refused' };
    expect(exclusionReason(peer, SERVICE, 53_000)).toBe(
      'warming for at least 3 s: its health check does not pass; its last failure, 3 s ago: connect_failed: connection refused',
    );
  });

  test('a draining one is said to shut down', () => {
    expect(exclusionReason(one({ state: 'draining' }), SERVICE, 0)).toMatch(/^draining: it shuts down/);
  });

  test('ejected: for how long, after how many failures, and what the last one was', () => {
    const peer = one();
    for (let i = 0; i < EJECT_AFTER_FAILURES; i++) healthOf(peer).failed(0);
    peer.lastFault = { atMs: 0, text: 'its worker answered with 500' };
    expect(exclusionReason(peer, SERVICE, 5_000)).toBe(
      'ejected for 25 s more after 5 failures in a row; its last failure, 5 s ago: its worker answered with 500',
    );
  });

  test('what was long ago is told in minutes', () => {
    const peer = one();
    peer.lastFault = { atMs: 0, text: 'x' };
    for (const [nowMs, ago] of [
      [119_000, '119 s'],
      [120_000, '2 min'],
    ] as const)
      expect(exclusionReason(peer, SERVICE, nowMs)).toBe(
        `ready, and not chosen; its last failure, ${ago} ago: x`,
      );
  });

  test('a failure of more than five minutes ago is not told any more', () => {
    const peer = one();
    peer.lastFault = { atMs: 0, text: 'its worker answered with 500' };
    expect(exclusionReason(peer, SERVICE, 300_000)).toMatch(
      /^ready, and not chosen; its last failure, 5 min ago: its worker/,
    );
    expect(exclusionReason(peer, SERVICE, 300_001)).toBe('ready, and not chosen');
  });

  test('no route works: each with its address and its own fault; or there is none from here', () => {
    const peer = one({ vpn_ip: '10.42.0.9', inbound_port: 8_000 });
    peer.routes[0]?.health.failed(1_000, 'connection refused');
    expect(exclusionReason(peer, SERVICE, 4_000)).toBe(
      'no route works: vpn http://10.42.0.9:8000 is down for 3 s (connection refused)',
    );
    const unreachable = one({ vpn_ip: null, inbound_port: null, tunnel_url: null });
    expect(exclusionReason(unreachable, SERVICE, 0)).toMatch(/neither a VPN address nor a tunnel/);
  });

  test('a suspect is said not to have answered, and when it was last heard', () => {
    const peer = one();
    peer.presence = 'suspect';
    expect(exclusionReason(peer, SERVICE, 7_000)).toMatch(
      /^suspect: it did not answer when asked, last heard 7 s ago/,
    );
  });

  test('the list leaves out who was tried, and is bounded', () => {
    const table = tableOf(Array.from({ length: 20 }, (_, i) => recordOf(i, { state: 'draining' })));
    const { listed, more } = skippedPeers(table.offering(SERVICE), SERVICE, new Set([keyOf(0)]), 0);
    expect([listed.length, more]).toStrictEqual([8, 11]);
    expect(listed.every(({ peer }) => peer !== 'worker-0')).toBe(true);
    expect(skippedText(listed, more)).toMatch(/^worker-1: draining.*; and 11 more$/);
  });

  test('who has left, and who did not answer, is told for a while', () => {
    const table = tableOf([recordOf(1), recordOf(2), recordOf(3)]);
    const { epoch } = peerOf(table, 1);
    table.depart(keyOf(1), epoch, 1_000);
    peerOf(table, 2).lastFault = { atMs: 2_000, text: 'connect_timeout: no response' };
    table.probeFailed(keyOf(2), 2_000);
    table.probeFailed(keyOf(2), 2_000);
    const told = table.absent(SERVICE, 4_000);
    expect(told.map(({ peer }) => peer)).toStrictEqual(['worker-1', 'worker-2']);
    expect(told[0]?.reason).toBe('left: it said good-bye 3 s ago');
    expect(told[1]?.reason ?? '').toMatch(/^gone: it did not answer when asked, 2 s ago; .*connect_timeout/);
    expect(table.absent('another', 4_000)).toStrictEqual([]);
    expect(table.absent(SERVICE, 1e9)).toStrictEqual([]);
  });

  test('of a thousand who are gone no more are told of than are wanted', () => {
    const table = tableOf(Array.from({ length: 1_000 }, (_, i) => recordOf(i)));
    let sentences = 0;
    for (let i = 0; i < 1_000; i++) {
      const peer = peerOf(table, i);
      if (i < 2) table.depart(keyOf(i), peer.epoch, 1_000);
      else for (let misses = 0; misses < 2; misses++) table.probeFailed(keyOf(i), 2_000);
      Object.defineProperty(peer, 'lastFault', {
        get: () => {
          sentences++;
          return null;
        },
      });
    }
    const told = table.absent(SERVICE, 4_000, 8).map(({ peer }) => peer);
    expect(told).toStrictEqual(Array.from({ length: 8 }, (_, i) => `worker-${i}`));
    expectNamed(sentences, 'who has left is told without a fault').toBe(6);
    expect(table.absent(SERVICE, 4_000, 1)).toHaveLength(1);
    expect(table.absent(SERVICE, 4_000)).toHaveLength(1_000);
  });
});
