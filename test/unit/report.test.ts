/** Reports: the ORCA header both ways, the state body, and which report is newer. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { applyReport, encodeOrca, type LoadReport, parseOrca } from '../../sidecar/core/peers/load-report.ts';
import { decodePeerState, encodePeerState } from '../../sidecar/core/peers/peer-state.ts';
import { endpointOf, peerOf, recordOf, SERVICE, tableOf } from '../support/peers.ts';

const report: LoadReport = {
  epoch: 1_702_150_000_000,
  seq: 7,
  state: 'draining',
  load: 0.35,
  service: SERVICE,
  inFlight: 3,
  queued: 1,
  concurrency: 4,
  serviceMs: 812.25,
  mine: 2,
  activeCallers: 3,
  oldestMs: 900,
};

test('a report survives the header, but for the service that the reader knows', () => {
  const { service: _, ...rest } = report;
  assert.deepEqual(parseOrca(encodeOrca(report)), rest);
  assert.deepEqual(parseOrca(encodeOrca({ ...report, serviceMs: null })), { ...rest, serviceMs: null });
  assert.deepEqual(parseOrca(encodeOrca({ ...report, oldestMs: null })), { ...rest, oldestMs: null });
  assert.deepEqual(parseOrca(encodeOrca({ ...report, oldestMs: 0 })), { ...rest, oldestMs: 0 });
  assert.equal(parseOrca(encodeOrca({ ...report, oldestMs: 1234.56 }))?.oldestMs, 1_235);
});

test('a sidecar that says nothing of its queue has nobody waiting; a worker that says nothing tells nothing', () => {
  const sidecar = 'named_metrics.queued=3,named_metrics.sidecar_epoch=1,named_metrics.sidecar_seq=1';
  assert.equal(parseOrca(sidecar)?.oldestMs, null);
  assert.equal('oldestMs' in (parseOrca('named_metrics.queued=3') ?? {}), false);
});

test('the header is TEXT that any ORCA reader takes', () => {
  assert.match(encodeOrca(report), /^TEXT application_utilization=0\.35(,named_metrics\.[a-z_]+=[0-9.]+)+$/);
});

test("foreign words for load: vLLM's and Envoy's, in TEXT and JSON", () => {
  assert.deepEqual(
    parseOrca('TEXT named_metrics.kv_cache_usage_perc=0.4,named_metrics.num_requests_waiting=2'),
    {
      load: 0.4,
      queued: 2,
    },
  );
  assert.deepEqual(parseOrca('cpu_utilization=0.3, mem_utilization=0.9, eps=1'), { load: 0.3 });
  assert.deepEqual(
    parseOrca(
      'JSON {"cpu_utilization":0.2,"named_metrics":{"kv_cache_usage_perc":0.7,"num_requests_running":5}}',
    ),
    { load: 0.7, inFlight: 5 },
  );
  assert.deepEqual(parseOrca('{"application_utilization":1.7}'), { load: 1 });
});

test('nothing usable is null', () => {
  for (const value of [
    '',
    'TEXT',
    'JSON',
    'JSON {',
    'JSON []',
    'JSON null',
    'a=b',
    '=',
    ',,,',
    'BIN AAAA',
    `cpu_utilization=0.1,${'x'.repeat(5000)}`,
  ]) {
    assert.equal(parseOrca(value), null, value.slice(0, 20));
  }
});

test('hostile numbers are bounded or dropped', () => {
  assert.deepEqual(parseOrca('application_utilization=NaN,named_metrics.in_flight=Infinity'), null);
  assert.deepEqual(parseOrca('named_metrics.in_flight=-5,named_metrics.queued=1e300'), {
    inFlight: 0,
    queued: 1e6,
  });
  assert.deepEqual(parseOrca('named_metrics.queued=0x10'), null);
  assert.deepEqual(parseOrca('named_metrics.oldest_ms=-5'), { oldestMs: 0 });
  assert.deepEqual(parseOrca('named_metrics.oldest_ms=1e300'), { oldestMs: 1e9 });
  assert.equal(parseOrca('named_metrics.oldest_ms=NaN'), null);
  assert.deepEqual(
    parseOrca('named_metrics.sidecar_epoch=1.5,named_metrics.sidecar_seq=1,named_metrics.mine=1'),
    { mine: 1 },
  );
  assert.deepEqual(parseOrca('named_metrics.sidecar_state=7,named_metrics.mine=1'), { mine: 1 });
});

test('a report is taken over, an older one is not', () => {
  const table = tableOf([recordOf(1, { epoch: report.epoch })]);
  const peer = peerOf(table, 1);
  assert.equal(applyReport(peer, report, 'response', 500), 'applied');
  const endpoint = endpointOf(table, 1);
  assert.deepEqual(
    [endpoint.load, endpoint.inFlight, endpoint.queued, endpoint.concurrency, endpoint.serviceMs],
    [0.35, 3, 1, 4, 812.25],
  );
  assert.deepEqual([endpoint.mineReported, endpoint.activeCallers, endpoint.reportedAtMs], [2, 3, 500]);
  assert.deepEqual([endpoint.reportSource, peer.state, endpoint.oldestMs], ['response', 'draining', 900]);
  assert.equal(applyReport(peer, { ...report, seq: 6, load: 1 }, 'probe', 600), 'stale');
  assert.equal(applyReport(peer, { ...report, epoch: 1, seq: 99, load: 1 }, 'response', 600), 'stale');
  assert.equal(endpoint.load, 0.35);
  assert.equal(applyReport(peer, { service: 'other', load: 1 }, 'probe', 600), 'not_offered');
});

test('the queue that was there is gone when the peer says so, and only then', () => {
  const table = tableOf([recordOf(1, { epoch: report.epoch })]);
  const peer = peerOf(table, 1);
  const endpoint = endpointOf(table, 1);
  assert.ok(Number.isNaN(endpoint.oldestMs), 'nothing was said');
  applyReport(peer, report, 'response', 1);
  applyReport(peer, { service: SERVICE, load: 0.5 }, 'response', 2);
  assert.equal(endpoint.oldestMs, 900);
  applyReport(peer, { ...report, seq: 6, oldestMs: 5 }, 'response', 3);
  assert.equal(endpoint.oldestMs, 900, 'older news');
  applyReport(peer, { ...report, queued: 0, oldestMs: null }, 'response', 4);
  assert.ok(Number.isNaN(endpoint.oldestMs));
  applyReport(peer, report, 'response', 5);
  applyReport(peer, { service: SERVICE, epoch: report.epoch + 1, seq: 0 }, 'probe', 6);
  assert.ok(Number.isNaN(endpoint.oldestMs), 'a new life has no queue of the old one');
});

test('a report of a new life wipes the old one and asks for the record', () => {
  const table = tableOf([recordOf(1, { epoch: report.epoch, load: 0.9 })]);
  const peer = peerOf(table, 1);
  for (let i = 0; i < 5; i += 1) peer.health.failed(0);
  applyReport(peer, report, 'response', 1);
  const outcome = applyReport(
    peer,
    { ...report, epoch: report.epoch + 1, seq: 0, state: 'ready' },
    'probe',
    2,
  );
  assert.equal(outcome, 'restarted');
  assert.deepEqual(
    [peer.health.isEjected(2), peer.state, endpointOf(table, 1).reportSeq],
    [false, 'ready', 0],
  );
  assert.equal(table.apply(recordOf(1, { epoch: report.epoch, seq: 9 }), 'record', 3), 'stale');
});

test('the state body survives JSON, with every service', () => {
  const reports = [report, { ...report, service: 'vision-ocr', serviceMs: null, load: 0 }];
  assert.deepEqual(decodePeerState(JSON.parse(JSON.stringify(encodePeerState(reports)))), reports);
  assert.deepEqual(decodePeerState(encodePeerState([])), []);
});

test('the state body of an older sidecar, or a strange one, tells nothing of the first in the queue', () => {
  const withOldest = (oldest_ms: unknown) => {
    const body = encodePeerState([report]);
    const figures = { ...(body.services as Record<string, object>)[SERVICE], oldest_ms };
    return decodePeerState({ ...body, services: { [SERVICE]: figures } })?.[0]?.oldestMs;
  };
  assert.deepEqual([withOldest(900.5), withOldest(0)], [900.5, 0]);
  for (const said of [undefined, null, -1, Number.NaN, Infinity, 1e10, '900', [900], {}]) {
    assert.equal(withOldest(said), null, String(said));
  }
});

test('a state body that is not one is null', () => {
  const good = encodePeerState([report]);
  const bad: unknown[] = [
    null,
    [],
    'x',
    {},
    { ...good, state: 'great' },
    { ...good, epoch: -1 },
    { ...good, seq: 1.5 },
    { ...good, services: [] },
    { ...good, services: { a: null } },
    { ...good, services: { a: { load: 2 } } },
    { ...good, services: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`s${i}`, {}])) },
  ];
  for (const json of bad) assert.equal(decodePeerState(json), null);
});
