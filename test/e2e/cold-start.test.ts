/** The first moments of a sidecar: it listens at once, and a request waits for discovery, but not for ever. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { eventually } from '../support/eventually.ts';
import type { Answer } from '../support/http-client.ts';
import { MeshProcesses } from '../support/mesh-processes.ts';

const SERVICE = 'llm-inference';

/** Time that this test's own processes need, on a busy machine, for what should take none. */
const BUSY_MS = 1_000;

async function timed(call: Promise<Answer>): Promise<{ answer: Answer; tookMs: number }> {
  const startedMs = performance.now();
  const answer = await call;
  return { answer, tookMs: performance.now() - startedMs };
}

function assertRefused({ status, headers, body }: Answer, code: string): void {
  assert.equal(status, 503, body);
  assert.equal((JSON.parse(body) as { code: string }).code, code, body);
  assert.ok(Number(headers['retry-after']) > 0);
}

test('with a DHT that is silent it listens, serves its own worker, and asks an app to come again after 3 s', async (t) => {
  const mesh = await MeshProcesses.up(t);
  const own = await mesh.worker('own');
  mesh.bootstrap.signal('SIGSTOP');
  t.after(() => mesh.bootstrap.signal('SIGCONT'));
  const app = await mesh.start({ id: 'app', services: { own: own.url } });
  const cold = timed(app.get(SERVICE));
  await app.logged({ service: 'own', state: 'ready' });
  const local = await timed(app.get('own'));
  assert.equal(local.answer.status, 200);
  assert.ok(local.tookMs < BUSY_MS, `its own worker is not looked up: ${local.tookMs} ms`);
  assert.equal((await app.admin('/livez')).status, 200);
  const { answer, tookMs } = await cold;
  assertRefused(answer, 'discovery_unavailable');
  assert.ok(tookMs > 2_500 && tookMs < 3_000 + BUSY_MS, `${tookMs} ms`);
});

test('how long the first request waits is configured', async (t) => {
  const mesh = await MeshProcesses.up(t);
  mesh.bootstrap.signal('SIGSTOP');
  t.after(() => mesh.bootstrap.signal('SIGCONT'));
  const app = await mesh.start({ id: 'app', env: { SIDECAR_FIRST_LOOKUP_WAIT: '300ms' } });
  const { answer, tookMs } = await timed(app.get(SERVICE));
  assertRefused(answer, 'discovery_unavailable');
  assert.ok(tookMs >= 300 && tookMs < 300 + BUSY_MS, `${tookMs} ms`);
});

test('a request that waits is answered as soon as the first worker is found', async (t) => {
  const mesh = await MeshProcesses.up(t);
  const worker = await mesh.worker('one');
  await mesh.sidecar({ id: 'one', services: { [SERVICE]: worker.url } });
  mesh.bootstrap.signal('SIGSTOP');
  t.after(() => mesh.bootstrap.signal('SIGCONT'));
  const app = await mesh.start({ id: 'app', env: { SIDECAR_FIRST_LOOKUP_WAIT: '30s' } });
  const cold = timed(app.get(SERVICE, '/?id=cold'));
  await eventually(
    'it waits for a lookup',
    () => app.stats(),
    (stats) => stats.cache_misses === 1,
  );
  mesh.bootstrap.signal('SIGCONT');
  const { answer, tookMs } = await cold;
  assert.deepEqual([answer.status, answer.headers['sidecar-worker']], [200, 'one'], answer.body);
  assert.ok(tookMs < 15_000, `${tookMs} ms: not the whole of its time`);
  assert.equal((await worker.seen('cold')).length, 1);
});

test('with a DHT that answers, and nobody who offers it, that is said at once', async (t) => {
  const mesh = await MeshProcesses.up(t);
  const other = await mesh.worker('other');
  await mesh.sidecar({ id: 'other', services: { other: other.url } });
  const app = await mesh.sidecar({ id: 'app' });
  const { answer, tookMs } = await timed(app.get(SERVICE));
  assertRefused(answer, 'no_peers');
  assert.ok(tookMs < 3_000, `${tookMs} ms`);
});
