/** The worker's own word: each way apart, each with its time, never idle for want of a word. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { SELF_REPORT_TTL_MS, SelfReportedLoad } from '../../sidecar/core/worker/self-reported-load.ts';

test('nothing said is null and not 0', () => {
  assert.deepEqual(new SelfReportedLoad().figures(0), { orca: null, push: null, metrics: null });
});

test('each way is kept apart, and runs out by itself', () => {
  const word = new SelfReportedLoad();
  word.report('orca', 0.3, 1_000);
  word.report('push', 0.7, 1_000);
  assert.deepEqual(word.figures(1_000), { orca: 0.3, push: 0.7, metrics: null });
  assert.deepEqual(word.figures(1_000 + SELF_REPORT_TTL_MS.orca), { orca: null, push: 0.7, metrics: null });
  assert.equal(word.figures(1_000 + SELF_REPORT_TTL_MS.push).push, null);
});

test('a page that is silent is dropped at once', () => {
  const word = new SelfReportedLoad();
  word.report('metrics', 0.5, 0);
  assert.equal(word.figures(1e9).metrics, 0.5);
  word.clear('metrics');
  assert.equal(word.figures(1e9).metrics, null);
});

test('what is no number says nothing, what is out of range is bounded', () => {
  const word = new SelfReportedLoad();
  word.report('push', 0.4, 0);
  word.report('push', Number.NaN, 1);
  assert.equal(word.figures(1).push, 0.4);
  word.report('push', Number.POSITIVE_INFINITY, 2);
  assert.equal(word.figures(2).push, 1);
  word.report('push', -3, 3);
  assert.equal(word.figures(3).push, 0);
});
