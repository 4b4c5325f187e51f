/** Everything is restarted, one at a time, under constant load: no request fails. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { MixedLoad } from '../support/generators/mixed-load.ts';
import { MeshProcesses, type SidecarSetup } from '../support/meshes/mesh-processes.ts';
import type { SidecarProcess } from '../support/meshes/sidecar-process.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { note } from '../support/runner/note.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import type { WorkerProcess } from '../support/workers/worker-process.ts';

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

async function fleet(names: readonly string[]): Promise<Fleet> {
  const mesh = await MeshProcesses.up();
  const states = await mkdtemp(join(tmpdir(), 'dht-sidecar-states-'));
  onTestEnd(() => rm(states, { recursive: true, force: true }));
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

describe('a rolling restart under load', () => {
  test('all workers restarted in turn behind living sidecars: nothing that may be sent twice fails', async () => {
    const names = ['one', 'two'];
    // As few as can be: while one is away, the other one is all there is.
    const { mesh, app, workers, sidecars } = await fleet(names);
    const load = new MixedLoad({ outbound: app.address.outbound, service: SERVICE, isIdempotent: true });
    for (const at of [0, 1, 0]) {
      const name = names[at] as string;
      const leaving = workers[at] as WorkerProcess;
      expect(await leaving.process.stop(STOP_LIMIT_MS)).toBe('exit code 0');
      const sinceMs = Date.now();
      workers[at] = await mesh.worker(name, leaving.port);
      await (sidecars[at] as SidecarProcess).logged({ service: SERVICE, state: 'ready' }, sinceMs);
    }
    await load.stop();
    note(JSON.stringify({ sent: load.sent, answers: Object.fromEntries(load.answers) }));
    expect(load.failures).toStrictEqual([]);
    expect((await app.stats()).failed_requests).toBe(0);
  });

  test('all sidecars restarted in turn, at the same ports and at new ones: nothing fails', async () => {
    const { mesh, app, workers, sidecars, setups } = await fleet(['one', 'two']);
    const load = new MixedLoad({ outbound: app.address.outbound, service: SERVICE });
    for (const isSamePlace of [true, false]) {
      for (const [at, setup] of setups.entries()) {
        const leaving = sidecars[at] as SidecarProcess;
        expect(await leaving.stop()).toBe('exit code 0');
        // Ready by its own word, and so is whoever is next: nobody waits for the app to have heard of it.
        sidecars[at] = isSamePlace ? await mesh.restart(leaving) : await mesh.sidecar(setup);
      }
    }
    await load.stop();
    note(JSON.stringify({ sent: load.sent, answers: Object.fromEntries(load.answers) }));
    expect(load.failures).toStrictEqual([]);
    expect((await app.stats()).failed_requests).toBe(0);
    expectNamed(load.sent.post, JSON.stringify(load.sent)).toBeGreaterThan(100);
    expectNamed(load.sent.get, JSON.stringify(load.sent)).toBeGreaterThan(50);
    expectNamed(load.sent.events, JSON.stringify(load.sent)).toBeGreaterThan(50);
    const counts = await deliveries(workers);
    expectNamed(
      load.posts.filter((id) => counts.get(id) !== 1),
      'each POST was delivered once',
    ).toStrictEqual([]);
  });
});
