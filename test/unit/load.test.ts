/** Load: the highest of what is known. */
import { describe, expect, test } from '@jest/globals';
import { combineLoad } from '../../sidecar/load/sampler.ts';

describe('the load of a service', () => {
  test('the highest known source wins and is named', () => {
    expect(combineLoad({ slots: 0.2, cpu: 0.7, gpu: null })).toStrictEqual({ loadRatio: 0.7, source: 'cpu' });
    expect(combineLoad({ slots: 0.5, push: 0.5 })).toStrictEqual({ loadRatio: 0.5, source: 'slots' });
  });

  test('only the kinds that are asked for count', () => {
    expect(combineLoad({ slots: 0.9, cpu: 0.2, pressure: 0.3 }, ['cpu', 'pressure'])).toStrictEqual({
      loadRatio: 0.3,
      source: 'pressure',
    });
    expect(combineLoad({ slots: 0.9 }, ['gpu']).source).toBe(null);
  });

  test('an unknown source never reads as idle or full', () => {
    expect(combineLoad({})).toStrictEqual({ loadRatio: 0, source: null });
    expect(combineLoad({ cpu: Number.NaN, gpu: null, slots: 0 })).toStrictEqual({
      loadRatio: 0,
      source: 'slots',
    });
  });

  test('sources out of range are bounded', () => {
    expect(combineLoad({ gpu: 7 })).toStrictEqual({ loadRatio: 1, source: 'gpu' });
    expect(combineLoad({ cpu: -1 })).toStrictEqual({ loadRatio: 0, source: 'cpu' });
  });
});
