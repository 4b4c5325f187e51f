/** A newcomer: known to those whom it asks, at once, and used by them without their looking it up. */
import { describe, expect, test } from '@jest/globals';
import { TestMesh } from '../support/meshes/mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { startHttpWorker } from '../support/workers/http-worker.ts';

describe('a newcomer', () => {
  test('a worker that comes is used although its service was just looked up in vain', async () => {
    // Lookups by themselves would not find it while the test runs: half a TTL is half an hour.
    const env = { SIDECAR_CACHE_TTL: '1h' };
    const mesh = new TestMesh();
    const worker = await startHttpWorker();
    const first = await mesh.join({ id: 'worker-1', services: { ocr: worker.url }, env });
    const app = await mesh.join({ id: 'app', env });
    expect((await app.get('ocr')).status).toBe(200);
    const answer = await app.get('llm-inference');
    expectNamed(answer.status, answer.body).toBe(503);

    await mesh.join({ id: 'worker-2', services: { 'llm-inference': worker.url, ocr: worker.url }, env });
    for (const member of [app, first]) {
      await eventually(
        `${member.id} has met worker-2`,
        () => member.log,
        (log) =>
          log.some(({ message, outcome }) => message === 'a newcomer introduced itself' && outcome === 'ok'),
      );
    }
    await app.knows(['worker-2']);
    const lookups = (await app.stats()).dht_lookups;
    const served = await app.get('llm-inference');
    expectNamed(served.status, served.body).toBe(200);
    expect(served.headers['sidecar-worker']).toBe('worker-2');
    // The other service too has one worker more, and nobody looked.
    await eventually(
      'ocr is served by worker-2 too',
      async () => (await app.get('ocr')).headers['sidecar-worker'],
      (worker) => worker === 'worker-2',
    );
    expect((await app.stats()).dht_lookups).toBeLessThanOrEqual(lookups + 1);
  });

  test('what is no address is no introduction', async () => {
    const mesh = new TestMesh();
    const app = await mesh.join({ id: 'app' });
    await mesh.join({ id: 'hermit', vpnIp: null });
    await app.isAnnounced();
    expect(app.log.some(({ message }) => message === 'a newcomer introduced itself')).toBe(false);
  });
});
