/** Load: the highest of what is known. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { combineLoad } from '../../sidecar/load/sampler.ts';

test('the highest known source wins and is named', () => {
  assert.deepEqual(combineLoad({ slots: 0.2, cpu: 0.7, gpu: null }), { loadRatio: 0.7, source: 'cpu' });
  assert.deepEqual(combineLoad({ slots: 0.5, push: 0.5 }), { loadRatio: 0.5, source: 'slots' });
});

test('of the kinds that are asked for only', () => {
  assert.deepEqual(combineLoad({ slots: 0.9, cpu: 0.2, pressure: 0.3 }, ['cpu', 'pressure']), {
    loadRatio: 0.3,
    source: 'pressure',
  });
  assert.equal(combineLoad({ slots: 0.9 }, ['gpu']).source, null);
});

test('an unknown source never reads as idle or full', () => {
  assert.deepEqual(combineLoad({}), { loadRatio: 0, source: null });
  assert.deepEqual(combineLoad({ cpu: Number.NaN, gpu: null, slots: 0 }), { loadRatio: 0, source: 'slots' });
});

test('sources out of range are bounded', () => {
  assert.deepEqual(combineLoad({ gpu: 7 }), { loadRatio: 1, source: 'gpu' });
  assert.deepEqual(combineLoad({ cpu: -1 }), { loadRatio: 0, source: 'cpu' });
});
