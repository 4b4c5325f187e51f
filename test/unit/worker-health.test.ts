/** When a worker that no longer answers is withdrawn, by a clock that the test moves. */
import { expect, jest, test } from '@jest/globals';
import type { UpstreamHandler, Upstreams } from '../../sidecar/http/exchange.ts';
import { WorkerHealth } from '../../sidecar/proxy/worker/worker-health.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

/** A worker over HTTP/2 that answers as long as it is well. */
class Worker implements Upstreams {
  isWell = true;

  request(...[, , , handler]: Parameters<Upstreams['request']>): ReturnType<Upstreams['request']> {
    if (this.isWell) queueMicrotask(() => this.#answer(handler));
    const request = { isFlushed: true, write: () => true, end: () => {}, pause: () => {}, resume: () => {} };
    return { ...request, abort: () => {} };
  }

  #answer(handler: UpstreamHandler): void {
    handler.onHead({ status: 200, reason: '', fields: [], version: '2.0' } as never);
    handler.onEnd([]);
  }
}

test('one that hangs is withdrawn before two intervals are over, however long it has for an answer', async () => {
  jest.useFakeTimers();
  onTestEnd(() => jest.useRealTimers());
  const INTERVAL_MS = 1_000;
  for (const timeoutMs of [100, 500, 900]) {
    const worker = new Worker();
    const changes: boolean[] = [];
    const health = new WorkerHealth({
      origin: { scheme: 'h2c', host: '127.0.0.1', port: 9_000 },
      ask: { kind: 'get', path: '/health' },
      intervalMs: INTERVAL_MS,
      timeoutMs,
      healthyAfter: 1,
      unhealthyAfter: 3,
      upstreams: worker,
      atWork: () => 'no',
      onChange: (isReady) => changes.push(isReady),
      onReport: () => {},
    });
    const started = health.start();
    await jest.advanceTimersByTimeAsync(0);
    await started;
    expect(changes).toStrictEqual([true]);
    worker.isWell = false;
    await jest.advanceTimersByTimeAsync(INTERVAL_MS + timeoutMs);
    expect(changes).toStrictEqual([true]);
    await jest.advanceTimersByTimeAsync(INTERVAL_MS - timeoutMs);
    expect(changes).toStrictEqual([true, false]);
    health.stop();
  }
});
