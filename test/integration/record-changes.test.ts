/** A record that changes without a restart: how soon those who know it know, whether they use the service or not. */
import { describe, expect, test } from '@jest/globals';
import { type Member, TestMesh } from '../support/meshes/mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { startHttpWorker } from '../support/workers/http-worker.ts';

const health = { path: '/health', interval: '50ms', unhealthyAfter: 1 };

/** By no clock of ours: an announcement, a lookup or a probe by time come much later. */
const SLOW = { SIDECAR_PROBE_FEW_INTERVAL: '30s', SIDECAR_CACHE_TTL: '10m' };

async function bed(env: Readonly<Record<string, string>>) {
  const mesh = new TestMesh();
  const [one, two] = [await startHttpWorker(), await startHttpWorker()];
  two.isHealthy = false;
  const services = { one: { url: one.url, health }, two: { url: two.url, health } };
  const called = await mesh.start({ id: 'called', services, env });
  await called.isAnnounced();
  await eventually(
    'its first service is ready',
    () => called.get('one'),
    ({ status }) => status === 200,
  );
  const caller = await mesh.join({ id: 'caller', env });
  await caller.knows(['called']);
  return { mesh, two, called, caller };
}

async function offered(by: Member, services: readonly string[]): Promise<void> {
  await eventually(
    `${by.id} knows ${services}`,
    () => by.peers(),
    ([peer]) => String(peer?.services) === String(services),
  );
}

describe('a service that becomes ready later than the first', () => {
  test('is known to those that know its worker as soon as it is, is withdrawn, and comes back', async () => {
    const { two, caller } = await bed(SLOW);
    await offered(caller, ['one']);
    for (const isHealthy of [true, false, true]) {
      two.isHealthy = isHealthy;
      await offered(caller, isHealthy ? ['one', 'two'] : ['one']);
    }
    expect((await caller.get('two')).status).toBe(200);
  });

  test('is used within a probe by one that uses its worker', async () => {
    const { mesh, two, called } = await bed({});
    const env = { SIDECAR_PROBE_FEW_INTERVAL: '200ms' };
    const stranger = await mesh.start({ id: 'stranger', env });
    await stranger.knows(['called']);
    expect((await stranger.get('one')).status).toBe(200);
    two.isHealthy = true;
    await eventually(
      'it is used',
      () => stranger.get('two'),
      ({ status }) => status === 200,
    );
    expectNamed((await called.get('two')).status, 'as it is beside it').toBe(200);
  });
});
