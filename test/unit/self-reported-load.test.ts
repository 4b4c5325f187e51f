/** The worker's own word: each way apart, each with its time, never idle for want of a word. */
import { describe, expect, test } from '@jest/globals';
import { SELF_REPORT_TTL_MS, SelfReportedLoad } from '../../sidecar/core/worker/self-reported-load.ts';

describe("a worker's own word on its load", () => {
  test('a worker that says nothing has no load, and not the load 0', () => {
    expect(new SelfReportedLoad().figures(0)).toStrictEqual({ orca: null, push: null, metrics: null });
  });

  test('each way is kept apart, and runs out by itself', () => {
    const word = new SelfReportedLoad();
    word.report('orca', 0.3, 1_000);
    word.report('push', 0.7, 1_000);
    expect(word.figures(1_000)).toStrictEqual({ orca: 0.3, push: 0.7, metrics: null });
    expect(word.figures(1_000 + SELF_REPORT_TTL_MS.orca)).toStrictEqual({
      orca: null,
      push: 0.7,
      metrics: null,
    });
    expect(word.figures(1_000 + SELF_REPORT_TTL_MS.push).push).toBe(null);
  });

  test('a page that is silent is dropped at once', () => {
    const word = new SelfReportedLoad();
    word.report('metrics', 0.5, 0);
    expect(word.figures(1e9).metrics).toBe(0.5);
    word.clear('metrics');
    expect(word.figures(1e9).metrics).toBe(null);
  });

  test('what is no number says nothing, what is out of range is bounded', () => {
    const word = new SelfReportedLoad();
    word.report('push', 0.4, 0);
    word.report('push', Number.NaN, 1);
    expect(word.figures(1).push).toBe(0.4);
    word.report('push', Number.POSITIVE_INFINITY, 2);
    expect(word.figures(2).push).toBe(1);
    word.report('push', -3, 3);
    expect(word.figures(3).push).toBe(0);
  });
});
