/** A worker killed with its sidecar: the next requests go elsewhere, and it is used again when it is back. */
import { describe, expect, test } from '@jest/globals';
import { MeshProcesses } from '../support/meshes/mesh-processes.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';

const SERVICE = 'llm-inference';

describe('a worker killed with its sidecar', () => {
  test('a killed worker is left out at once, and used again when it is back', async () => {
    const mesh = await MeshProcesses.up();
    const [first, second] = await Promise.all([mesh.worker('one'), mesh.worker('two')]);
    const [one, two, app] = await Promise.all([
      mesh.sidecar({ id: 'one', services: { [SERVICE]: first.url } }),
      mesh.sidecar({ id: 'two', services: { [SERVICE]: second.url } }),
      mesh.sidecar({ id: 'app', config: { cache: { ttl: '2s' } } }),
    ]);
    await app.get(SERVICE, '/?id=warm');
    await app.knows(['one', 'two']);

    await Promise.all([first.process.kill(), one.process.kill()]);
    for (let at = 1; at <= 20; at++) {
      const answer = await app.get(SERVICE, `/?id=after-${at}`);
      expectNamed(answer.status, answer.body).toBe(200);
      expect(answer.headers['sidecar-worker']).toBe('two');
    }
    await app.forgets('one');

    const again = await mesh.worker('one', first.port);
    await mesh.restart(one);
    await eventually(
      'the worker that is back is used',
      () => app.get(SERVICE, '/?id=again'),
      (answer) => answer.headers['sidecar-worker'] === 'one',
    );
    expect(await again.seen('again')).toHaveLength(1);
    expect((await app.stats()).failed_requests).toBe(0);
    expect(await two.stop()).toBe('exit code 0');
  });

  test('a GET that waits at a worker that dies is answered by another', async () => {
    const mesh = await MeshProcesses.up();
    const [first, second] = await Promise.all([mesh.worker('one'), mesh.worker('two')]);
    const [one, two, app] = await Promise.all([
      mesh.sidecar({ id: 'one', services: { [SERVICE]: first.url } }),
      mesh.sidecar({ id: 'two', services: { [SERVICE]: second.url } }),
      mesh.sidecar({ id: 'app' }),
    ]);
    await app.get(SERVICE, '/?id=warm');
    await app.knows(['one', 'two']);
    await Promise.all([first, second].map((worker) => worker.set({ mode: 'hang' })));
    const answer = app.get(SERVICE, '/?id=waiting');
    const [died, dead, other] = await Promise.race([
      first.when('waiting').then(() => [first, one, second] as const),
      second.when('waiting').then(() => [second, two, first] as const),
    ]);
    await other.set({ mode: 'echo' });
    await Promise.all([died.process.kill(), dead.process.kill()]);
    const { headers, status, body } = await answer;
    expectNamed(status, body).toBe(200);
    expect(headers['sidecar-attempts']).toBe('2');
    expect(await other.seen('waiting')).toHaveLength(1);
    expect((await app.stats()).failed_requests).toBe(0);
  });
});
