/** A worker killed with its sidecar: the next requests go elsewhere, and it is used again when it is back. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { eventually } from '../support/eventually.ts';
import { MeshProcesses } from '../support/mesh-processes.ts';

const SERVICE = 'llm-inference';

test('a killed worker is left out at once, and used again when it is back', async (t) => {
  const mesh = await MeshProcesses.up(t);
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
    assert.equal(answer.status, 200, answer.body);
    assert.equal(answer.headers['sidecar-worker'], 'two');
  }
  await app.forgets('one');

  const again = await mesh.worker('one', first.port);
  await mesh.restart(one);
  await eventually(
    'the worker that is back is used',
    () => app.get(SERVICE, '/?id=again'),
    (answer) => answer.headers['sidecar-worker'] === 'one',
  );
  assert.equal((await again.seen('again')).length, 1);
  assert.equal((await app.stats()).failed_requests, 0);
  assert.equal(await two.stop(), 'exit code 0');
});

test('a GET that waits at a worker that dies is answered by another', async (t) => {
  const mesh = await MeshProcesses.up(t);
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
  assert.equal(status, 200, body);
  assert.equal(headers['sidecar-attempts'], '2');
  assert.equal((await other.seen('waiting')).length, 1);
  assert.equal((await app.stats()).failed_requests, 0);
});
