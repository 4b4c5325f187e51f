/** The figures of candidates: what old reports, failures, trials and unknown figures make of them. */
import { describe, expect, test } from '@jest/globals';
import { Balancer } from '../../sidecar/core/balancing/balancer.ts';
import type { ExplainedCandidate } from '../../sidecar/core/balancing/explain.ts';
import { begin, finish } from '../../sidecar/core/peers/accounting.ts';
import type { PeerTable } from '../../sidecar/core/peers/peer-table.ts';
import type { WorkerRecord } from '../../sidecar/core/peers/record.ts';
import { EJECT_AFTER_FAILURES, EJECTION_MS } from '../../sidecar/core/peers/service-health.ts';
import {
  asking,
  endpointOf,
  figures,
  healthOf,
  peerOf,
  recordOf,
  SERVICE,
  seeded,
  tableOf,
} from '../support/meshes/peers.ts';
import { fail } from '../support/runner/expectations.ts';

const TTL = 60_000;
const FRESH = 3_000;
/** A report of this age counts half. */
const HALF_AGED = FRESH + (TTL - FRESH) / 2;

function peers(...changes: Partial<WorkerRecord>[]): PeerTable {
  return tableOf(changes.map((each, i) => recordOf(i + 1, each)));
}

/** The score of the n-th peer, counted from 1. */
function scoreOf(table: PeerTable, n: number, nowMs = 0): NonNullable<ExplainedCandidate['score']> {
  const { candidates } = new Balancer('adaptive', { ttlMs: TTL }).explain(
    table.offering(SERVICE),
    asking(seeded(1), { nowMs }),
  );
  return candidates[n - 1]?.score ?? fail(`peer ${n} is no candidate`);
}

/** One request sent there that failed. */
function failAt(table: PeerTable, n: number, nowMs: number): void {
  begin(endpointOf(table, n), nowMs);
  finish(endpointOf(table, n), 'failed', nowMs);
}

describe('the figures of candidates', () => {
  test('an aged report knows less of my own requests: more of them count as unreported', () => {
    const table = peers({ figures: figures({ concurrency: 100, in_flight: 4 }) });
    Object.assign(endpointOf(table, 1), { outstanding: 6, mineReported: 4 });
    expect(scoreOf(table, 1, FRESH).unreported).toBe(2);
    expect(scoreOf(table, 1, HALF_AGED).unreported).toBe(4);
    expect(scoreOf(table, 1, TTL).unreported).toBe(6);
  });

  test('an aged service time lies between what was said and the usual one', () => {
    const said = (ms: number) => ({ figures: figures({ service_ms: ms }) });
    const table = peers(said(1_000), said(100), said(100));
    for (const n of [2, 3]) endpointOf(table, n).reportedAtMs = HALF_AGED;
    expect(scoreOf(table, 1, FRESH).service_ms).toBe(1_000);
    expect(scoreOf(table, 1, HALF_AGED).service_ms).toBeCloseTo(550, 6);
  });

  test('more reported as mine than I have there is not less than nothing', () => {
    const table = peers({ figures: figures({ concurrency: 100, in_flight: 4 }) });
    Object.assign(endpointOf(table, 1), { outstanding: 1, mineReported: 4 });
    expect(scoreOf(table, 1).unreported).toBe(0);
  });

  test('failures of a sound peer make its expected time longer, and fade', () => {
    const table = peers({ figures: figures({ service_ms: 100 }) });
    failAt(table, 1, 0);
    expect(scoreOf(table, 1, 0).expected_ms).toBeCloseTo(100 * (1 + 20 * 0.1), 6);
    expect(scoreOf(table, 1, 5_000).expected_ms).toBeLessThan(200);
  });

  test('the trial of a peer whose ejection is over is not held back by what ejected it', () => {
    const table = peers(
      { figures: figures({ service_ms: 100 }) },
      { figures: figures({ service_ms: 100 }) },
      { figures: figures({ service_ms: 100 }) },
    );
    for (let i = 0; i < EJECT_AFTER_FAILURES; i += 1) failAt(table, 1, 0);
    // One more, as when nobody else was left: its failure rate has not faded.
    failAt(table, 1, EJECTION_MS - 1);
    expect(healthOf(peerOf(table, 1)).isEjected(EJECTION_MS)).toBe(false);
    expect(scoreOf(table, 1, EJECTION_MS).expected_ms).toBe(scoreOf(table, 2, EJECTION_MS).expected_ms);
  });

  test('the usual load counts the idle, and those alone whose report counts', () => {
    const table = peers({ load: 0 }, { load: 0 }, { load: 0.8 }, { load: 0.9 }, { load: 0.9 });
    for (const n of [1, 2, 3]) endpointOf(table, n).reportedAtMs = TTL;
    expect(scoreOf(table, 4, TTL)).toMatchObject({ weight: 0, live_load: 0 });
  });

  test('the usual slots and service time are of those that say theirs', () => {
    const table = peers(
      { figures: figures({ concurrency: 0, service_ms: null }) },
      { figures: figures({ concurrency: 0, service_ms: null }) },
      { figures: figures({ concurrency: 12, service_ms: 500 }) },
    );
    expect(scoreOf(table, 1)).toMatchObject({ slots: 12, service_ms: 500 });
  });

  test('figures that are too old are not taken as the usual ones', () => {
    const table = peers(
      { figures: figures({ concurrency: 0, service_ms: null }) },
      { figures: figures({ concurrency: 12, service_ms: 500 }) },
      { figures: figures({ concurrency: 12, service_ms: 500 }) },
    );
    endpointOf(table, 1).reportedAtMs = TTL;
    expect(scoreOf(table, 1, TTL)).toMatchObject({ slots: 8, service_ms: 100 });
  });
});
