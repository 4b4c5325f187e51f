/**
 * Load: the highest source wins and is named, and a source that fails is dropped, never idle.
 */
import { describe, expect, jest, test } from '@jest/globals';
import { type LoadReader, LoadSampler } from '../../sidecar/load/sampler.ts';
import { PushWatch } from '../../sidecar/load/source-watch.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

const NONE = { slots: null, orca: null, push: null, metrics: null };

/** Figures of a service: its slots, and what its worker pushed. */
const own = (slots: number | null, push: number | null) => ({ ...NONE, slots, push });

function create(readers: { cpu?: LoadReader; pressure?: LoadReader; gpu?: LoadReader }) {
  const lines: string[] = [];
  const sampler = new LoadSampler({
    intervalMs: 1_000,
    cpu: readers.cpu ?? null,
    pressure: readers.pressure ?? null,
    gpu: readers.gpu ?? null,
    log: {
      info: ({ source }, message) => lines.push(`info ${String(source)}: ${message}`),
      warn: ({ source }, message) => lines.push(`warn ${String(source)}: ${message}`),
    },
  });
  return { sampler, lines };
}

/** A sampler that has read these figures once. */
function sampled(cpu: number | null, gpu: number | null): LoadSampler {
  const { sampler } = create({ cpu: () => cpu, gpu: () => gpu });
  sampler.sampleNow();
  return sampler;
}

describe('the load sampler', () => {
  test('the highest source is the load, and it is named', () => {
    expect(sampled(0.8, null).loadOf(own(0.25, 0.5), 'auto')).toStrictEqual({
      loadRatio: 0.8,
      source: 'cpu',
      bySource: { ...NONE, slots: 0.25, cpu: 0.8, pressure: null, gpu: null, push: 0.5 },
    });
    expect(sampled(null, null).loadOf(NONE, 'auto').source).toBe(null);
  });

  test('a service may name its source; one without a figure gives way to the others', () => {
    const sampler = sampled(0.1, null);
    expect(sampler.loadOf(own(0.9, 0), 'cpu').loadRatio).toBe(0.1);
    expect(sampler.loadOf(own(0.9, 0), 'worker').loadRatio).toBe(0);
    expect(sampler.loadOf(own(0.3, 0.6), 'in-flight').loadRatio).toBe(0.3);
    expectNamed(sampler.loadOf(own(0.9, 0), 'gpu').loadRatio, 'not idle').toBe(0.9);
  });

  test('the ratio alone is that of the snapshot, whatever is known', () => {
    const figures = [null, Number.NaN, -1, 0, 0.4, 7];
    const choices = ['auto', 'in-flight', 'cpu', 'gpu', 'worker'] as const;
    for (const cpu of figures) {
      const sampler = sampled(cpu, null);
      for (const slots of figures)
        for (const push of figures)
          for (const choice of choices)
            expectNamed(sampler.ratioOf(own(slots, push), choice), `${cpu} ${slots} ${push} ${choice}`).toBe(
              sampler.loadOf(own(slots, push), choice).loadRatio,
            );
    }
  });

  test('the CPU is its use or its pressure, the worker any of its words', () => {
    const { sampler } = create({ cpu: () => 0.2, pressure: () => 0.6 });
    sampler.sampleNow();
    expect(sampler.loadOf(own(0.9, 0.1), 'cpu').source).toBe('pressure');
    const words = { slots: 0.9, orca: 0.1, push: 0.2, metrics: 0.3 };
    expect(sampler.loadOf(words, 'worker').source).toStrictEqual('metrics');
    expect(sampler.loadOf(words, 'auto').source).toStrictEqual('slots');
  });

  test('figures out of range are bounded or dropped', () => {
    expect(sampled(7, null).loadOf(NONE, 'auto').loadRatio).toBe(1);
    expect(sampled(-1, Number.NaN).loadOf(NONE, 'auto').source).toStrictEqual(null);
  });

  test("the machine's figures are sampled and smoothed, the service's are as told", () => {
    const cpu = [0, 1, 1];
    const { sampler } = create({ cpu: () => cpu.shift() ?? null });
    sampler.sampleNow();
    expect(sampler.loadOf(NONE, 'auto').loadRatio).toBe(0);
    sampler.sampleNow();
    expect(sampler.loadOf(NONE, 'auto').loadRatio).toBe(0.5);
    sampler.sampleNow();
    expect(sampler.loadOf(NONE, 'auto').loadRatio).toBe(0.75);
    expect(sampler.loadOf(own(1, null), 'auto').source).toBe('slots');
  });

  test('a source that fails is dropped with one line, and announced when it is back', () => {
    let gpu: LoadReader = () => 0.9;
    const { sampler, lines } = create({ cpu: () => 0.1, gpu: () => gpu() });
    sampler.sampleNow();
    expect(sampler.loadOf(NONE, 'auto').source).toBe('gpu');
    gpu = () => {
      throw new Error('driver gone');
    };
    for (let i = 0; i < 5; i++) sampler.sampleNow();
    const without = sampler.loadOf(NONE, 'auto');
    expect(without.source).toBe('cpu');
    expect(without.bySource.gpu).toBe(null);
    expect(lines).toStrictEqual(['warn gpu: load source failed; dropped until it speaks again']);
    gpu = () => 0.4;
    sampler.sampleNow();
    expectNamed(sampler.loadOf(NONE, 'auto').loadRatio, 'the old figure plays no part').toBe(0.4);
    expect(lines[1]).toBe('info gpu: load source is back');
  });

  test('a source that was never there is not a failure', () => {
    const { sampler, lines } = create({ gpu: () => null });
    for (let i = 0; i < 3; i++) sampler.sampleNow();
    expect(lines).toStrictEqual([]);
  });

  test('the timer samples, and stop ends it', () => {
    jest.useFakeTimers();
    onTestEnd(() => jest.useRealTimers());
    let samples = 0;
    const { sampler } = create({ cpu: () => ++samples / 100 });
    sampler.start();
    sampler.start();
    jest.advanceTimersByTime(3_000);
    expect(samples).toBe(4);
    sampler.stop();
    jest.advanceTimersByTime(3_000);
    expect(samples).toBe(4);
  });

  test('a worker that stops putting its load is told of once, and once when it is back', () => {
    jest.useFakeTimers();
    onTestEnd(() => jest.useRealTimers());
    const lines: string[] = [];
    const line = (fields: Readonly<Record<string, unknown>>, message: string) =>
      void lines.push(`${String(fields.source)} of ${String(fields.service)}: ${message}`);
    const watch = new PushWatch({ info: line, warn: line }, 30_000);
    for (let i = 0; i < 3; i++) {
      watch.pushed('infer');
      jest.advanceTimersByTime(29_000);
    }
    expect(lines).toStrictEqual([]);
    jest.advanceTimersByTime(60_000);
    expect(lines).toStrictEqual(['push of infer: load source failed; dropped until it speaks again']);
    watch.pushed('infer');
    expect(lines[1]).toBe('push of infer: load source is back');
  });
});
