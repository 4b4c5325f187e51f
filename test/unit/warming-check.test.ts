/** The second look at those that were warming: shared, never older than the question, not too often, and soon over. */
import { describe, expect, test } from '@jest/globals';
import { WarmingCheck } from '../../sidecar/mesh/discovery/warming-check.ts';
import { FakeClock } from '../support/runner/fake-clock.ts';

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

describe('the second look at warming peers', () => {
  test('all who ask before a look begins share it; who asks later gets one of his own, a moment later', async () => {
    const { clock, looks, recheck } = setUp();
    const first = [recheck.look('ocr'), recheck.look('ocr')];
    await clock.advance(0);
    expect(looks).toHaveLength(1);
    // It is on its way: what it brings may be older than this question.
    const later = recheck.look('ocr');
    await clock.advance(10);
    looks[0]?.end();
    await Promise.all(first);
    expect(looks).toHaveLength(1);
    await clock.advance(40);
    expect(looks.map(({ atMs }) => atMs)).toStrictEqual([0, 50]);
    looks[1]?.end();
    await later;
  });

  test('services do not wait for each other', async () => {
    const { clock, looks, recheck } = setUp();
    void recheck.look('ocr');
    void recheck.look('llm');
    await clock.advance(0);
    expect(looks.map(({ service }) => service)).toStrictEqual(['ocr', 'llm']);
  });

  test('nobody waits for those who do not answer', async () => {
    const { clock, looks, recheck } = setUp();
    let isOver = false;
    void recheck.look('ocr').then(() => {
      isOver = true;
    });
    await clock.advance(299);
    expect([looks.length, isOver]).toStrictEqual([1, false]);
    await clock.advance(1);
    expect(isOver).toBe(true);
  });
});
