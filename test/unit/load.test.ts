/** Load and its moving averages. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Ewma } from '../../sidecar/core/ewma.ts';
import { combineLoad } from '../../sidecar/core/load.ts';

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

test('an average starts as the mean, then follows', () => {
  const ewma = new Ewma({ first: 1, samples: 4, forgetMs: 1_000 });
  assert.equal(ewma.valueAt(0), null);
  for (const sample of [10, 20, 30, 40]) ewma.add(sample, 0);
  assert.equal(ewma.valueAt(0), 25);
  for (let i = 0; i < 50; i += 1) ewma.add(100, 0);
  assert.ok((ewma.valueAt(0) ?? 0) > 99.9);
});

test('samples in the same instant all count, and one NaN poisons nothing', () => {
  const ewma = new Ewma({ first: 1, samples: 10, forgetMs: 1_000 });
  ewma.add(Number.NaN, 0);
  ewma.add(Number.POSITIVE_INFINITY, 0);
  ewma.add(10, 0);
  ewma.add(30, 0);
  assert.equal(ewma.valueAt(0), 20);
});

test('what was not seen for long is unknown, and starts anew', () => {
  const ewma = new Ewma({ first: 1, samples: 10, forgetMs: 1_000 });
  ewma.add(10, 0);
  assert.equal(ewma.valueAt(1_000), 10);
  assert.equal(ewma.valueAt(1_001), null);
  ewma.add(50, 2_000);
  assert.equal(ewma.valueAt(2_000), 50);
});

test('an average begins with the median of the first samples, so a cold one is no measure', () => {
  const ewma = new Ewma({ first: 5, samples: 20, forgetMs: 1_000 });
  for (const [index, sample] of [500, 30, 31, 29].entries()) {
    ewma.add(sample, index);
    assert.equal(ewma.valueAt(index), null, 'too few to tell');
  }
  ewma.add(32, 4);
  assert.equal(ewma.valueAt(4), 31);
  ewma.add(37, 5);
  assert.equal(ewma.valueAt(5), 32, 'the sixth weighs a sixth');
  assert.equal(ewma.valueAt(2_000), null);
  ewma.add(90, 2_000);
  assert.equal(ewma.valueAt(2_000), null, 'forgotten: it begins anew');
});
