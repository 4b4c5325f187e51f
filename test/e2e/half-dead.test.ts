/**
 * Things that are neither alive nor dead: stopped processes, and workers that never answer. The first requests lose a
 * bounded time, the following ones nothing, and what wakes up is used again by itself.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { MeshProcesses } from '../support/meshes/mesh-processes.ts';
import type { SidecarProcess } from '../support/meshes/sidecar-process.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { note } from '../support/runner/note.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import type { Answer } from '../support/wire/http-client.ts';
import type { WorkerProcess } from '../support/workers/worker-process.ts';

const SERVICE = 'llm-inference';

/** What a request may lose that was sent to something stopped; the design says 1.2 s of a path that is black. */
const FIRST_COSTS_MS = 2_500;

/** Far more than a request takes on a busy machine, far less than any time-out. */
const AT_ONCE_MS = 700;

interface Timed extends Answer {
  readonly tookMs: number;
}

async function timed(app: SidecarProcess, target: string, method = 'GET'): Promise<Timed> {
  const startedMs = performance.now();
  const answer = await app.call({ method, target: `/service/${SERVICE}${target}` });
  return { ...answer, tookMs: performance.now() - startedMs };
}

interface Side {
  readonly worker: WorkerProcess;
  readonly sidecar: SidecarProcess;
}

async function bed(
  service: Readonly<Record<string, unknown>> = {},
  config: Readonly<Record<string, unknown>> = {},
): Promise<{ readonly app: SidecarProcess; readonly sides: readonly [Side, Side] }> {
  const mesh = await MeshProcesses.up();
  const side = async (id: string): Promise<Side> => {
    const worker = await mesh.worker(id);
    return {
      worker,
      sidecar: await mesh.sidecar({ id, services: { [SERVICE]: { url: worker.url, ...service } }, config }),
    };
  };
  const [one, two, app] = await Promise.all([side('one'), side('two'), mesh.sidecar({ id: 'app', config })]);
  await timed(app, '/?id=warm');
  await app.knows(['one', 'two']);
  return { app, sides: [one, two] };
}

/** Stops processes, and never leaves one behind stopped. */
function stop({ process }: { readonly process: WorkerProcess['process'] }): () => void {
  process.signal('SIGSTOP');
  const wake = (): void => process.signal('SIGCONT');
  onTestEnd(wake);
  return wake;
}

/** Sends until this worker answers. */
async function usedAgain(app: SidecarProcess, id: string): Promise<void> {
  await eventually(
    `${id} is used again`,
    () => timed(app, '/?id=again'),
    ({ headers }) => headers['sidecar-worker'] === id,
  );
}

