/** A worker dies, hangs, loads for long and comes back behind its living sidecar: how soon callers know. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import type { LogLine } from '../../sidecar/demo/tied-process.ts';
import { MeshProcesses } from '../support/meshes/mesh-processes.ts';
import { type SidecarProcess, saidAtMs } from '../support/meshes/sidecar-process.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { note } from '../support/runner/note.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import type { WorkerProcess } from '../support/workers/worker-process.ts';

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

async function fleet(env: Readonly<Record<string, string>> = {}): Promise<Fleet> {
  const mesh = await MeshProcesses.up();
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
      expectNamed(answer.status, answer.body).toBe(200);
      return answer.headers['sidecar-worker'] === worker ? Date.now() : 0;
    },
    (atMs) => atMs > 0,
  );
}

function assertUsedSoon(ready: LogLine, usedMs: number): void {
  const tookMs = usedMs - saidAtMs(ready);
  note(`used ${tookMs} ms after it was ready`);
  expectNamed(tookMs, `used ${tookMs} ms after it was ready`).toBeLessThanOrEqual(USED_AFTER_MS);
}

describe('a worker that dies behind its living sidecar', () => {
  test('a worker that is killed is withdrawn without a request, and used again 2 s after it is back', async () => {
    const { mesh, app, one, first } = await fleet();
    const diedMs = Date.now();
    await first.process.kill();
    const withdrawn = await one.logged({ service: SERVICE, state: 'warming' }, diedMs);
    expectNamed(saidAtMs(withdrawn) - diedMs, `after ${saidAtMs(withdrawn) - diedMs} ms`).toBeLessThanOrEqual(
      2 * INTERVAL_MS,
    );
    await app.knows(['one'], 'warming');
    for (let at = 0; at < 20; at++) {
      const answer = await app.get(SERVICE);
      expect([answer.status, answer.headers['sidecar-worker']]).toStrictEqual([200, 'two']);
      expect(answer.headers['sidecar-attempts']).toBe('1');
    }
    const sinceMs = Date.now();
    await mesh.worker('one', first.port);
    const used = usedAtMs(app, 'one');
    assertUsedSoon(await one.logged({ service: SERVICE, state: 'ready' }, sinceMs), await used);
    expect((await app.stats()).failed_requests).toBe(0);
  });

  test('a worker that hangs is withdrawn within two health intervals, and comes back by itself', async () => {
    const { app, one, first } = await fleet();
    const stoppedMs = Date.now();
    first.process.signal('SIGSTOP');
    onTestEnd(() => first.process.signal('SIGCONT'));
    const withdrawn = await one.logged({ service: SERVICE, state: 'warming' }, stoppedMs);
    const tookMs = saidAtMs(withdrawn) - stoppedMs;
    note(`withdrawn after ${tookMs} ms`);
    expectNamed(tookMs, `withdrawn after ${tookMs} ms`).toBeLessThanOrEqual(2 * INTERVAL_MS);
    await app.knows(['one'], 'warming');
    const answer = await app.get(SERVICE);
    expect([answer.status, answer.headers['sidecar-worker']]).toStrictEqual([200, 'two']);
    const sinceMs = Date.now();
    first.process.signal('SIGCONT');
    const used = usedAtMs(app, 'one');
    assertUsedSoon(await one.logged({ service: SERVICE, state: 'ready' }, sinceMs), await used);
  });

  for (const keepsKey of [false, true]) {
    for (const isSamePlace of [true, false]) {
      const how = `with ${keepsKey ? 'its' : 'a new'} key at ${isSamePlace ? 'the same' : 'new'} ports`;
      test(`killed with its sidecar and started again ${how}, it is used 2 s after it is ready`, async () => {
        const state = await mkdtemp(join(tmpdir(), 'dht-sidecar-state-'));
        onTestEnd(() => rm(state, { recursive: true, force: true }));
        const env = keepsKey ? { SIDECAR_STATE_DIR: state } : {};
        const { mesh, app, one, first } = await fleet(env);
        await Promise.all([first.process.kill(), one.process.kill()]);
        for (let at = 0; at < 10; at++) expect((await app.get(SERVICE)).status).toBe(200);
        const sinceMs = Date.now();
        const worker = await mesh.worker('one', isSamePlace ? first.port : 0);
        const address = isSamePlace ? { address: one.address } : {};
        const again = mesh.start({ id: 'one', services: service(worker), env, ...address });
        const used = usedAtMs(app, 'one');
        const ready = await (await again).logged({ service: SERVICE, state: 'ready' }, sinceMs);
        assertUsedSoon(ready, await used);
        expect((await app.stats()).failed_requests).toBe(0);
      });
    }
  }

  test('a worker that loads for long is known, announced and not chosen, and no limit makes it a dead one', async () => {
    const mesh = await MeshProcesses.up();
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
      expectNamed([answer.status, code], answer.body).toStrictEqual([503, 'warming']);
      expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
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
      expect([peer?.worker_id, peer?.state]).toStrictEqual(['gpu', 'warming']);
      await pause(100); // the time itself is what is tested
    }
    expectNamed(await loading.seen(), 'no request came to it').toHaveLength(0);
    const readyMs = Date.now();
    await loading.set({ health: 'ok' });
    await eventually(
      'it is used',
      () => app.get(SERVICE),
      ({ status }) => status === 200,
    );
    assertUsedSoon(await gpu.logged({ service: SERVICE, state: 'ready' }, readyMs), Date.now());
  });
});
