/** Reports: the ORCA header both ways, the state body, and which report is newer. */
import { describe, expect, test } from '@jest/globals';
import { applyReport, encodeOrca, type LoadReport, parseOrca } from '../../sidecar/core/peers/load-report.ts';
import { decodePeerState, encodePeerState } from '../../sidecar/core/peers/peer-state.ts';
import { endpointOf, peerOf, recordOf, SERVICE, tableOf } from '../support/meshes/peers.ts';
import { expectNamed } from '../support/runner/expectations.ts';

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

describe('a load report', () => {
  test('a report survives the header, but for the service that the reader knows', () => {
    const { service: _, ...rest } = report;
    expect(parseOrca(encodeOrca(report))).toStrictEqual(rest);
    expect(parseOrca(encodeOrca({ ...report, serviceMs: null }))).toStrictEqual({ ...rest, serviceMs: null });
    expect(parseOrca(encodeOrca({ ...report, oldestMs: null }))).toStrictEqual({ ...rest, oldestMs: null });
    expect(parseOrca(encodeOrca({ ...report, oldestMs: 0 }))).toStrictEqual({ ...rest, oldestMs: 0 });
    expect(parseOrca(encodeOrca({ ...report, oldestMs: 1234.56 }))?.oldestMs).toBe(1_235);
  });

  test('a sidecar that says nothing of its queue has nobody waiting; a worker that says nothing tells nothing', () => {
    const sidecar = 'named_metrics.queued=3,named_metrics.sidecar_epoch=1,named_metrics.sidecar_seq=1';
    expect(parseOrca(sidecar)?.oldestMs).toBe(null);
    expect('oldestMs' in (parseOrca('named_metrics.queued=3') ?? {})).toBe(false);
  });

  test('the header is TEXT that any ORCA reader takes', () => {
    expect(encodeOrca(report)).toMatch(
      /^TEXT application_utilization=0\.35(,named_metrics\.[a-z_]+=[0-9.]+)+$/,
    );
  });

  test("foreign words for load: vLLM's and Envoy's, in TEXT and JSON", () => {
    expect(
      parseOrca('TEXT named_metrics.kv_cache_usage_perc=0.4,named_metrics.num_requests_waiting=2'),
    ).toStrictEqual({
      load: 0.4,
      queued: 2,
    });
    expect(parseOrca('cpu_utilization=0.3, mem_utilization=0.9, eps=1')).toStrictEqual({ load: 0.3 });
    expect(
      parseOrca(
        'JSON {"cpu_utilization":0.2,"named_metrics":{"kv_cache_usage_perc":0.7,"num_requests_running":5}}',
      ),
    ).toStrictEqual({ load: 0.7, inFlight: 5 });
    expect(parseOrca('{"application_utilization":1.7}')).toStrictEqual({ load: 1 });
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
      expectNamed(parseOrca(value), value.slice(0, 20)).toBe(null);
    }
  });

  test('hostile numbers are bounded or dropped', () => {
    expect(parseOrca('application_utilization=NaN,named_metrics.in_flight=Infinity')).toStrictEqual(null);
    expect(parseOrca('named_metrics.in_flight=-5,named_metrics.queued=1e300')).toStrictEqual({
      inFlight: 0,
      queued: 1e6,
    });
    expect(parseOrca('named_metrics.queued=0x10')).toStrictEqual(null);
    expect(parseOrca('named_metrics.oldest_ms=-5')).toStrictEqual({ oldestMs: 0 });
    expect(parseOrca('named_metrics.oldest_ms=1e300')).toStrictEqual({ oldestMs: 1e9 });
    expect(parseOrca('named_metrics.oldest_ms=NaN')).toBe(null);
    expect(
      parseOrca('named_metrics.sidecar_epoch=1.5,named_metrics.sidecar_seq=1,named_metrics.mine=1'),
    ).toStrictEqual({ mine: 1 });
    expect(parseOrca('named_metrics.sidecar_state=7,named_metrics.mine=1')).toStrictEqual({ mine: 1 });
  });

  test('a report is taken over, an older one is not', () => {
    const table = tableOf([recordOf(1, { epoch: report.epoch })]);
    const peer = peerOf(table, 1);
    expect(applyReport(peer, report, 'response', 500)).toBe('applied');
    const endpoint = endpointOf(table, 1);
    expect([
      endpoint.load,
      endpoint.inFlight,
      endpoint.queued,
      endpoint.concurrency,
      endpoint.serviceMs,
    ]).toStrictEqual([0.35, 3, 1, 4, 812.25]);
    expect([endpoint.mineReported, endpoint.activeCallers, endpoint.reportedAtMs]).toStrictEqual([2, 3, 500]);
    expect([endpoint.reportSource, peer.state, endpoint.oldestMs]).toStrictEqual([
      'response',
      'draining',
      900,
    ]);
    expect(applyReport(peer, { ...report, seq: 6, load: 1 }, 'probe', 600)).toBe('stale');
    expect(applyReport(peer, { ...report, epoch: 1, seq: 99, load: 1 }, 'response', 600)).toBe('stale');
    expect(endpoint.load).toBe(0.35);
    expect(applyReport(peer, { service: 'other', load: 1 }, 'probe', 600)).toBe('not_offered');
  });

  test('the queue that was there is gone when the peer says so, and only then', () => {
    const table = tableOf([recordOf(1, { epoch: report.epoch })]);
    const peer = peerOf(table, 1);
    const endpoint = endpointOf(table, 1);
    expectNamed(endpoint.oldestMs, 'nothing was said').toBeNaN();
    applyReport(peer, report, 'response', 1);
    applyReport(peer, { service: SERVICE, load: 0.5 }, 'response', 2);
    expect(endpoint.oldestMs).toBe(900);
    applyReport(peer, { ...report, seq: 6, oldestMs: 5 }, 'response', 3);
    expectNamed(endpoint.oldestMs, 'older news').toBe(900);
    applyReport(peer, { ...report, queued: 0, oldestMs: null }, 'response', 4);
    expect(endpoint.oldestMs).toBeNaN();
    applyReport(peer, report, 'response', 5);
    applyReport(peer, { service: SERVICE, epoch: report.epoch + 1, seq: 0 }, 'probe', 6);
    expectNamed(endpoint.oldestMs, 'a new life has no queue of the old one').toBeNaN();
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
    expect(outcome).toBe('restarted');
    expect([peer.health.isEjected(2), peer.state, endpointOf(table, 1).reportSeq]).toStrictEqual([
      false,
      'ready',
      0,
    ]);
    expect(table.apply(recordOf(1, { epoch: report.epoch, seq: 9 }), 'record', 3)).toBe('stale');
  });

  test('the state body survives JSON, with every service', () => {
    const reports = [report, { ...report, service: 'vision-ocr', serviceMs: null, load: 0 }];
    expect(decodePeerState(JSON.parse(JSON.stringify(encodePeerState(reports))))).toStrictEqual(reports);
    expect(decodePeerState(encodePeerState([]))).toStrictEqual([]);
  });

  test('the state body of an older sidecar, or a strange one, tells nothing of the first in the queue', () => {
    const withOldest = (oldest_ms: unknown) => {
      const body = encodePeerState([report]);
      const figures = { ...(body.services as Record<string, object>)[SERVICE], oldest_ms };
      return decodePeerState({ ...body, services: { [SERVICE]: figures } })?.[0]?.oldestMs;
    };
    expect([withOldest(900.5), withOldest(0)]).toStrictEqual([900.5, 0]);
    for (const said of [undefined, null, -1, Number.NaN, Infinity, 1e10, '900', [900], {}]) {
      expectNamed(withOldest(said), String(said)).toBe(null);
    }
  });

  test('a peer that counts nobody who calls it has one caller: me', () => {
    const table = tableOf([recordOf(1)]);
    for (const [said, taken] of [
      [0, 1],
      [1, 1],
      [2, 2],
    ] as const) {
      applyReport(peerOf(table, 1), { service: SERVICE, activeCallers: said }, 'response', 0);
      expect(endpointOf(table, 1).activeCallers).toBe(taken);
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
    for (const json of bad) expect(decodePeerState(json)).toBe(null);
  });
});
