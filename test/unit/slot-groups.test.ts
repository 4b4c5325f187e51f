/** Services that share the slots of one GPU: one count, one queue, and one number that all of them agree on. */
import { describe, expect, test } from '@jest/globals';
import type { ServiceConfig } from '../../sidecar/config/config.ts';
import { loadConfig } from '../../sidecar/config/load.ts';
import { isConfigError } from '../../sidecar/config/problems.ts';
import { type Acquired, Admission, type Slot } from '../../sidecar/core/worker/admission.ts';
import { Slots } from '../../sidecar/core/worker/slots.ts';
import { configInput, MESH_KEY } from '../support/generators/config-input.ts';
import { caught, mustHold } from '../support/runner/expectations.ts';

function two(concurrency: number, queue = 10): readonly [Admission, Admission, Slots] {
  const slots = new Slots(concurrency);
  const options = { concurrency, assumedConcurrency: 8, queue, slots };
  return [new Admission(options), new Admission(options), slots];
}

function acquire(admission: Admission, order: string[] = [], name = '', sinceMs = 0): Acquired {
  return admission.acquire({
    expectedQueue: null,
    sinceMs,
    onGranted: (slot) => {
      order.push(name);
      slot.release(0, null);
    },
    onDisplaced: () => order.push(`${name} displaced`),
  });
}

function granted(acquired: Acquired): Slot {
  mustHold(acquired.kind === 'granted');
  return acquired;
}

describe('services that share slots', () => {
  test('what one holds the other lacks, and each counts its own', () => {
    const [llm, ocr] = two(1);
    const held = granted(acquire(llm));
    expect(ocr.acquireFree()).toBe(null);
    expect(acquire(ocr).kind).toBe('queued');
    expect([llm.inFlight, llm.queued, ocr.inFlight, ocr.queued]).toStrictEqual([1, 0, 0, 1]);
    for (const { slots, concurrency, load } of [llm, ocr])
      expect([slots.inFlight, slots.queued, concurrency, load]).toStrictEqual([1, 1, 1, 1]);
    held.release(0, null);
    expect([llm.inFlight, ocr.inFlight, ocr.queued, ocr.slots.inFlight]).toStrictEqual([0, 0, 0, 0]);
  });

  test('who is under way longest is next, of whichever service', () => {
    const [llm, ocr] = two(1);
    const held = granted(acquire(llm));
    const order: string[] = [];
    acquire(llm, order, 'llm 30', 30);
    acquire(ocr, order, 'ocr 10', 10);
    acquire(ocr, order, 'ocr 40', 40);
    acquire(llm, order, 'llm 20', 20);
    expect([llm.longestSinceMs, ocr.longestSinceMs]).toStrictEqual([10, 10]);
    held.release(0, null);
    expect(order).toStrictEqual(['ocr 10', 'llm 20', 'llm 30', 'ocr 40']);
  });

  test('the place that a caller counts on is the one among all', () => {
    const [llm, ocr] = two(1);
    granted(acquire(llm));
    acquire(llm);
    const expecting = { expectedQueue: 1, sinceMs: 0, onGranted: () => {} };
    expect(ocr.acquire(expecting)).toStrictEqual({ kind: 'saturated', reason: 'longer_than_expected' });
    expect(ocr.acquire({ ...expecting, expectedQueue: 2 }).kind).toBe('queued');
  });

  test('the queue of one does not fill that of the other, nor lose its place to it', () => {
    const [llm, ocr] = two(1, 1);
    granted(acquire(llm));
    const order: string[] = [];
    acquire(llm, order, 'llm', 10_000);
    expect(acquire(llm, order, 'llm full', 10_001).kind).toBe('saturated');
    acquire(ocr, order, 'ocr', 10_002);
    const old = acquire(llm, order, 'old', 1);
    expect([old.kind, order, llm.queued, ocr.queued]).toStrictEqual(['queued', ['llm displaced'], 1, 1]);
    mustHold(old.kind === 'queued');
    expect([old.cancel(), old.cancel(), llm.queued, ocr.queued]).toStrictEqual([true, false, 0, 1]);
  });

  test('what is open at one is open for the load of both, and takes no slot', () => {
    const [llm, ocr] = two(2);
    llm.opened();
    expect([llm.load, ocr.load, ocr.slots.open]).toStrictEqual([0.5, 0.5, 1]);
    granted(acquire(ocr));
    granted(acquire(ocr));
    llm.closed();
    expect(ocr.load).toBe(1);
  });

  test('each learns what its own requests take', () => {
    const [llm, ocr] = two(1);
    for (let n = 0; n < 5; n++) granted(acquire(llm)).release(0, 5_000);
    expect([llm.serviceMs(0), ocr.serviceMs(0)]).toStrictEqual([5_000, null]);
  });
});

