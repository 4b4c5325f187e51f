/** The health of the local worker: how soon one that dies, hangs or falls ill is withdrawn, and comes back. */
import assert from 'node:assert/strict';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import test, { type TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { CoarseTimers } from '../../sidecar/http/sockets/timers.ts';
import { workerPools } from '../../sidecar/http/upstream-pools.ts';
import { WorkerHealth, type WorkerHealthOptions } from '../../sidecar/proxy/worker/worker-health.ts';
import { eventually } from '../support/eventually.ts';
import { LIMITS } from '../support/inbound-side.ts';

const INTERVAL_MS = 900;
const TIMEOUT_MS = 300;

interface Change {
  readonly isReady: boolean;
  readonly reason: string;
  readonly atMs: number;
}

/** A worker whose health the test sets, and what watches it. */
class Bed {
  readonly changes: Change[] = [];
  /** null: it never answers. */
  status: number | null = 200;
  /** Answers that are due. */
  open = 0;
  mostOpen = 0;
  checks = 0;
  port = 0;
  health!: WorkerHealth;
  #server = http.createServer();

  static async start(t: TestContext, options: Partial<WorkerHealthOptions> = {}): Promise<Bed> {
    const bed = new Bed();
    await bed.listen();
    const upstreams = workerPools({ limits: LIMITS, timers: new CoarseTimers(10), tlsCa: null });
    bed.health = new WorkerHealth({
      origin: { scheme: 'http', host: '127.0.0.1', port: bed.port },
      path: '/health',
      intervalMs: INTERVAL_MS,
      timeoutMs: TIMEOUT_MS,
      healthyAfter: 1,
      unhealthyAfter: 3,
      upstreams,
      onChange: (isReady, reason) => bed.changes.push({ isReady, reason, atMs: performance.now() }),
      onReport: () => {},
      ...options,
    });
    t.after(async () => {
      bed.health.stop();
      upstreams.destroy();
      await bed.die();
    });
    await bed.health.start();
    return bed;
  }

  async listen(): Promise<void> {
    this.#server = http.createServer((_, response) => {
      this.checks++;
      this.open++;
      this.mostOpen = Math.max(this.mostOpen, this.open);
      response.on('close', () => this.open--);
      if (this.status !== null) response.writeHead(this.status).end();
    });
    await new Promise<void>((resolve) => this.#server.listen(this.port, '127.0.0.1', resolve));
    this.port = (this.#server.address() as AddressInfo).port;
  }

  /** As a process that is killed. */
  async die(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  /** No new connections; those that are there go on. */
  closeDoor(): void {
    this.#server.closeIdleConnections = () => {};
    this.#server.close();
  }

  /** Resolves with the change that is the `count`th. */
  async changed(count: number): Promise<Change> {
    await eventually(
      `${count} changes`,
      () => this.changes,
      ({ length }) => length >= count,
    );
    return this.changes[count - 1] as Change;
  }
}

async function withdrawnWithin(bed: Bed, sinceMs: number, limitMs: number): Promise<Change> {
  const change = await bed.changed(2);
  assert.equal(change.isReady, false);
  const tookMs = change.atMs - sinceMs;
  assert.ok(tookMs <= limitMs, `withdrawn after ${Math.round(tookMs)} ms, not ${limitMs} ms`);
  return change;
}

test('a worker that dies is withdrawn by the next check, and comes back by itself', async (t) => {
  const bed = await Bed.start(t);
  assert.deepEqual([bed.health.isReady, bed.changes.length], [true, 1]);
  const diedMs = performance.now();
  await bed.die();
  const { reason } = await withdrawnWithin(bed, diedMs, 1.5 * INTERVAL_MS);
  assert.match(reason, /ECONNREFUSED/);
  const backMs = performance.now();
  await bed.listen();
  const { isReady, atMs } = await bed.changed(3);
  assert.equal(isReady, true);
  assert.ok(atMs - backMs < 700, `${atMs - backMs} ms: it is asked each 500 ms`);
});

test('the same where a connection is all that is asked for', async (t) => {
  const bed = await Bed.start(t, { path: null });
  const diedMs = performance.now();
  await bed.die();
  await withdrawnWithin(bed, diedMs, 1.5 * INTERVAL_MS);
});

for (const [what, status] of [
  ['hangs', null],
  ['falls ill', 503],
] as const) {
  test(`a worker that ${what} is withdrawn within two intervals`, async (t) => {
    const bed = await Bed.start(t);
    bed.status = status;
    const { reason } = await withdrawnWithin(bed, performance.now(), 2 * INTERVAL_MS);
    assert.match(reason, status === null ? /no answer to GET \/health within 300 ms/ : /gave 503/);
    assert.ok(bed.checks >= 4, 'three have failed since the first');
    bed.status = 200;
    assert.equal((await bed.changed(3)).isReady, true);
  });
}

test('a worker that is slow once is left alone', async (t) => {
  const bed = await Bed.start(t);
  bed.status = null;
  const before = bed.checks;
  await eventually(
    'it is asked',
    () => bed.checks,
    (checks) => checks > before,
  );
  bed.status = 200;
  await eventually(
    'it is asked again',
    () => bed.checks,
    (checks) => checks > before + 2,
  );
  assert.equal(bed.changes.length, 1);
});

test('checks of a worker that hangs do not pile up', async (t) => {
  const bed = await Bed.start(t, { intervalMs: 60, timeoutMs: 1_000, unhealthyAfter: 1_000 });
  bed.status = null;
  await eventually(
    'many were begun',
    () => bed.checks,
    (checks) => checks > 6,
  );
  assert.ok(bed.mostOpen <= 3, `${bed.mostOpen} at once`);
});

test('one that closes its door is withdrawn, although it answers on kept connections', async (t) => {
  const bed = await Bed.start(t);
  bed.closeDoor();
  const { reason } = await withdrawnWithin(bed, performance.now(), 1.5 * INTERVAL_MS);
  assert.match(reason, /ECONNREFUSED/);
});

test('a closed door is enough: the response from behind it is not waited for', async (t) => {
  let aborted = 0;
  const hanging = { request: () => ({ abort: () => aborted++ }), destroy: () => {} };
  const bed = await Bed.start(t);
  bed.health.stop();
  await bed.die();
  const reasons: string[] = [];
  const health = new WorkerHealth({
    origin: { scheme: 'http', host: '127.0.0.1', port: bed.port },
    path: '/health',
    intervalMs: 60_000,
    timeoutMs: 30_000,
    healthyAfter: 1,
    unhealthyAfter: 3,
    upstreams: hanging as unknown as WorkerHealthOptions['upstreams'],
    onChange: (_, reason) => reasons.push(reason),
    onReport: () => {},
  });
  const startedMs = performance.now();
  await health.start();
  health.stop();
  assert.ok(performance.now() - startedMs < 5_000, 'not as long as the response may take');
  assert.match(health.reason, /ECONNREFUSED/);
  assert.deepEqual([aborted, reasons], [1, []], 'nothing is left of it');
});

test('a refused request withdraws it at once, and a success of the check before counts no more', async (t) => {
  const bed = await Bed.start(t, { intervalMs: 60_000 });
  bed.health.suspect('connection refused', true);
  assert.deepEqual([bed.health.isReady, bed.changes.length], [false, 2]);
  // It is asked now, not in a minute.
  assert.equal((await bed.changed(3)).isReady, true);
  await bed.die();
  bed.health.suspect('connection refused', true);
  assert.equal(bed.health.isReady, false);
  await pause(0);
  assert.equal(bed.health.isReady, false);
});

test('a failed connect that is no refusal has it asked at once, and counts once for all that fail together', async (t) => {
  const bed = await Bed.start(t, { intervalMs: 60_000, timeoutMs: 30_000 });
  bed.status = null;
  const before = bed.checks;
  for (let at = 0; at < 10; at++) bed.health.suspect('timed out', false);
  assert.equal(bed.health.isReady, true);
  await eventually(
    'it is asked',
    () => bed.checks,
    (checks) => checks === before + 1,
  );
});

test('stopped: nothing is asked or said any more', async (t) => {
  const bed = await Bed.start(t, { intervalMs: 50 });
  bed.health.stop();
  const { checks } = bed;
  bed.health.suspect('connection refused', true);
  await bed.die();
  await pause(200); // the time itself is what is tested
  assert.deepEqual([bed.checks, bed.changes.length], [checks, 1]);
});
