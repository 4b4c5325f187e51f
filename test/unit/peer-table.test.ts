/** The peer table: which news is newer, who is doubted, who has left. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { begin, finish } from '../../sidecar/core/peers/accounting.ts';
import { applyReport } from '../../sidecar/core/peers/load-report.ts';
import { PeerTable } from '../../sidecar/core/peers/peer-table.ts';
import { endpointOf, figures, keyOf, peerOf, recordOf, SERVICE, tableOf } from '../support/peers.ts';

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
    assert.equal(table.apply(recordOf(1, { epoch, seq }), 'record', 1), outcome, `${epoch}/${seq}`);
  }
  assert.equal(table.size, 1);
});

test('an older record never changes the load that is known', () => {
  const table = tableOf([recordOf(1, { seq: 2, load: 0.9 })]);
  table.apply(recordOf(1, { seq: 1, load: 0.1 }), 'probe', 1);
  assert.equal(endpointOf(table, 1).load, 0.9);
});

test('a record does not replace what the peer itself has said since', () => {
  const table = tableOf([recordOf(1)]);
  const report = { service: SERVICE, epoch: 1_000, seq: 9, load: 0.9, state: 'draining' as const };
  applyReport(peerOf(table, 1), report, 'response', 1_000);
  assert.equal(table.apply(recordOf(1, { seq: 8, load: 0.1 }), 'record', 20_000), 'updated');
  assert.deepEqual([endpointOf(table, 1).load, peerOf(table, 1).state], [0.9, 'draining']);
  assert.deepEqual([endpointOf(table, 1).reportedAtMs, peerOf(table, 1).record.seq], [1_000, 8]);
  table.apply(recordOf(1, { seq: 10, load: 0.1 }), 'record', 20_001);
  assert.deepEqual([endpointOf(table, 1).load, peerOf(table, 1).state], [0.1, 'ready']);
  assert.equal(applyReport(peerOf(table, 1), report, 'response', 20_002), 'stale');
  assert.equal(peerOf(table, 1).state, 'ready');
});

test('a departed worker is not revived by an old record, and a restarted one is welcome', () => {
  const table = tableOf([recordOf(1, { epoch: 5 })]);
  table.depart(keyOf(1), 5, 10);
  assert.deepEqual([table.size, table.offering(SERVICE).length], [0, 0]);
  assert.equal(table.apply(recordOf(1, { epoch: 5, seq: 99 }), 'record', 20), 'departed');
  assert.equal(table.apply(recordOf(1, { epoch: 6, seq: 1 }), 'record', 30), 'added');
});

test('a tombstone stands until the TTL', () => {
  const table = tableOf([]);
  table.depart(keyOf(1), 1_000, 0);
  assert.equal(table.apply(recordOf(1), 'record', 59_999), 'departed');
  table.sweep(60_000);
  assert.equal(table.apply(recordOf(1), 'record', 60_000), 'added');
});

test('one that shut down and does not answer any more has departed: no third party revives it until the TTL', () => {
  const table = tableOf([recordOf(1, { state: 'draining' })]);
  table.probeFailed(keyOf(1), 0);
  assert.equal(table.probeFailed(keyOf(1), 0), 'evicted');
  // What the DHT still holds of it, also after the time for which one that was merely silent is barred.
  assert.equal(table.apply(recordOf(1, { seq: 99 }), 'record', 59_999), 'departed');
  assert.equal(table.apply(recordOf(1, { epoch: 2_000 }), 'record', 59_999), 'added', 'but it may come back');
});

test('a good-bye of a former life does not end the present one', () => {
  const table = tableOf([recordOf(1, { epoch: 6 })]);
  table.depart(keyOf(1), 5, 10);
  assert.equal(table.size, 1);
});

test('two misses evict, and the evicted one stays out for 30 s unless it was restarted', () => {
  const table = tableOf([recordOf(1), recordOf(2)]);
  assert.equal(table.probeFailed(keyOf(1), 0), 'suspect');
  table.markAlive(keyOf(1), 1);
  assert.equal(peerOf(table, 1).presence, 'live');
  assert.equal(table.probeFailed(keyOf(1), 2), 'suspect');
  assert.equal(table.probeFailed(keyOf(1), 3), 'evicted');
  assert.equal(table.probeFailed(keyOf(1), 4), 'unknown');
  assert.equal(table.isBanned(keyOf(1), 30_002), true);
  assert.equal(table.apply(recordOf(1), 'record', 30_002), 'stale');
  assert.equal(table.isBanned(keyOf(1), 30_003), false);
  assert.equal(table.apply(recordOf(1), 'record', 30_003), 'added');
  table.probeFailed(keyOf(2), 0);
  table.probeFailed(keyOf(2), 0);
  assert.equal(table.apply(recordOf(2, { epoch: 2_000 }), 'record', 1), 'added');
});

test('a worker restarted with a clock set back is believed when it speaks for itself', () => {
  const table = tableOf([recordOf(1, { epoch: 5_000 })]);
  const earlier = recordOf(1, { epoch: 3_000, load: 0.9 });
  assert.equal(table.apply(earlier, 'record', 1), 'stale');
  assert.equal(table.apply(earlier, 'probe', 1), 'updated');
  assert.deepEqual([peerOf(table, 1).epoch, endpointOf(table, 1).load], [3_000, 0.9]);
  table.depart(keyOf(1), 3_000, 2);
  assert.equal(table.apply(earlier, 'probe', 3), 'departed', 'the life that said good-bye');
  assert.equal(table.apply(recordOf(1, { epoch: 1_000 }), 'record', 3), 'departed');
  assert.equal(table.apply(recordOf(1, { epoch: 1_000 }), 'probe', 3), 'added');
  assert.equal(
    applyReport(peerOf(table, 1), { epoch: 500, seq: 1, service: SERVICE }, 'response', 4),
    'stale',
  );
  assert.equal(
    applyReport(peerOf(table, 1), { epoch: 500, seq: 1, service: SERVICE }, 'probe', 4),
    'restarted',
  );
});

test('an evicted peer that answers itself is taken back at once', () => {
  const table = tableOf([recordOf(1)]);
  table.probeFailed(keyOf(1), 0);
  table.probeFailed(keyOf(1), 0);
  assert.equal(table.apply(recordOf(1), 'record', 1), 'stale');
  assert.equal(table.apply(recordOf(1), 'probe', 2), 'added');
  assert.equal(table.isBanned(keyOf(1), 3), false);
});

test('silence evicts only when somebody else was heard since it began; a refusal always does', () => {
  const table = tableOf([recordOf(1), recordOf(2), recordOf(3)]);
  const silence = { isRefused: false, isConfirmedByOthers: false };
  assert.equal(table.isConfirmedByOthers(peerOf(table, 1)), false, 'no suspect, nothing to witness');
  table.probeFailed(keyOf(1), 10, silence);
  assert.equal(table.isConfirmedByOthers(peerOf(table, 1)), false);
  assert.equal(table.probeFailed(keyOf(1), 20, silence), 'suspect');
  table.markAlive(keyOf(2), 9);
  assert.equal(table.isConfirmedByOthers(peerOf(table, 1)), false, 'heard before the silence began');
  table.markAlive(keyOf(2), 30);
  assert.equal(table.isConfirmedByOthers(peerOf(table, 1)), true);
  assert.equal(table.probeFailed(keyOf(1), 40, { isRefused: false, isConfirmedByOthers: true }), 'evicted');
  table.probeFailed(keyOf(3), 50, silence);
  assert.equal(table.probeFailed(keyOf(3), 60, { isRefused: true, isConfirmedByOthers: false }), 'evicted');
});

test('a sidecar without VPN sees no VPN route, also after a newer record', () => {
  const table = new PeerTable({ ttlMs: 60_000, evictionBanMs: 30_000, routeKinds: new Set(['tunnel']) });
  table.apply(recordOf(1, { tunnel_url: 'https://w1.example' }), 'record', 0);
  table.apply(recordOf(1, { tunnel_url: 'https://w1.example', seq: 2 }), 'record', 0);
  assert.deepEqual(
    peerOf(table, 1).routes.map(({ kind }) => kind),
    ['tunnel'],
  );
});

test("a third party's record does not end a suspicion, a response of the peer does", () => {
  const table = tableOf([recordOf(1)]);
  table.probeFailed(keyOf(1), 0);
  table.apply(recordOf(1, { seq: 2 }), 'record', 1);
  assert.equal(peerOf(table, 1).presence, 'suspect');
  table.apply(recordOf(1, { seq: 2 }), 'probe', 2);
  assert.equal(peerOf(table, 1).presence, 'live');
});

test('two workers with one id are noticed once per life, and both stay', () => {
  const table = tableOf([recordOf(1)]);
  const second = recordOf(2, { worker_id: 'worker-1' });
  assert.equal(table.apply(second, 'record', 0), 'id_conflict');
  assert.equal(table.apply({ ...second, seq: 2 }, 'record', 1), 'updated');
  assert.deepEqual(
    table.claiming('worker-1').map((peer) => peer.key),
    [keyOf(1), keyOf(2)],
  );
  assert.equal(table.offering(SERVICE).length, 2);
  table.depart(keyOf(1), 1_000, 2);
  assert.equal(table.claiming('worker-1').length, 1);
});

test('a worker that comes back at the same address with a new key replaces itself', () => {
  const table = tableOf([recordOf(1)]);
  const reborn = recordOf(2, { worker_id: 'worker-1', vpn_ip: recordOf(1).vpn_ip, epoch: 2_000 });
  assert.equal(table.apply(reborn, 'record', 1), 'added');
  assert.deepEqual([table.size, table.get(keyOf(1))], [1, undefined]);
});

test('the list of a service follows what its peers offer', () => {
  const table = tableOf([recordOf(1), recordOf(2, { services: [SERVICE, 'vision-ocr'] })]);
  assert.equal(table.offering(SERVICE).length, 2);
  assert.equal(table.offering('vision-ocr').length, 1);
  assert.equal(table.offering(SERVICE), table.offering(SERVICE), 'the same array while nothing changes');
  table.dropService(keyOf(2), SERVICE);
  assert.deepEqual(table.offering(SERVICE), [peerOf(table, 1)]);
  table.apply(recordOf(2, { seq: 2, services: [SERVICE] }), 'record', 1);
  assert.equal(table.offering(SERVICE).length, 2, 'a newer record says again that it is offered');
  assert.equal(table.offering('vision-ocr').length, 0);
  assert.deepEqual(table.offering('constructor'), []);
});

test('a route keeps its health with its address, and loses it with it', () => {
  const table = tableOf([recordOf(1, { tunnel_url: 'https://w1.example/base/' })]);
  const [vpn, tunnel] = peerOf(table, 1).routes;
  assert.deepEqual([vpn?.kind, tunnel?.kind], ['vpn', 'tunnel']);
  assert.deepEqual([tunnel?.host, tunnel?.port, tunnel?.basePath], ['w1.example', 443, '/base']);
  vpn?.health.failed(0);
  table.apply(recordOf(1, { seq: 2, tunnel_url: 'https://other.example' }), 'record', 1);
  const [sameVpn, otherTunnel] = peerOf(table, 1).routes;
  assert.equal(sameVpn, vpn);
  assert.equal(sameVpn?.health.isUp, false);
  assert.notEqual(otherTunnel, tunnel);
});

test('a restart wipes what the former life did, but not what I have there', () => {
  const table = tableOf([recordOf(1, { figures: figures({ service_ms: 500, in_flight: 3 }) })]);
  const endpoint = endpointOf(table, 1);
  for (let i = 0; i < 6; i += 1) begin(endpoint, 0);
  for (let i = 0; i < 5; i += 1) finish(endpoint, 'failed', 0);
  peerOf(table, 1).routes[0]?.health.failed(0);
  assert.equal(peerOf(table, 1).health.isEjected(0), true);
  table.apply(recordOf(1, { epoch: 2_000 }), 'record', 1);
  assert.equal(endpointOf(table, 1), endpoint);
  assert.equal(peerOf(table, 1).health.isEjected(1), false);
  assert.deepEqual([endpoint.outstanding, endpoint.failureRate, endpoint.inFlight], [1, 0, 0]);
  assert.ok(Number.isNaN(endpoint.serviceMs));
  assert.equal(peerOf(table, 1).routes[0]?.health.isUp, true);
});

test('an unheard peer goes when others were heard, and stays when nobody was', () => {
  const table = tableOf([recordOf(1), recordOf(2), recordOf(3, { services: ['rare'] })]);
  table.sweep(70_000);
  assert.equal(table.size, 3, 'all news has stopped: the last known view stays');
  table.markAlive(keyOf(2), 65_000);
  table.sweep(70_000);
  assert.deepEqual([table.get(keyOf(1)), table.size], [undefined, 2]);
  assert.ok(table.get(keyOf(3)), 'the only one that offers a service stays');
});

test('a sweep leaves a peer with requests of mine alone', () => {
  const table = tableOf([recordOf(1), recordOf(2)]);
  begin(endpointOf(table, 1), 0);
  table.markAlive(keyOf(2), 65_000);
  table.sweep(70_000);
  assert.equal(table.size, 2);
});
