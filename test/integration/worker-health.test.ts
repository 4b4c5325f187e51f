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
  /** null: it never answers; `drips`: a byte at a time, without end. */
  status: number | 'drips' | null = 200;
  /** So long nothing moves in this process after a response. */
  standStillMs = 0;
  /** Checks that were not the first on their connection. */
  keptRequests = 0;
  readonly #seen = new WeakSet<object>();
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
    this.#server = http.createServer((request, response) => {
      this.checks++;
      if (this.#seen.has(request.socket)) this.keptRequests++;
      this.#seen.add(request.socket);
      this.open++;
      this.mostOpen = Math.max(this.mostOpen, this.open);
      response.on('close', () => this.open--);
      if (this.status === 'drips') {
        const drip = setInterval(() => response.write('x'), 20);
        response.on('close', () => clearInterval(drip));
      } else if (this.status !== null) response.writeHead(this.status).end();
      const untilMs = performance.now() + this.standStillMs;
      while (performance.now() < untilMs);
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

test('each check comes on a connection of its own, which is closed afterwards', async (t) => {
  const bed = await Bed.start(t, { intervalMs: 50 });
  await eventually(
    'it is asked again and again',
    () => bed.checks,
    (checks) => checks > 3,
  );
  assert.equal(bed.keptRequests, 0);
});

test('a response that came while the process stood still is in time', async (t) => {
  const bed = await Bed.start(t, { intervalMs: 60_000, unhealthyAfter: 1 });
  const before = bed.checks;
  bed.standStillMs = 3 * TIMEOUT_MS;
  bed.health.suspect('timed out', false);
  bed.changes.length = 0;
  await eventually(
    'it is asked',
    () => bed.checks,
    (checks) => checks > before,
  );
  const { isReady } = await bed.changed(1);
  assert.deepEqual([isReady, bed.health.reason], [true, 'healthy']);
});

test('a response that drips holds a check no longer than its limit', async (t) => {
  const bed = await Bed.start(t, { intervalMs: 60_000, unhealthyAfter: 1 });
  bed.status = 'drips';
  const startedMs = performance.now();
  bed.health.suspect('timed out', false);
  await eventually(
    'the check has ended',
    () => bed.health.reason,
    (reason) => reason.startsWith('no answer to GET /health within 300 ms'),
  );
  assert.ok(performance.now() - startedMs < 10 * TIMEOUT_MS);
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
