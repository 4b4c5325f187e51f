/** The worker's own word: each way apart, each with its time, never idle for want of a word. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { WORD_TTL_MS, WorkerWord } from '../../sidecar/core/worker/self-reported-load.ts';

test('nothing said is null and not 0', () => {
  assert.deepEqual(new WorkerWord().figures(0), { orca: null, push: null, metrics: null });
});

test('each way is kept apart, and runs out by itself', () => {
  const word = new WorkerWord();
  word.says('orca', 0.3, 1_000);
  word.says('push', 0.7, 1_000);
  assert.deepEqual(word.figures(1_000), { orca: 0.3, push: 0.7, metrics: null });
  assert.deepEqual(word.figures(1_000 + WORD_TTL_MS.orca), { orca: null, push: 0.7, metrics: null });
  assert.equal(word.figures(1_000 + WORD_TTL_MS.push).push, null);
});

test('a page that is silent is dropped at once', () => {
  const word = new WorkerWord();
  word.says('metrics', 0.5, 0);
  assert.equal(word.figures(1e9).metrics, 0.5);
  word.silent('metrics');
  assert.equal(word.figures(1e9).metrics, null);
});

test('what is no number says nothing, what is out of range is bounded', () => {
  const word = new WorkerWord();
  word.says('push', 0.4, 0);
  word.says('push', Number.NaN, 1);
  assert.equal(word.figures(1).push, 0.4);
  word.says('push', Number.POSITIVE_INFINITY, 2);
  assert.equal(word.figures(2).push, 1);
  word.says('push', -3, 3);
  assert.equal(word.figures(3).push, 0);
});
