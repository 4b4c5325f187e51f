/** A worker dies, hangs, loads for long and comes back behind its living sidecar: how soon callers know. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { LogLine } from '../../sidecar/demo/tied-process.ts';
import { eventually } from '../support/eventually.ts';
import { MeshProcesses } from '../support/mesh-processes.ts';
import { type SidecarProcess, saidAtMs } from '../support/sidecar-process.ts';
import type { WorkerProcess } from '../support/worker-process.ts';

const SERVICE = 'llm-inference';

/** As configured by default. */
const INTERVAL_MS = 2_000;

/** A ready worker is used within so long; nothing is added for a busy machine. */
const USED_AFTER_MS = 2_000;

interface Fleet {
  readonly mesh: MeshProcesses;
  readonly app: SidecarProcess;
  readonly one: SidecarProcess;
  readonly first: WorkerProcess;
}

const service = ({ url }: WorkerProcess) => ({ [SERVICE]: { url, health: { path: '/health' } } });

async function fleet(t: TestContext, env: Readonly<Record<string, string>> = {}): Promise<Fleet> {
  const mesh = await MeshProcesses.up(t);
  const [first, second] = await Promise.all([mesh.worker('one'), mesh.worker('two')]);
  const [one, , app] = await Promise.all([
    mesh.sidecar({ id: 'one', services: service(first), env }),
    mesh.sidecar({ id: 'two', services: service(second) }),
    mesh.sidecar({ id: 'app' }),
  ]);
  await app.get(SERVICE);
  await app.knows(['one', 'two']);
  return { mesh, app, one, first };
}

/** Asks until this worker answers; resolves with the Unix ms of that. No request may fail meanwhile. */
async function usedAtMs(app: SidecarProcess, worker: string): Promise<number> {
  return await eventually(
    `${worker} is used`,
    async () => {
      const answer = await app.get(SERVICE);
      assert.equal(answer.status, 200, answer.body);
      return answer.headers['sidecar-worker'] === worker ? Date.now() : 0;
    },
    (atMs) => atMs > 0,
  );
}

function assertUsedSoon(t: TestContext, ready: LogLine, usedMs: number): void {
  const tookMs = usedMs - saidAtMs(ready);
  t.diagnostic(`used ${tookMs} ms after it was ready`);
  assert.ok(tookMs <= USED_AFTER_MS, `used ${tookMs} ms after it was ready`);
}

test('a worker that is killed is withdrawn without a request, and used again 2 s after it is back', async (t) => {
  const { mesh, app, one, first } = await fleet(t);
  const diedMs = Date.now();
  await first.process.kill();
  const withdrawn = await one.logged({ service: SERVICE, state: 'warming' }, diedMs);
  assert.ok(saidAtMs(withdrawn) - diedMs <= 2 * INTERVAL_MS, `after ${saidAtMs(withdrawn) - diedMs} ms`);
  await app.knows(['one'], 'warming');
  for (let at = 0; at < 20; at++) {
    const answer = await app.get(SERVICE);
    assert.deepEqual([answer.status, answer.headers['sidecar-worker']], [200, 'two']);
    assert.equal(answer.headers['sidecar-attempts'], '1');
  }
  const sinceMs = Date.now();
  await mesh.worker('one', first.port);
  const used = usedAtMs(app, 'one');
  assertUsedSoon(t, await one.logged({ service: SERVICE, state: 'ready' }, sinceMs), await used);
  assert.equal((await app.stats()).failed_requests, 0);
});

