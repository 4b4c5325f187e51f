/** Several programs of one service: who is asked next, and how many slots they have, by the answers of each. */
import { beforeEach, describe, expect, jest, test } from '@jest/globals';
import { EJECTION_MS } from '../../sidecar/core/peers/service-health.ts';
import { type WorkerInstance, WorkerInstances } from '../../sidecar/proxy/worker/worker-instance.ts';

const EACH = 4;

beforeEach(() => {
  jest.useFakeTimers();
});

/** Two of them, and the slots that they have said to have, in order. */
function two(): { instances: WorkerInstances; a: WorkerInstance; b: WorkerInstance; sizes: number[] } {
  const sizes: number[] = [];
  const instances = new WorkerInstances({
    instances: [1, 2].map((port) => ({
      origin: { scheme: 'http', host: '127.0.0.1', port },
      url: `http://127.0.0.1:${port}`,
      basePath: '',
      // What a worker's health checks say is not the subject here.
      health: { isReady: true, isUntrusted: false, reason: '', suspect: () => {} },
    })),
    sentHost: { kind: 'worker' },
    concurrencyEach: EACH,
    admission: { resize: (slots) => sizes.push(slots) },
  });
  const [a, b] = instances.all as readonly [WorkerInstance, WorkerInstance];
  return { instances, a, b, sizes };
}

/** It is asked, and answers so. */
function answers(instances: WorkerInstances, instance: WorkerInstance, answer: 'served' | 'failed'): void {
  instances.chosen(instance);
  instances.judge(instance, answer, performance.now());
}

describe('the instances of a service', () => {
  test('one that fails in a row is left out with its slots, and has one trial when that is over', () => {
    const { instances, a, b, sizes } = two();
    for (let each = 0; each < 5; each++) answers(instances, a, 'failed');
    b.inFlight = EACH;
    expect(instances.next(new Set())).toBe(b);
    expect(sizes.at(-1)).toBe(EACH);
    b.inFlight = 1;
    jest.advanceTimersByTime(EJECTION_MS + 10);
    expect(sizes.at(-1)).toBe(2 * EACH);
    expect(instances.next(new Set())).toBe(a);
    instances.chosen(a);
    a.inFlight = 1;
    expect(instances.next(new Set())).toBe(b);
    a.inFlight = 0;
    instances.judge(a, 'failed', performance.now());
    expect([instances.next(new Set()), sizes.at(-1)]).toStrictEqual([b, EACH]);
  });

  test('a trial that goes well brings it back', () => {
    const { instances, a, b, sizes } = two();
    for (let each = 0; each < 5; each++) answers(instances, a, 'failed');
    b.inFlight = 1;
    jest.advanceTimersByTime(EJECTION_MS + 10);
    answers(instances, a, 'served');
    expect([instances.next(new Set()), sizes.at(-1)]).toStrictEqual([a, 2 * EACH]);
  });

  test('while all fail, all are asked, with all of their slots', () => {
    const { instances, a, b, sizes } = two();
    for (let each = 0; each < 5; each++) for (const one of [a, b]) answers(instances, one, 'failed');
    expect(sizes.at(-1)).toBe(2 * EACH);
    expect(instances.next(new Set())).not.toBe(null);
  });
});
