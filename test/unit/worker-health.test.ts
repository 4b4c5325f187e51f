/** When a worker that no longer answers is withdrawn, by a clock that the test moves; and what it is asked. */
import { expect, jest, test } from '@jest/globals';
import type { UpstreamHandler, Upstreams } from '../../sidecar/http/exchange.ts';
import { WorkerHealth, type WorkerHealthOptions } from '../../sidecar/proxy/worker/worker-health.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

const INTERVAL_MS = 1_000;

/** A worker over HTTP/2 that answers as long as it is well. */
class Worker implements Upstreams {
  isWell = true;
  asked = 0;
  /** Of each check, whether it wanted a connection of its own. */
  readonly freshness: (boolean | undefined)[] = [];
  readonly changes: boolean[] = [];
  readonly #status: number;

  constructor(status = 200) {
    this.#status = status;
  }

  request(...[, , , handler, isFresh]: Parameters<Upstreams['request']>): ReturnType<Upstreams['request']> {
    this.asked += 1;
    this.freshness.push(isFresh);
    if (this.isWell) queueMicrotask(() => this.#answer(handler));
    const request = { isFlushed: true, write: () => true, end: () => {}, pause: () => {}, resume: () => {} };
    return { ...request, abort: () => {} };
  }

  #answer(handler: UpstreamHandler): void {
    handler.onHead({ status: this.#status, reason: '', fields: [], version: '2.0' } as never);
    handler.onEnd([]);
  }
}

/** After its first check. */
async function watched(worker: Worker, options: Partial<WorkerHealthOptions>): Promise<WorkerHealth> {
  const health = new WorkerHealth({
    origin: { scheme: 'h2c', host: '127.0.0.1', port: 9_000 },
    ask: { kind: 'get', path: '/health' },
    intervalMs: INTERVAL_MS,
    timeoutMs: 500,
    healthyAfter: 1,
    unhealthyAfter: 3,
    upstreams: worker,
    atWork: () => 'no',
    onChange: (isReady) => worker.changes.push(isReady),
    onReport: () => {},
    ...options,
  });
  const started = health.start();
  await jest.advanceTimersByTimeAsync(0);
  await started;
  return health;
}

test('one that hangs is withdrawn before two intervals are over, however long it has for an answer', async () => {
  jest.useFakeTimers();
  onTestEnd(() => jest.useRealTimers());
  for (const timeoutMs of [100, 500, 900]) {
    const worker = new Worker();
    const health = await watched(worker, { timeoutMs });
    expect(worker.changes).toStrictEqual([true]);
    worker.isWell = false;
    await jest.advanceTimersByTimeAsync(INTERVAL_MS + timeoutMs);
    expect(worker.changes).toStrictEqual([true]);
    await jest.advanceTimersByTimeAsync(INTERVAL_MS - timeoutMs);
    expect(worker.changes).toStrictEqual([true, false]);
    health.stop();
  }
});

test('one that has to serve health checks by gRPC and does not know them is asked for nothing less', async () => {
  jest.useFakeTimers();
  onTestEnd(() => jest.useRealTimers());
  const worker = new Worker(404);
  const health = await watched(worker, { ask: { kind: 'grpc', service: 'a.B', isRequired: true } });
  await jest.advanceTimersByTimeAsync(3 * INTERVAL_MS);
  expect([health.isReady, worker.changes]).toStrictEqual([false, []]);
  expect(health.reason).toMatch(/a\.B.* is not served there/);
  expect(worker.asked).toBeGreaterThan(2);
  health.stop();
});

test('while it is well it is asked over the connections of requests, else over new ones', async () => {
  jest.useFakeTimers();
  onTestEnd(() => jest.useRealTimers());
  const worker = new Worker();
  const health = await watched(worker, { unhealthyAfter: 1_000 });
  await jest.advanceTimersByTimeAsync(2 * INTERVAL_MS);
  expect(worker.freshness).toStrictEqual([true, false, false]);
  worker.isWell = false;
  await jest.advanceTimersByTimeAsync(2 * INTERVAL_MS);
  expect(worker.freshness.at(3)).toBe(false);
  expect(worker.freshness.slice(4)).toContain(true);
  expect(worker.freshness.slice(4)).not.toContain(false);
  health.stop();
});
