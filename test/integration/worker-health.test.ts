/** The health of the local worker: how soon one that dies, hangs or falls ill is withdrawn, and comes back. */
import http from 'node:http';
import net, { type AddressInfo, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { CONNECT } from '../../sidecar/core/worker/health-ask.ts';
import { CoarseTimers } from '../../sidecar/http/sockets/timers.ts';
import { workerPools } from '../../sidecar/http/upstream-pools.ts';
import {
  type AtWork,
  WorkerHealth,
  type WorkerHealthOptions,
} from '../../sidecar/proxy/worker/worker-health.ts';
import { LIMITS } from '../support/meshes/inbound-side.ts';
import { Arrivals } from '../support/runner/arrivals.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

const INTERVAL_MS = 900;
const TIMEOUT_MS = 300;

interface Change {
  readonly isReady: boolean;
  readonly reason: string;
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
  readonly #waiting = new Set<http.ServerResponse>();
  port = 0;
  health!: WorkerHealth;
  atWork: AtWork = 'no';
  #server = http.createServer();

  static async start(options: Partial<WorkerHealthOptions> = {}, status = 200): Promise<Bed> {
    const bed = new Bed();
    bed.status = status;
    await bed.listen();
    const upstreams = workerPools({ limits: LIMITS, timers: new CoarseTimers(10), tlsCa: null });
    bed.health = new WorkerHealth({
      origin: { scheme: 'http', host: '127.0.0.1', port: bed.port },
      ask: { kind: 'get', path: '/health' },
      atWork: () => bed.atWork,
      intervalMs: INTERVAL_MS,
      timeoutMs: TIMEOUT_MS,
      healthyAfter: 1,
      unhealthyAfter: 3,
      upstreams,
      onChange: (isReady, reason) => bed.changes.push({ isReady, reason }),
      onReport: () => {},
      ...options,
    });
    onTestEnd(async () => {
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
      } else if (this.status === null) this.#waiting.add(response);
      else response.writeHead(this.status).end();
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

  /** Those that wait get their answer, and so do all from now on. */
  answerAll(): void {
    this.status = 200;
    for (const response of this.#waiting) response.writeHead(200).end();
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

/** The next change, which comes before a worker that is well has been asked so often. */
async function changedWithin(bed: Bed, rounds: number, what: () => unknown): Promise<Change> {
  const twin = await Bed.start();
  const [checks, changes] = [twin.checks, bed.changes.length];
  await what();
  const change = await bed.changed(changes + 1);
  expectNamed(twin.checks - checks, 'checks of another one meanwhile').toBeLessThanOrEqual(rounds);
  return change;
}

describe('the health of the local worker', () => {
  test('a worker that dies is withdrawn by the next check, and comes back by itself', async () => {
    const bed = await Bed.start({ unhealthyAfter: 1_000 });
    expect([bed.health.isReady, bed.changes.length]).toStrictEqual([true, 1]);
    const { isReady, reason } = await changedWithin(bed, 1, () => bed.die());
    expect(isReady).toBe(false);
    expect(reason).toMatch(/ECONNREFUSED/);
    expect((await changedWithin(bed, 1, () => bed.listen())).isReady).toBe(true);
  });

  test('the same where a connection is all that is asked for', async () => {
    const bed = await Bed.start({ ask: CONNECT, unhealthyAfter: 1_000 });
    expect((await changedWithin(bed, 1, () => bed.die())).isReady).toBe(false);
  });

  for (const [what, status, rounds] of [
    ['hangs', null, 2],
    ['falls ill', 503, 1],
  ] as const) {
    test(`a worker that ${what} is withdrawn before another is asked ${rounds === 1 ? 'twice' : 'three times'}`, async () => {
      const bed = await Bed.start();
      const { isReady, reason } = await changedWithin(bed, rounds, () => {
        bed.status = status;
      });
      expect(isReady).toBe(false);
      expect(reason).toMatch(status === null ? /no answer to GET \/health within 300 ms/ : /gave 503/);
      const failed = status === null ? 2 : 3;
      expectNamed(bed.checks, 'they have failed since the first').toBeGreaterThanOrEqual(1 + failed);
      bed.status = 200;
      expect((await bed.changed(3)).isReady).toBe(true);
    });
  }

  for (const [status, isReady] of [
    [200, true],
    [204, true],
    [302, true],
    [399, true],
    [400, false],
    [401, false],
    [404, false],
    [429, false],
    [500, false],
  ] as const) {
    test(`a ${status} to the check ${isReady ? 'is' : 'is not'} healthy`, async () => {
      const bed = await Bed.start({ intervalMs: 60_000 }, status);
      expect([bed.health.isReady, bed.health.reason]).toStrictEqual([
        isReady,
        isReady ? 'healthy' : `GET /health gave ${status}`,
      ]);
    });
  }

  test('a worker that is not ready is asked more often than one that is', async () => {
    const bed = await Bed.start({ intervalMs: 60_000 }, 503);
    const twin = await Bed.start();
    await eventually(
      'it is asked three times more',
      () => bed.checks,
      (checks) => checks >= 4,
    );
    expect(twin.checks).toBeLessThanOrEqual(3);
  });

  test('a worker that is slow once is left alone', async () => {
    const bed = await Bed.start();
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
    expect(bed.changes).toHaveLength(1);
  });

  for (const atWork of ['no', 'waits', 'moves'] as const) {
    test(`checks of a worker that hangs come one at a time, and soon no more of them (at work: ${atWork})`, async () => {
      const bed = await Bed.start({ intervalMs: 60, timeoutMs: 20, unhealthyAfter: 1_000 });
      const twin = await Bed.start({ intervalMs: 60 });
      bed.atWork = atWork;
      bed.status = null;
      const [before, twinBefore] = [bed.checks, twin.checks];
      await eventually(
        'another one is asked again and again',
        () => twin.checks - twinBefore,
        (checks) => checks > 10,
      );
      expectNamed(bed.mostOpen, `${bed.mostOpen} at once`).toBe(1);
      expect(bed.checks - before).toBeLessThanOrEqual(atWork === 'no' ? 3 : 2);
    });
  }

  test('a connection that it does not take up is closed by us, and the only one', async () => {
    const connections: Socket[] = [];
    const ends = new Arrivals<void>('our end of a connection');
    // It sees our end and keeps its own, as one does that has not taken the connection up.
    const server = net.createServer({ allowHalfOpen: true }, (socket) => {
      connections.push(socket);
      socket.resume();
      socket.on('end', () => ends.push());
      socket.on('error', () => {});
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    onTestEnd(() => {
      for (const socket of connections) socket.destroy();
      server.close();
    });
    const origin = { scheme: 'http', host: '127.0.0.1', port } as const;
    const bed = await Bed.start({ origin, ask: CONNECT, intervalMs: 20 });
    expect(bed.health.isReady).toBe(true);
    await ends.next();
    const twin = await Bed.start({ intervalMs: 20 });
    await eventually(
      'another one is asked again and again',
      () => twin.checks,
      (checks) => checks > 10,
    );
    expect(connections).toHaveLength(1);
    connections[0]?.end();
    await ends.next();
    expect(connections.length).toBeGreaterThan(1);
  });

  for (const atWork of ['waits', 'moves'] as const) {
    test(`one that is at work (${atWork}) stays ready for as long as it does not answer`, async () => {
      const bed = await Bed.start({ intervalMs: 50, timeoutMs: 20, unhealthyAfter: 1 });
      bed.atWork = atWork;
      bed.status = null;
      // Time enough for three that are idle, one after the other.
      for (let n = 0; n < 3; n++) {
        const idle = await Bed.start({ intervalMs: 50, timeoutMs: 20, unhealthyAfter: 1 });
        idle.status = null;
        await idle.changed(2);
      }
      expect(bed.changes).toHaveLength(1);
      bed.atWork = 'no';
      expect((await bed.changed(2)).reason).toMatch(/no answer to GET \/health within 20 ms/);
    });

    test(`one that is at work (${atWork}) and refuses connections is withdrawn at once`, async () => {
      const bed = await Bed.start({ intervalMs: 50, unhealthyAfter: 1_000 });
      bed.atWork = atWork;
      await bed.die();
      expect((await bed.changed(2)).reason).toMatch(/ECONNREFUSED/);
    });

    test(`one that is at work (${atWork}) and says itself that it is ill is withdrawn`, async () => {
      const bed = await Bed.start({ intervalMs: 50 });
      bed.atWork = atWork;
      bed.status = 503;
      expect((await bed.changed(2)).reason).toMatch(/gave 503/);
    });
  }

  test('a request that gets no connection counts where nothing moves, and does not where a response is coming', async () => {
    for (const [atWork, isReady] of [
      ['waits', false],
      ['moves', true],
    ] as const) {
      const bed = await Bed.start({ intervalMs: 60_000, unhealthyAfter: 1 });
      bed.atWork = atWork;
      bed.health.suspect('timed out', false);
      expectNamed(bed.health.isReady, atWork).toBe(isReady);
    }
  });

  test('once its work is done it has its time to answer', async () => {
    const bed = await Bed.start({ intervalMs: 50, timeoutMs: 300, unhealthyAfter: 1 });
    bed.atWork = 'waits';
    bed.status = null;
    const before = bed.checks;
    await eventually(
      'it is asked',
      () => bed.checks,
      (checks) => checks > before,
    );
    const idle = await Bed.start({ intervalMs: 50, timeoutMs: 300, unhealthyAfter: 1 });
    idle.status = null;
    await idle.changed(2);
    bed.atWork = 'no';
    bed.answerAll();
    await eventually(
      'it is asked again',
      () => bed.checks,
      (checks) => checks > before + 1,
    );
    expect(bed.changes).toHaveLength(1);
  });

  test('one that closes its door is withdrawn, although it answers on kept connections', async () => {
    const bed = await Bed.start({ unhealthyAfter: 1_000 });
    const { isReady, reason } = await changedWithin(bed, 1, () => bed.closeDoor());
    expect(isReady).toBe(false);
    expect(reason).toMatch(/ECONNREFUSED/);
  });

  test('each check comes on a connection of its own, which is closed afterwards', async () => {
    const bed = await Bed.start({ intervalMs: 50 });
    await eventually(
      'it is asked again and again',
      () => bed.checks,
      (checks) => checks > 3,
    );
    expect(bed.keptRequests).toBe(0);
  });

  test('a response that came while the process stood still is in time', async () => {
    const bed = await Bed.start({ intervalMs: 60_000, unhealthyAfter: 1 });
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
    expect([isReady, bed.health.reason]).toStrictEqual([true, 'healthy']);
  });

  test('a response that drips holds a check no longer than its limit', async () => {
    const bed = await Bed.start({ intervalMs: 60_000, unhealthyAfter: 1 });
    bed.status = 'drips';
    const startedMs = performance.now();
    bed.health.suspect('timed out', false);
    await eventually(
      'the check has ended',
      () => bed.health.reason,
      (reason) => reason.startsWith('no answer to GET /health within 300 ms'),
    );
    expect(performance.now() - startedMs).toBeLessThan(10 * TIMEOUT_MS);
  });

  test('a refused request withdraws it at once, and a success of the check before counts no more', async () => {
    const bed = await Bed.start({ intervalMs: 60_000 });
    bed.health.suspect('connection refused', true);
    expect([bed.health.isReady, bed.changes.length]).toStrictEqual([false, 2]);
    // It is asked now, not in a minute.
    expect((await bed.changed(3)).isReady).toBe(true);
    await bed.die();
    bed.health.suspect('connection refused', true);
    expect(bed.health.isReady).toBe(false);
    await pause(0);
    expect(bed.health.isReady).toBe(false);
  });

  test('a failed connect that is no refusal has it asked at once, and counts once for all that fail together', async () => {
    const bed = await Bed.start({ intervalMs: 60_000, timeoutMs: 30_000 });
    bed.status = null;
    const before = bed.checks;
    for (let at = 0; at < 10; at++) bed.health.suspect('timed out', false);
    expect(bed.health.isReady).toBe(true);
    await eventually(
      'it is asked',
      () => bed.checks,
      (checks) => checks === before + 1,
    );
  });

  test('stopped: nothing is asked or said any more', async () => {
    const bed = await Bed.start({ intervalMs: 50, unhealthyAfter: 1 });
    bed.health.stop();
    const { checks } = bed;
    bed.status = 503;
    bed.health.suspect('connection refused', true);
    const other = await Bed.start({ intervalMs: 50 });
    await eventually(
      'another one is asked again and again',
      () => other.checks,
      (count) => count > 4,
    );
    expect([bed.checks, bed.changes.length, bed.health.isReady]).toStrictEqual([checks, 1, true]);
  });
});