test('a worker that hangs is withdrawn within two health intervals, and comes back by itself', async (t) => {
  const { app, one, first } = await fleet(t);
  const stoppedMs = Date.now();
  first.process.signal('SIGSTOP');
  t.after(() => first.process.signal('SIGCONT'));
  const withdrawn = await one.logged({ service: SERVICE, state: 'warming' }, stoppedMs);
  const tookMs = saidAtMs(withdrawn) - stoppedMs;
  t.diagnostic(`withdrawn after ${tookMs} ms`);
  assert.ok(tookMs <= 2 * INTERVAL_MS, `withdrawn after ${tookMs} ms`);
  await app.knows(['one'], 'warming');
  const answer = await app.get(SERVICE);
  assert.deepEqual([answer.status, answer.headers['sidecar-worker']], [200, 'two']);
  const sinceMs = Date.now();
  first.process.signal('SIGCONT');
  const used = usedAtMs(app, 'one');
  assertUsedSoon(t, await one.logged({ service: SERVICE, state: 'ready' }, sinceMs), await used);
});

for (const keepsKey of [false, true]) {
  for (const isSamePlace of [true, false]) {
    const how = `with ${keepsKey ? 'its' : 'a new'} key at ${isSamePlace ? 'the same' : 'new'} ports`;
    test(`killed with its sidecar and started again ${how}, it is used 2 s after it is ready`, async (t) => {
      const state = await mkdtemp(join(tmpdir(), 'dht-sidecar-state-'));
      t.after(() => rm(state, { recursive: true, force: true }));
      const env = keepsKey ? { SIDECAR_STATE_DIR: state } : {};
      const { mesh, app, one, first } = await fleet(t, env);
      await Promise.all([first.process.kill(), one.process.kill()]);
      for (let at = 0; at < 10; at++) assert.equal((await app.get(SERVICE)).status, 200);
      const sinceMs = Date.now();
      const worker = await mesh.worker('one', isSamePlace ? first.port : 0);
      const address = isSamePlace ? { address: one.address } : {};
      const again = mesh.start({ id: 'one', services: service(worker), env, ...address });
      const used = usedAtMs(app, 'one');
      const ready = await (await again).logged({ service: SERVICE, state: 'ready' }, sinceMs);
      assertUsedSoon(t, ready, await used);
      assert.equal((await app.stats()).failed_requests, 0);
    });
  }
}

test('a worker that loads for long is known, announced and not chosen, and no limit makes it a dead one', async (t) => {
  const mesh = await MeshProcesses.up(t);
  const loading = await mesh.worker('loading');
  await loading.set({ health: 'failing' });
  // Ten minutes by default; what is said when they are over is said here after a second.
  const setup = { url: loading.url, health: { path: '/health', interval: '100ms' }, warmingLimit: '1s' };
  const [gpu, app] = await Promise.all([
    mesh.start({ id: 'gpu', services: { [SERVICE]: setup } }),
    mesh.sidecar({ id: 'app', config: { cache: { ttl: '1s' } } }),
  ]);
  await gpu.process.line(({ storers }) => (typeof storers === 'number' ? true : null));
  const isWarming = async (): Promise<void> => {
    const answer = await app.get(SERVICE);
    const { code } = JSON.parse(answer.body) as { code: string };
    assert.deepEqual([answer.status, code], [503, 'warming'], answer.body);
    assert.ok(Number(answer.headers['retry-after']) > 0);
  };
  await eventually(
    'it is known',
    () => app.get(SERVICE),
    ({ body }) => body.includes('warming'),
  );
  await gpu.logged({ level: 'error', service: SERVICE });
  // Several times the TTL after that: by probes, not by luck.
  const untilMs = performance.now() + 4_000;
  while (performance.now() < untilMs) {
    await isWarming();
    const [peer] = await app.peers();
    assert.deepEqual([peer?.worker_id, peer?.state], ['gpu', 'warming']);
    await pause(100); // the time itself is what is tested
  }
  assert.equal((await loading.seen()).length, 0, 'no request came to it');
  const readyMs = Date.now();
  await loading.set({ health: 'ok' });
  await eventually(
    'it is used',
    () => app.get(SERVICE),
    ({ status }) => status === 200,
  );
  assertUsedSoon(t, await gpu.logged({ service: SERVICE, state: 'ready' }, readyMs), Date.now());
});
