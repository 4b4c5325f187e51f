/** The peer table: which news is newer, who is doubted, who has left. */
import { describe, expect, test } from '@jest/globals';
import { begin, finish } from '../../sidecar/core/peers/accounting.ts';
import { applyReport } from '../../sidecar/core/peers/load-report.ts';
import { PeerTable } from '../../sidecar/core/peers/peer-table.ts';
import { endpointOf, figures, keyOf, peerOf, recordOf, SERVICE, tableOf } from '../support/meshes/peers.ts';
import { expectNamed } from '../support/runner/expectations.ts';

describe('the peer table', () => {
  test('epoch and sequence decide which record is newer', () => {
    const table = tableOf([recordOf(1, { epoch: 5, seq: 5 })]);
    const cases = [
      [5, 5, 'unchanged'],
      [5, 4, 'stale'],
      [4, 9, 'stale'],
      [5, 6, 'updated'],
      [6, 0, 'updated'],
      [5, 7, 'stale'],
    ] as const;
    for (const [epoch, seq, outcome] of cases) {
      expectNamed(table.apply(recordOf(1, { epoch, seq }), 'record', 1), `${epoch}/${seq}`).toBe(outcome);
    }
    expect(table.size).toBe(1);
  });

  test('an older record never changes the load that is known', () => {
    const table = tableOf([recordOf(1, { seq: 2, load: 0.9 })]);
    table.apply(recordOf(1, { seq: 1, load: 0.1 }), 'probe', 1);
    expect(endpointOf(table, 1).load).toBe(0.9);
  });

  test('a record does not replace what the peer itself has said since', () => {
    const table = tableOf([recordOf(1)]);
    const report = { service: SERVICE, epoch: 1_000, seq: 9, load: 0.9, state: 'draining' as const };
    applyReport(peerOf(table, 1), report, 'response', 1_000);
    expect(table.apply(recordOf(1, { seq: 8, load: 0.1 }), 'record', 20_000)).toBe('updated');
    expect([endpointOf(table, 1).load, peerOf(table, 1).state]).toStrictEqual([0.9, 'draining']);
    expect([endpointOf(table, 1).reportedAtMs, peerOf(table, 1).record.seq]).toStrictEqual([1_000, 8]);
    table.apply(recordOf(1, { seq: 10, load: 0.1 }), 'record', 20_001);
    expect([endpointOf(table, 1).load, peerOf(table, 1).state]).toStrictEqual([0.1, 'ready']);
    expect(applyReport(peerOf(table, 1), report, 'response', 20_002)).toBe('stale');
    expect(peerOf(table, 1).state).toBe('ready');
  });

  test('a departed worker is not revived by an old record, and a restarted one is welcome', () => {
    const table = tableOf([recordOf(1, { epoch: 5 })]);
    table.depart(keyOf(1), 5, 10);
    expect([table.size, table.offering(SERVICE).length]).toStrictEqual([0, 0]);
    expect(table.apply(recordOf(1, { epoch: 5, seq: 99 }), 'record', 20)).toBe('departed');
    expect(table.apply(recordOf(1, { epoch: 6, seq: 1 }), 'record', 30)).toBe('added');
  });

  test('a tombstone stands until the TTL', () => {
    const table = tableOf([]);
    table.depart(keyOf(1), 1_000, 0);
    expect(table.apply(recordOf(1), 'record', 59_999)).toBe('departed');
    table.sweep(60_000);
    expect(table.apply(recordOf(1), 'record', 60_000)).toBe('added');
  });

  test('one that shut down and does not answer any more has departed: no third party revives it until the TTL', () => {
    const table = tableOf([recordOf(1, { state: 'draining' })]);
    table.probeFailed(keyOf(1), 0);
    expect(table.probeFailed(keyOf(1), 0)).toBe('evicted');
    // What the DHT still holds of it, also after the time for which one that was merely silent is barred.
    expect(table.apply(recordOf(1, { seq: 99 }), 'record', 59_999)).toBe('departed');
    expectNamed(table.apply(recordOf(1, { epoch: 2_000 }), 'record', 59_999), 'but it may come back').toBe(
      'added',
    );
  });

  test('a good-bye of a former life does not end the present one', () => {
    const table = tableOf([recordOf(1, { epoch: 6 })]);
    table.depart(keyOf(1), 5, 10);
    expect(table.size).toBe(1);
  });

  test('one that shut down and is silent is kept out as long as any that is silent, where that is longer', () => {
    const table = new PeerTable({ ttlMs: 10_000, evictionBanMs: 30_000 });
    const record = recordOf(1, { state: 'draining' });
    table.apply(record, 'record', 0);
    for (const nowMs of [10, 20]) table.probeFailed(keyOf(1), nowMs);
    expect(table.apply(record, 'record', 30_019)).toBe('departed');
    expect(table.apply(record, 'record', 30_020)).toBe('added');
  });

  test('a newer record by way of others is news of the peer, but no witness of its own life', () => {
    const table = tableOf([recordOf(1, { seq: 5 }), recordOf(2)]);
    table.probeFailed(keyOf(1), 10);
    table.apply(recordOf(1, { seq: 5 }), 'record', 20);
    table.apply(recordOf(1, { seq: 4 }), 'record', 20);
    expect(peerOf(table, 1).heardAtMs).toBe(0);
    table.apply(recordOf(1, { seq: 6 }), 'record', 20);
    expect(peerOf(table, 1).heardAtMs).toBe(20);
    expect(table.isConfirmedByOthers(peerOf(table, 1))).toBe(false);
    table.markAlive(keyOf(2), 10);
    expect(table.isConfirmedByOthers(peerOf(table, 1))).toBe(true);
  });

  test('two misses evict, and the evicted one stays out for 30 s unless it was restarted', () => {
    const table = tableOf([recordOf(1), recordOf(2)]);
    expect(table.probeFailed(keyOf(1), 0)).toBe('suspect');
    table.markAlive(keyOf(1), 1);
    expect(peerOf(table, 1).presence).toBe('live');
    expect(table.probeFailed(keyOf(1), 2)).toBe('suspect');
    expect(table.probeFailed(keyOf(1), 3)).toBe('evicted');
    expect(table.probeFailed(keyOf(1), 4)).toBe('unknown');
    expect(table.isBanned(keyOf(1), 30_002)).toBe(true);
    expect(table.apply(recordOf(1), 'record', 30_002)).toBe('stale');
    expect(table.isBanned(keyOf(1), 30_003)).toBe(false);
    expect(table.apply(recordOf(1), 'record', 30_003)).toBe('added');
    table.probeFailed(keyOf(2), 0);
    table.probeFailed(keyOf(2), 0);
    expect(table.apply(recordOf(2, { epoch: 2_000 }), 'record', 1)).toBe('added');
  });

  test('a worker restarted with a clock set back is believed when it speaks for itself', () => {
    const table = tableOf([recordOf(1, { epoch: 5_000 })]);
    const earlier = recordOf(1, { epoch: 3_000, load: 0.9 });
    expect(table.apply(earlier, 'record', 1)).toBe('stale');
    expect(table.apply(earlier, 'probe', 1)).toBe('updated');
    expect([peerOf(table, 1).epoch, endpointOf(table, 1).load]).toStrictEqual([3_000, 0.9]);
    table.depart(keyOf(1), 3_000, 2);
    expectNamed(table.apply(earlier, 'probe', 3), 'the life that said good-bye').toBe('departed');
    expect(table.apply(recordOf(1, { epoch: 1_000 }), 'record', 3)).toBe('departed');
    expect(table.apply(recordOf(1, { epoch: 1_000 }), 'probe', 3)).toBe('added');
    expect(applyReport(peerOf(table, 1), { epoch: 500, seq: 1, service: SERVICE }, 'response', 4)).toBe(
      'stale',
    );
    expect(applyReport(peerOf(table, 1), { epoch: 500, seq: 1, service: SERVICE }, 'probe', 4)).toBe(
      'restarted',
    );
  });

  test('an evicted peer that answers itself is taken back at once', () => {
    const table = tableOf([recordOf(1)]);
    table.probeFailed(keyOf(1), 0);
    table.probeFailed(keyOf(1), 0);
    expect(table.apply(recordOf(1), 'record', 1)).toBe('stale');
    expect(table.apply(recordOf(1), 'probe', 2)).toBe('added');
    expect(table.isBanned(keyOf(1), 3)).toBe(false);
  });

  test('silence evicts only when somebody else was heard since it began; a refusal always does', () => {
    const table = tableOf([recordOf(1), recordOf(2), recordOf(3)]);
    const silence = { isRefused: false, isConfirmedByOthers: false };
    expectNamed(table.isConfirmedByOthers(peerOf(table, 1)), 'no suspect, nothing to witness').toBe(false);
    table.probeFailed(keyOf(1), 10, silence);
    expect(table.isConfirmedByOthers(peerOf(table, 1))).toBe(false);
    expect(table.probeFailed(keyOf(1), 20, silence)).toBe('suspect');
    table.markAlive(keyOf(2), 9);
    expectNamed(table.isConfirmedByOthers(peerOf(table, 1)), 'heard before the silence began').toBe(false);
    table.markAlive(keyOf(2), 30);
    expect(table.isConfirmedByOthers(peerOf(table, 1))).toBe(true);
    expect(table.probeFailed(keyOf(1), 40, { isRefused: false, isConfirmedByOthers: true })).toBe('evicted');
    table.probeFailed(keyOf(3), 50, silence);
    expect(table.probeFailed(keyOf(3), 60, { isRefused: true, isConfirmedByOthers: false })).toBe('evicted');
  });

  test('a sidecar without VPN sees no VPN route, also after a newer record', () => {
    const table = new PeerTable({ ttlMs: 60_000, evictionBanMs: 30_000, routeKinds: new Set(['tunnel']) });
    table.apply(recordOf(1, { tunnel_url: 'https://w1.example' }), 'record', 0);
    table.apply(recordOf(1, { tunnel_url: 'https://w1.example', seq: 2 }), 'record', 0);
    expect(peerOf(table, 1).routes.map(({ kind }) => kind)).toStrictEqual(['tunnel']);
  });

  test("a third party's record does not end a suspicion, a response of the peer does", () => {
    const table = tableOf([recordOf(1)]);
    table.probeFailed(keyOf(1), 0);
    table.apply(recordOf(1, { seq: 2 }), 'record', 1);
    expect(peerOf(table, 1).presence).toBe('suspect');
    table.apply(recordOf(1, { seq: 2 }), 'probe', 2);
    expect(peerOf(table, 1).presence).toBe('live');
  });

  test('two workers with one id are noticed once per life, and both stay', () => {
    const table = tableOf([recordOf(1)]);
    const second = recordOf(2, { worker_id: 'worker-1' });
    expect(table.apply(second, 'record', 0)).toBe('id_conflict');
    expect(table.apply({ ...second, seq: 2 }, 'record', 1)).toBe('updated');
    expect(table.claiming('worker-1').map((peer) => peer.key)).toStrictEqual([keyOf(1), keyOf(2)]);
    expect(table.offering(SERVICE)).toHaveLength(2);
    table.depart(keyOf(1), 1_000, 2);
    expect(table.claiming('worker-1')).toHaveLength(1);
  });

  test('a worker that comes back at the same address with a new key replaces itself', () => {
    const table = tableOf([recordOf(1)]);
    const reborn = recordOf(2, { worker_id: 'worker-1', vpn_ip: recordOf(1).vpn_ip, epoch: 2_000 });
    expect(table.apply(reborn, 'record', 1)).toBe('added');
    expect([table.size, table.get(keyOf(1))]).toStrictEqual([1, undefined]);
  });

  test('another key of one id at the same address replaces only those that began before it', () => {
    const place = { vpn_ip: null, inbound_port: null, tunnel_url: 'https://w1.example' };
    const nowhere = { ...place, tunnel_url: null };
    for (const [name, epoch, at, outcome] of [
      ['later, by the same tunnel', 6, place, 'added'],
      ['earlier, by the same tunnel', 4, place, 'id_conflict'],
      ['later, by another tunnel', 6, { ...place, tunnel_url: 'https://w2.example' }, 'id_conflict'],
    ] as const) {
      const table = tableOf([recordOf(1, { ...place, epoch: 5 })]);
      const other = recordOf(2, { ...at, epoch, worker_id: 'worker-1' });
      expectNamed(table.apply(other, 'record', 1), name).toBe(outcome);
      expectNamed(table.size, name).toBe(outcome === 'added' ? 1 : 2);
    }
    const table = tableOf([recordOf(1, { ...nowhere, epoch: 5 })]);
    const other = recordOf(2, { ...nowhere, epoch: 6, worker_id: 'worker-1' });
    expectNamed(table.apply(other, 'record', 1), 'no address is no place').toBe('id_conflict');
  });

  test('a record tells nobody what is his: of what it counts, as much as I have there is taken to be mine', () => {
    const table = tableOf([recordOf(1)]);
    const endpoint = endpointOf(table, 1);
    for (let i = 0; i < 3; i += 1) begin(endpoint, 0);
    for (const [seq, in_flight, queued, mine] of [
      [2, 1, 1, 2],
      [3, 4, 4, 3],
      [4, 0, 0, 0],
    ] as const) {
      table.apply(recordOf(1, { seq, figures: figures({ in_flight, queued }) }), 'record', seq);
      expect(endpoint.mineReported).toBe(mine);
    }
  });

  test('a sweep takes nobody who was heard within the TTL', () => {
    const table = tableOf([recordOf(1), recordOf(2)]);
    table.markAlive(keyOf(2), 60_000);
    table.sweep(60_000);
    expect(table.size).toBe(2);
    table.sweep(60_001);
    expect([...table.all()].map(({ key }) => key)).toStrictEqual([keyOf(2)]);
  });

  test('the list of a service follows what its peers offer', () => {
    const table = tableOf([recordOf(1), recordOf(2, { services: [SERVICE, 'vision-ocr'] })]);
    expect(table.offering(SERVICE)).toHaveLength(2);
    expect(table.offering('vision-ocr')).toHaveLength(1);
    expectNamed(table.offering(SERVICE), 'the same array while nothing changes').toBe(
      table.offering(SERVICE),
    );
    table.dropService(keyOf(2), SERVICE);
    expect(table.offering(SERVICE)).toStrictEqual([peerOf(table, 1)]);
    table.apply(recordOf(2, { seq: 2, services: [SERVICE] }), 'record', 1);
    expectNamed(table.offering(SERVICE), 'a newer record says again that it is offered').toHaveLength(2);
    expect(table.offering('vision-ocr')).toHaveLength(0);
    expect(table.offering('constructor')).toStrictEqual([]);
    expectNamed(table.offering('constructor'), 'also of one that nobody offers').toBe(
      table.offering('constructor'),
    );
    table.apply(recordOf(3, { services: ['constructor'] }), 'record', 1);
    expectNamed(table.offering('constructor'), 'until somebody does').toHaveLength(1);
  });

  test('a route keeps its health with its address, and loses it with it', () => {
    const table = tableOf([recordOf(1, { tunnel_url: 'https://w1.example/base/' })]);
    const [vpn, tunnel] = peerOf(table, 1).routes;
    expect([vpn?.kind, tunnel?.kind]).toStrictEqual(['vpn', 'tunnel']);
    expect([tunnel?.host, tunnel?.port, tunnel?.basePath]).toStrictEqual(['w1.example', 443, '/base']);
    vpn?.health.failed(0);
    table.apply(recordOf(1, { seq: 2, tunnel_url: 'https://other.example' }), 'record', 1);
    const [sameVpn, otherTunnel] = peerOf(table, 1).routes;
    expect(sameVpn).toBe(vpn);
    expect(sameVpn?.health.isUp).toBe(false);
    expect(otherTunnel).not.toBe(tunnel);
  });

  test('a restart wipes what the former life did, but not what I have there', () => {
    const table = tableOf([recordOf(1, { figures: figures({ service_ms: 500, in_flight: 3 }) })]);
    const endpoint = endpointOf(table, 1);
    for (let i = 0; i < 6; i += 1) begin(endpoint, 0);
    for (let i = 0; i < 5; i += 1) finish(endpoint, 'failed', 0);
    peerOf(table, 1).routes[0]?.health.failed(0);
    expect(endpointOf(table, 1).standing.health.isEjected(0)).toBe(true);
    table.apply(recordOf(1, { epoch: 2_000 }), 'record', 1);
    expect(endpointOf(table, 1)).toBe(endpoint);
    expect(endpointOf(table, 1).standing.health.isEjected(1)).toBe(false);
    expect([endpoint.outstanding, endpoint.failureRate, endpoint.inFlight]).toStrictEqual([1, 0, 0]);
    expect(endpoint.serviceMs).toBeNaN();
    expect(peerOf(table, 1).routes[0]?.health.isUp).toBe(true);
  });

  test('an unheard peer goes when others were heard, and stays when nobody was', () => {
    const table = tableOf([recordOf(1), recordOf(2), recordOf(3, { services: ['rare'] })]);
    table.sweep(70_000);
    expectNamed(table.size, 'all news has stopped: the last known view stays').toBe(3);
    table.markAlive(keyOf(2), 65_000);
    table.sweep(70_000);
    expect([table.get(keyOf(1)), table.size]).toStrictEqual([undefined, 2]);
    expectNamed(table.get(keyOf(3)), 'the only one that offers a service stays').toBeTruthy();
  });

  test('a sweep leaves a peer with requests of mine alone', () => {
    const table = tableOf([recordOf(1), recordOf(2)]);
    begin(endpointOf(table, 1), 0);
    table.markAlive(keyOf(2), 65_000);
    table.sweep(70_000);
    expect(table.size).toBe(2);
  });

  test('revoked keys: whoever has one is dropped, and neither its own word nor that of others brings it back', () => {
    const table = tableOf([recordOf(1), recordOf(2)]);
    const revoked = new Set([keyOf(1), keyOf(3)]);
    expect(table.revoke(revoked, 1_000).map(({ key }) => key)).toStrictEqual([keyOf(1)]);
    expect(table.revoke(revoked, 2_000)).toStrictEqual([]);
    for (const source of ['record', 'probe', 'response'] as const)
      for (const who of [1, 3])
        expect(table.apply(recordOf(who, { epoch: 99 }), source, 3_000)).toBe('departed');
    expect(table.offering(SERVICE).map(({ key }) => key)).toStrictEqual([keyOf(2)]);
    expect(table.absent(SERVICE, 3_000)).toStrictEqual([
      { peer: 'worker-1', reason: expect.stringMatching(/^revoked: .* 2 s ago/) },
    ]);
    // A newer list that does not name it any more.
    table.revoke(new Set([keyOf(3)]), 4_000);
    expect(table.apply(recordOf(1), 'probe', 5_000)).toBe('added');
  });

  test('revoked keys: who was gone a moment ago is told of, too', () => {
    const table = tableOf([recordOf(1)]);
    table.depart(keyOf(1), 99, 1_000);
    expect(table.revoke(new Set([keyOf(1)]), 2_000)).toHaveLength(1);
    expect(table.absent(SERVICE, 3_000)).toHaveLength(1);
    expect(table.revokedPeer(keyOf(1))?.record.worker_id).toBe('worker-1');
  });
});
