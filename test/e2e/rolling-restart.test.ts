/** Everything is restarted, one at a time, under constant load: no request fails. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { MeshProcesses, type SidecarSetup } from '../support/mesh-processes.ts';
import { MixedLoad } from '../support/mixed-load.ts';
import type { SidecarProcess } from '../support/sidecar-process.ts';
import type { WorkerProcess } from '../support/worker-process.ts';

const SERVICE = 'llm-inference';

/** A worker goes when its kept connections have been idle for a while. */
const STOP_LIMIT_MS = 20_000;

interface Fleet {
  readonly mesh: MeshProcesses;
  readonly app: SidecarProcess;
  readonly workers: WorkerProcess[];
  readonly sidecars: SidecarProcess[];
  readonly setups: readonly SidecarSetup[];
}

async function fleet(t: TestContext, names: readonly string[]): Promise<Fleet> {
  const mesh = await MeshProcesses.up(t);
  const states = await mkdtemp(join(tmpdir(), 'dht-sidecar-states-'));
  t.after(() => rm(states, { recursive: true, force: true }));
  const workers = await Promise.all(names.map((name) => mesh.worker(name)));
  const setups = workers.map(({ url }, at) => ({
    id: names[at] as string,
    services: { [SERVICE]: { url, health: { path: '/health' } } },
    // Every other one keeps its key; the rest come back with a new one.
    env: at % 2 === 0 ? { SIDECAR_STATE_DIR: join(states, names[at] as string) } : {},
  }));
  const [app, ...sidecars] = await Promise.all([
    mesh.sidecar({ id: 'app' }),
    ...setups.map((setup) => mesh.sidecar(setup)),
  ]);
  await app.get(SERVICE);
  await app.knows(names);
  return { mesh, app, workers, sidecars, setups };
}

/** How often each POST came to a worker. */
async function deliveries(workers: readonly WorkerProcess[]): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  for (const worker of workers) {
    for (const { id, method } of await worker.seen()) {
      if (method === 'POST') counts.set(id, (counts.get(id) ?? 0) + 1);
    }
  }
  return counts;
}

test('all workers restarted in turn behind living sidecars: nothing that may be sent twice fails', async (t) => {
  const names = ['one', 'two'];
  // As few as can be: while one is away, the other one is all there is.
  const { mesh, app, workers, sidecars } = await fleet(t, names);
  const load = new MixedLoad(t, { outbound: app.address.outbound, service: SERVICE, isIdempotent: true });
  for (const at of [0, 1, 0]) {
    const name = names[at] as string;
    const leaving = workers[at] as WorkerProcess;
    assert.equal(await leaving.process.stop(STOP_LIMIT_MS), 'exit code 0');
    const sinceMs = Date.now();
    workers[at] = await mesh.worker(name, leaving.port);
    await (sidecars[at] as SidecarProcess).logged({ service: SERVICE, state: 'ready' }, sinceMs);
  }
  await load.stop();
  t.diagnostic(JSON.stringify({ sent: load.sent, answers: Object.fromEntries(load.answers) }));
  assert.deepEqual(load.failures, []);
  assert.equal((await app.stats()).failed_requests, 0);
});

test('all sidecars restarted in turn, at the same ports and at new ones: nothing fails', async (t) => {
  const { mesh, app, workers, sidecars, setups } = await fleet(t, ['one', 'two']);
  const load = new MixedLoad(t, { outbound: app.address.outbound, service: SERVICE });
  for (const isSamePlace of [true, false]) {
    for (const [at, setup] of setups.entries()) {
      const leaving = sidecars[at] as SidecarProcess;
      assert.equal(await leaving.stop(), 'exit code 0');
      // Ready by its own word, and so is whoever is next: nobody waits for the app to have heard of it.
      sidecars[at] = isSamePlace ? await mesh.restart(leaving) : await mesh.sidecar(setup);
    }
  }
  await load.stop();
  t.diagnostic(JSON.stringify({ sent: load.sent, answers: Object.fromEntries(load.answers) }));
  assert.deepEqual(load.failures, []);
  assert.equal((await app.stats()).failed_requests, 0);
  assert.ok(load.sent.post > 100 && load.sent.get > 50 && load.sent.events > 50, JSON.stringify(load.sent));
  const counts = await deliveries(workers);
  assert.deepEqual(
    load.posts.filter((id) => counts.get(id) !== 1),
    [],
    'each POST was delivered once',
  );
});