const FILE = '/sidecar.json';

function services(
  entries: Readonly<Record<string, object>>,
  env: Readonly<Record<string, string>> = {},
): readonly ServiceConfig[] {
  const withUrl = Object.entries(entries).map(([name, keys]) => [
    name,
    { url: 'http://127.0.0.1:1', ...keys },
  ]);
  const files = { [FILE]: JSON.stringify({ services: Object.fromEntries(withUrl) }) };
  const args = ['--config', FILE];
  return loadConfig(configInput({ args, files, env: { SIDECAR_MESH_KEY: MESH_KEY, ...env } })).config
    .services;
}

function limits(...given: Parameters<typeof services>): unknown {
  return services(...given).map(({ name, concurrency }) => [name, concurrency]);
}

function problems(...given: Parameters<typeof services>): readonly string[] {
  const error = caught(() => services(...given));
  mustHold(isConfigError(error), String(error));
  return error.problems;
}

const gpu0 = { slots: { group: 'gpu0' } };

describe('the configuration of shared slots', () => {
  test('one number for all of a group, whichever says it', () => {
    expect(limits({ a: { ...gpu0, concurrency: 2 }, b: gpu0, c: { concurrency: 7 } })).toStrictEqual([
      ['a', 2],
      ['b', 2],
      ['c', 7],
    ]);
    expect(limits({ a: gpu0, b: gpu0 }, { SIDECAR_CONCURRENCY: '1' })).toStrictEqual([
      ['a', 1],
      ['b', 1],
    ]);
    expect(limits({ a: gpu0, b: gpu0 }, { SIDECAR_CONCURRENCY: 'b=3' })).toStrictEqual([
      ['a', 3],
      ['b', 3],
    ]);
    expect(limits({ a: { ...gpu0, concurrency: 2 }, b: gpu0 }, { SIDECAR_CONCURRENCY: '9' })).toStrictEqual([
      ['a', 2],
      ['b', 2],
    ]);
  });

  test('two numbers, or none, are a mistake', () => {
    expect(problems({ a: { ...gpu0, concurrency: 1 }, b: { ...gpu0, concurrency: 2 } })).toStrictEqual([
      `services.b.concurrency in ${FILE}: says otherwise than a, and both share the slots of gpu0: say it once, or the same`,
    ]);
    expect(problems({ a: gpu0, b: { ...gpu0, concurrency: 'none' } })[0]).toMatch(
      /^services\.a\.concurrency in .* is needed: how many requests may those of gpu0 serve at once, in all\?$/,
    );
  });

  test('rules of slots are read as they are written, and wrong ones told', () => {
    const [one] = services({ a: { slots: { free: ['/interrupt', 'GET /models'], light: 'GET,/x/*' } } });
    expect(one?.slots).toStrictEqual({
      group: null,
      free: [
        { method: null, path: '/interrupt', isPrefix: false },
        { method: 'GET', path: '/models', isPrefix: false },
      ],
      light: [
        { method: 'GET', path: null, isPrefix: false },
        { method: null, path: '/x/', isPrefix: true },
      ],
      byChannels: false,
    });
    for (const free of [['interrupt'], ['/a?b'], [7], { a: 1 }, 'get /x'])
      expect(problems({ a: { slots: { free } } })[0]).toMatch(/^services\.a\.slots\.free in /);
    expect(problems({ a: { slots: { group: 'GPU 0' } } })[0]).toMatch(/^services\.a\.slots\.group in /);
    expect(problems({ a: { slots: { fre: '/x' } } })[0]).toMatch(/did you mean slots\.free/);
  });
});
