/**
 * Things that are neither alive nor dead: stopped processes, and workers that never answer. The first requests lose a
 * bounded time, the following ones nothing, and what wakes up is used again by itself.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { eventually } from '../support/eventually.ts';
import type { Answer } from '../support/http-client.ts';
import { MeshProcesses } from '../support/mesh-processes.ts';
import type { SidecarProcess } from '../support/sidecar-process.ts';
import type { WorkerProcess } from '../support/worker-process.ts';

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
  t: test.TestContext,
  service: Readonly<Record<string, unknown>> = {},
  config: Readonly<Record<string, unknown>> = {},
): Promise<{ readonly app: SidecarProcess; readonly sides: readonly [Side, Side] }> {
  const mesh = await MeshProcesses.up(t);
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
function stop(t: test.TestContext, { process }: { readonly process: WorkerProcess['process'] }): () => void {
  process.signal('SIGSTOP');
  const wake = (): void => process.signal('SIGCONT');
  t.after(wake);
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

test('a sidecar that is stopped: the first GETs lose little, the next nothing, and it comes back', async (t) => {
  const { app, sides } = await bed(t);
  const wake = stop(t, sides[0].sidecar);
  // All at once, and none answered before all are sent, so that some are sent there.
  await sides[1].worker.set({ mode: 'delay', ms: 300 });
  const first = await Promise.all(Array.from({ length: 8 }, (_, n) => timed(app, `/?id=first-${n}`)));
  for (const { status, headers, body } of first) {
    assert.equal(status, 200, body);
    assert.equal(headers['sidecar-worker'], 'two');
  }
  await sides[1].worker.set({ mode: 'echo' });
  const slowestMs = Math.max(...first.map(({ tookMs }) => tookMs));
  assert.ok(
    first.some(({ headers }) => headers['sidecar-attempts'] !== '1'),
    'some were sent there',
  );
  assert.ok(slowestMs < FIRST_COSTS_MS, `${slowestMs} ms`);
  let nextMs = 0;
  for (let n = 0; n < 20; n++) {
    const next = await timed(app, `/?id=next-${n}`);
    assert.deepEqual([next.status, next.headers['sidecar-attempts']], [200, '1']);
    nextMs = Math.max(nextMs, next.tookMs);
  }
  t.diagnostic(`first ${slowestMs.toFixed(0)} ms, next ${nextMs.toFixed(0)} ms at most`);
  assert.ok(nextMs < AT_ONCE_MS, `${nextMs} ms`);
  const startedMs = performance.now();
  wake();
  await usedAgain(app, 'one');
  t.diagnostic(`used again ${(performance.now() - startedMs).toFixed(0)} ms after it woke up`);
  assert.equal((await app.stats()).failed_requests, 0);
});

test('a sidecar that is stopped while its worker is at a POST: sent once, answered when it wakes up', async (t) => {
  const { app, sides } = await bed(t);
  for (const { worker } of sides) await worker.set({ mode: 'delay', ms: 1_000 });
  const post = timed(app, '/?id=post', 'POST');
  const at = await Promise.race(
    sides.map(async (side) => {
      await side.worker.when('post');
      return side;
    }),
  );
  const wake = stop(t, at.sidecar);
  await pause(2_500);
  wake();
  const { status, body } = await post;
  assert.equal(status, 200, body);
  const seen = await Promise.all(sides.map(({ worker }) => worker.seen('post')));
  assert.equal(seen.flat().length, 1);
});

test('a worker that is stopped is withdrawn by its health check, and comes back', async (t) => {
  const health = { path: '/health', interval: '1s', timeout: '300ms' };
  const { app, sides } = await bed(t, { concurrency: 2, queue: 2, health });
  const [one, two] = sides;
  const startedMs = performance.now();
  const wake = stop(t, one.worker);
  const caught = Promise.all(Array.from({ length: 8 }, (_, n) => timed(app, `/?id=caught-${n}`)));
  await one.sidecar.logged({ service: SERVICE, state: 'warming' });
  const withdrawnMs = performance.now() - startedMs;
  await app.knows(['one'], 'warming');
  t.diagnostic(`withdrawn after ${withdrawnMs.toFixed(0)} ms`);
  assert.ok(withdrawnMs < 4_000, `${withdrawnMs} ms`);
  for (let n = 0; n < 20; n++) {
    const next = await timed(app, `/?id=next-${n}`);
    assert.deepEqual([next.status, next.headers['sidecar-worker']], [200, 'two'], next.body);
    assert.ok(next.tookMs < AT_ONCE_MS, `${next.tookMs} ms`);
  }
  wake();
  // Those that were there already wait: nobody knows whether their worker is at them. They are lost by no means.
  for (const { status, body } of await caught) assert.equal(status, 200, body);
  await usedAgain(app, 'one');
  assert.equal((await two.worker.seen('next-0')).length, 1);
});

test('a worker that takes requests and never answers: 504 in time, its slots are free, it is left out', async (t) => {
  const { app, sides } = await bed(t, { concurrency: 8 }, { timeouts: { head: '700ms' } });
  await sides[0].worker.set({ mode: 'hang' });
  // Longer than it takes to send them all: who answers at once would get the late ones too.
  await sides[1].worker.set({ mode: 'delay', ms: 500 });
  const first = await Promise.all(Array.from({ length: 16 }, (_, n) => timed(app, `/?id=first-${n}`)));
  await sides[1].worker.set({ mode: 'echo' });
  const late = first.filter(({ status }) => status !== 200);
  assert.ok(late.length >= 5, 'enough to eject it');
  for (const { status, body, tookMs } of late) {
    assert.equal(status, 504);
    assert.equal(JSON.parse(body).code, 'response_timeout');
    assert.ok(tookMs < 700 + FIRST_COSTS_MS, `${tookMs} ms`);
  }
  for (let n = 0; n < 20; n++) {
    const next = await timed(app, `/?id=next-${n}`);
    assert.deepEqual([next.status, next.headers['sidecar-worker']], [200, 'two'], next.body);
  }
  const slots = (await sides[0].sidecar.admin('/metrics')).body;
  assert.match(slots, /^sidecar_worker_in_flight\{[^}]*\} 0$/m);
});
