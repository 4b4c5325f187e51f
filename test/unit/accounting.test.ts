/** Endpoints: what is mine there, and how failures count and fade. */
import { describe, expect, test } from '@jest/globals';
import { begin, failureRateAt, finish } from '../../sidecar/core/peers/accounting.ts';
import { EJECT_AFTER_FAILURES } from '../../sidecar/core/peers/service-health.ts';
import { endpointOf, recordOf, tableOf } from '../support/meshes/peers.ts';

describe("an endpoint's counts", () => {
  test('what begins is counted, what ends is not, and the count never goes below 0', () => {
    const endpoint = endpointOf(tableOf([recordOf(1)]), 1);
    begin(endpoint, 0);
    begin(endpoint, 0);
    expect(endpoint.outstanding).toBe(2);
    for (const outcome of ['served', 'cancelled', 'refused', 'failed'] as const) finish(endpoint, outcome, 0);
    expect(endpoint.outstanding).toBe(0);
  });

  test('only failures count against it, and they fade by themselves', () => {
    const endpoint = endpointOf(tableOf([recordOf(1)]), 1);
    finish(endpoint, 'cancelled', 0);
    finish(endpoint, 'refused', 0);
    expect(failureRateAt(endpoint, 0)).toBe(0);
    finish(endpoint, 'failed', 0);
    const rate = failureRateAt(endpoint, 0);
    expect(rate).toBeGreaterThan(0);
    expect(failureRateAt(endpoint, 10_000)).toBeLessThan(rate / 5);
    finish(endpoint, 'served', 0);
    expect(failureRateAt(endpoint, 0)).toBeLessThan(rate);
  });

  test('an ejected peer that serves again begins anew, and one that was not keeps what is left', () => {
    const endpoint = endpointOf(tableOf([recordOf(1)]), 1);
    const fail = (times: number): void => {
      for (let i = 0; i < times; i += 1) finish(endpoint, 'failed', 0);
    };
    fail(EJECT_AFTER_FAILURES - 1);
    finish(endpoint, 'served', 0);
    expect(failureRateAt(endpoint, 0)).toBeGreaterThan(0);
    fail(EJECT_AFTER_FAILURES);
    finish(endpoint, 'served', 0);
    expect(failureRateAt(endpoint, 0)).toBe(0);
  });

  test('failures alone bring the rate towards 1 and never above', () => {
    const endpoint = endpointOf(tableOf([recordOf(1)]), 1);
    for (let i = 0; i < 1_000; i += 1) finish(endpoint, 'failed', 0);
    const rate = failureRateAt(endpoint, 0);
    expect(rate).toBeGreaterThan(0.99);
    expect(rate).toBeLessThanOrEqual(1);
  });
});
