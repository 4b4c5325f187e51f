/** The second look at those that were warming: shared, never older than the question, not too often, and soon over. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { WarmingCheck } from '../../sidecar/mesh/discovery/warming-check.ts';
import { FakeClock } from '../support/fake-clock.ts';

function setUp() {
  const clock = new FakeClock();
  const looks: { service: string; atMs: number; end: () => void }[] = [];
  const startMs = clock.monotonicMs();
  const recheck = new WarmingCheck({
    clock,
    look: (service) =>
      new Promise((end) => looks.push({ service, atMs: clock.monotonicMs() - startMs, end })),
  });
  return { clock, looks, recheck };
}

test('all who ask before a look begins share it; who asks later gets one of his own, a moment later', async () => {
  const { clock, looks, recheck } = setUp();
  const first = [recheck.look('ocr'), recheck.look('ocr')];
  await clock.advance(0);
  assert.equal(looks.length, 1);
  // It is on its way: what it brings may be older than this question.
  const later = recheck.look('ocr');
  await clock.advance(10);
  looks[0]?.end();
  await Promise.all(first);
  assert.equal(looks.length, 1);
  await clock.advance(40);
  assert.deepEqual(
    looks.map(({ atMs }) => atMs),
    [0, 50],
  );
  looks[1]?.end();
  await later;
});

test('services do not wait for each other', async () => {
  const { clock, looks, recheck } = setUp();
  void recheck.look('ocr');
  void recheck.look('llm');
  await clock.advance(0);
  assert.deepEqual(
    looks.map(({ service }) => service),
    ['ocr', 'llm'],
  );
});

test('nobody waits for those who do not answer', async () => {
  const { clock, looks, recheck } = setUp();
  let isOver = false;
  void recheck.look('ocr').then(() => {
    isOver = true;
  });
  await clock.advance(299);
  assert.deepEqual([looks.length, isOver], [1, false]);
  await clock.advance(1);
  assert.equal(isOver, true);
});