describe('a process that is stopped or never answers', () => {
  test('a sidecar that is stopped: the first GETs lose little, the next nothing, and it comes back', async () => {
    const { app, sides } = await bed();
    // All at once, none answered before all are sent, and before anybody can know, so that some are sent there.
    await sides[1].worker.set({ mode: 'delay', ms: 300 });
    const wake = stop(sides[0].sidecar);
    const first = await Promise.all(Array.from({ length: 8 }, (_, n) => timed(app, `/?id=first-${n}`)));
    for (const { status, headers, body } of first) {
      expectNamed(status, body).toBe(200);
      expect(headers['sidecar-worker']).toBe('two');
    }
    await sides[1].worker.set({ mode: 'echo' });
    const slowestMs = Math.max(...first.map(({ tookMs }) => tookMs));
    expectNamed(
      first.some(({ headers }) => headers['sidecar-attempts'] !== '1'),
      'some were sent there',
    ).toBe(true);
    expectNamed(slowestMs, `${slowestMs} ms`).toBeLessThan(FIRST_COSTS_MS);
    let nextMs = 0;
    for (let n = 0; n < 20; n++) {
      const next = await timed(app, `/?id=next-${n}`);
      expect([next.status, next.headers['sidecar-attempts']]).toStrictEqual([200, '1']);
      nextMs = Math.max(nextMs, next.tookMs);
    }
    note(`first ${slowestMs.toFixed(0)} ms, next ${nextMs.toFixed(0)} ms at most`);
    expectNamed(nextMs, `${nextMs} ms`).toBeLessThan(AT_ONCE_MS);
    const startedMs = performance.now();
    wake();
    await usedAgain(app, 'one');
    note(`used again ${(performance.now() - startedMs).toFixed(0)} ms after it woke up`);
    expect((await app.stats()).failed_requests).toBe(0);
  });

  test('a sidecar that is stopped while its worker is at a POST: sent once, answered when it wakes up', async () => {
    const { app, sides } = await bed();
    for (const { worker } of sides) await worker.set({ mode: 'delay', ms: 1_000 });
    const post = timed(app, '/?id=post', 'POST');
    const at = await Promise.race(
      sides.map(async (side) => {
        await side.worker.when('post');
        return side;
      }),
    );
    const wake = stop(at.sidecar);
    await pause(2_500);
    wake();
    const { status, body } = await post;
    expectNamed(status, body).toBe(200);
    const seen = await Promise.all(sides.map(({ worker }) => worker.seen('post')));
    expect(seen.flat()).toHaveLength(1);
  });

  test('a worker that is stopped is withdrawn by its health check, and comes back', async () => {
    const health = { path: '/health', interval: '1s', timeout: '300ms' };
    const { app, sides } = await bed({ concurrency: 2, queue: 2, health });
    const [one, two] = sides;
    const startedMs = performance.now();
    const wake = stop(one.worker);
    await one.sidecar.logged({ service: SERVICE, state: 'warming' });
    const withdrawnMs = performance.now() - startedMs;
    await app.knows(['one'], 'warming');
    note(`withdrawn after ${withdrawnMs.toFixed(0)} ms`);
    expectNamed(withdrawnMs, `${withdrawnMs} ms`).toBeLessThan(4_000);
    for (let n = 0; n < 20; n++) {
      const next = await timed(app, `/?id=next-${n}`);
      expectNamed([next.status, next.headers['sidecar-worker']], next.body).toStrictEqual([200, 'two']);
      expectNamed(next.tookMs, `${next.tookMs} ms`).toBeLessThan(AT_ONCE_MS);
    }
    wake();
    await usedAgain(app, 'one');
    expect(await two.worker.seen('next-0')).toHaveLength(1);
  });

  test('a worker that is stopped at work may be busy: those that come later go to the other, and none is lost', async () => {
    const health = { path: '/health', interval: '1s', timeout: '300ms' };
    const { app, sides } = await bed({ concurrency: 2, queue: 2, health });
    const wake = stop(sides[0].worker);
    const caught = Promise.all(Array.from({ length: 8 }, (_, n) => timed(app, `/?id=caught-${n}`)));
    for (let n = 0; n < 20; n++) {
      const next = await timed(app, `/?id=next-${n}`);
      expectNamed([next.status, next.headers['sidecar-worker']], next.body).toStrictEqual([200, 'two']);
    }
    wake();
    // Nobody knows whether their worker is at them.
    for (const { status, body } of await caught) expectNamed(status, body).toBe(200);
    await usedAgain(app, 'one');
  });

  test('a worker that takes requests and never answers: 504 in time, its slots are free, it is left out', async () => {
    const { app, sides } = await bed({ concurrency: 8 }, { timeouts: { head: '700ms' } });
    await sides[0].worker.set({ mode: 'hang' });
    // Longer than it takes to send them all: who answers at once would get the late ones too.
    await sides[1].worker.set({ mode: 'delay', ms: 500 });
    const first = await Promise.all(Array.from({ length: 16 }, (_, n) => timed(app, `/?id=first-${n}`)));
    await sides[1].worker.set({ mode: 'echo' });
    const late = first.filter(({ status }) => status !== 200);
    expectNamed(late.length, 'enough to eject it').toBeGreaterThanOrEqual(5);
    for (const { status, body, tookMs } of late) {
      expect(status).toBe(504);
      expect(JSON.parse(body).code).toBe('response_timeout');
      expectNamed(tookMs, `${tookMs} ms`).toBeLessThan(700 + FIRST_COSTS_MS);
    }
    for (let n = 0; n < 20; n++) {
      const next = await timed(app, `/?id=next-${n}`);
      expectNamed([next.status, next.headers['sidecar-worker']], next.body).toStrictEqual([200, 'two']);
    }
    const slots = (await sides[0].sidecar.admin('/metrics')).body;
    expect(slots).toMatch(/^sidecar_worker_in_flight\{[^}]*\} 0$/m);
  });
});
