/** Reports: the header both ways, the state body, and which report is newer. */
import { describe, expect, test } from '@jest/globals';
import {
  applyReport,
  encodeReport,
  type LoadReport,
  parseReport,
} from '../../sidecar/core/peers/load-report.ts';
import { decodePeerState, decodeReason, encodePeerState } from '../../sidecar/core/peers/peer-state.ts';
import { endpointOf, healthOf, peerOf, recordOf, SERVICE, tableOf } from '../support/meshes/peers.ts';
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
  fullAt: null,
  fullForMs: 0,
};

describe('a load report', () => {
  test('a report survives the header, but for the service that the reader knows', () => {
    const { service: _, ...rest } = report;
    expect(parseReport(encodeReport(report))).toStrictEqual(rest);
    expect(parseReport(encodeReport({ ...report, serviceMs: null }))).toStrictEqual({
      ...rest,
      serviceMs: null,
    });
    expect(parseReport(encodeReport({ ...report, oldestMs: null }))).toStrictEqual({
      ...rest,
      oldestMs: null,
    });
    expect(parseReport(encodeReport({ ...report, oldestMs: 0 }))).toStrictEqual({ ...rest, oldestMs: 0 });
    expect(parseReport(encodeReport({ ...report, oldestMs: 1234.56 }))?.oldestMs).toBe(1_235);
  });

  test('the header is numbers at fixed places', () => {
    expect(encodeReport(report)).toBe('2,0.35,3,1,4,2,3,812.25,900,1702150000000,7');
  });

  test('what is no report is null as a whole', () => {
    expect(encodeReport(report, 3)).toBe(`${encodeReport(report)},,,3`);
    expect(parseReport(encodeReport(report, 3))?.revision).toBe(3);
    const full = { ...report, fullAt: 2, fullForMs: 1_500 };
    expect(parseReport(encodeReport(full, 3))).toMatchObject({ fullAt: 2, fullForMs: 1_500, revision: 3 });
    for (const bad of [',,1.5', ',,-1', ',,x', ',,3,4', ',,99999999999999999', '2', ',5', '2,,3', 'x,5'])
      expectNamed(parseReport(`${encodeReport(report)},${bad}`), `tail ${bad}`).toBe(null);
    const good = encodeReport(report);
    const parts = good.split(',');
    for (const value of [
      '',
      ',',
      good.slice(2),
      `${good},`,
      `${good},1,1,1,1`,
      `${good} `,
      good.replace(',', ';'),
    ]) {
      expectNamed(parseReport(value), value).toBe(null);
    }
    for (const bad of [
      'NaN',
      '-1',
      '+1',
      '1e3',
      '0x1',
      ' 1',
      '1 ',
      '.5',
      '1.2.3',
      '.',
      '9'.repeat(16),
      'a',
    ]) {
      for (let at = 0; at < parts.length; at += 1)
        expectNamed(parseReport(parts.with(at, bad).join(',')), `${bad} at ${at}`).toBe(null);
    }
    expectNamed(parseReport(parts.with(0, '9').join(',')), 'an unknown state').toBe(null);
    for (const at of [0, 1, 2, 3, 4, 5, 6, 9, 10])
      expectNamed(parseReport(parts.with(at, '').join(',')), `nothing at ${at}`).toBe(null);
    for (const at of [9, 10])
      expectNamed(parseReport(parts.with(at, '1.5').join(',')), 'half a life').toBe(null);
    expectNamed(parseReport('1,'.repeat(500)), 'too long').toBe(null);
  });

  test('huge numbers are bounded', () => {
    const parts = encodeReport(report).split(',');
    const huge = '9'.repeat(15);
    expect(parseReport(parts.with(1, huge).join(','))?.load).toBe(1);
    expect(parseReport(parts.with(2, huge).join(','))?.inFlight).toBe(1e6);
    expect(parseReport(parts.with(7, huge).join(','))?.serviceMs).toBe(1e9);
    expect(parseReport(parts.with(8, huge).join(','))?.oldestMs).toBe(1e9);
  });

  test('the reason of a state is text that a terminal may show, or none', () => {
    expect(decodeReason({ reason: 'it loads \u001b[2J' })).toBe('it loads ?[2J');
    expect(decodeReason({ reason: 'x'.repeat(10_000) }).length).toBeLessThan(1_000);
    for (const json of [null, 'reason', [], {}, { reason: 7 }, { reason: null }])
      expect(decodeReason(json)).toBe('');
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
    for (let i = 0; i < 5; i += 1) healthOf(peer).failed(0);
    applyReport(peer, report, 'response', 1);
    const outcome = applyReport(
      peer,
      { ...report, epoch: report.epoch + 1, seq: 0, state: 'ready' },
      'probe',
      2,
    );
    expect(outcome).toBe('restarted');
    expect([healthOf(peer).isEjected(2), peer.state, endpointOf(table, 1).reportSeq]).toStrictEqual([
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
