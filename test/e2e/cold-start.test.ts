/** The first moments of a sidecar: it listens at once, and a request waits for discovery, but not for ever. */
import { describe, expect, test } from '@jest/globals';
import { MeshProcesses } from '../support/meshes/mesh-processes.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import type { Answer } from '../support/wire/http-client.ts';

const SERVICE = 'llm-inference';

/** Time that this test's own processes need, on a busy machine, for what should take none. */
const BUSY_MS = 1_000;

async function timed(call: Promise<Answer>): Promise<{ answer: Answer; tookMs: number }> {
  const startedMs = performance.now();
  const answer = await call;
  return { answer, tookMs: performance.now() - startedMs };
}

function assertRefused({ status, headers, body }: Answer, code: string): void {
  expectNamed(status, body).toBe(503);
  expectNamed((JSON.parse(body) as { code: string }).code, body).toBe(code);
  expect(Number(headers['retry-after'])).toBeGreaterThan(0);
}

describe('the first moments of a sidecar', () => {
  test('with a DHT that is silent it listens, serves its own worker, and asks an app to come again after 3 s', async () => {
    const mesh = await MeshProcesses.up();
    const own = await mesh.worker('own');
    mesh.bootstrap.signal('SIGSTOP');
    onTestEnd(() => mesh.bootstrap.signal('SIGCONT'));
    const app = await mesh.start({ id: 'app', services: { own: own.url } });
    const cold = timed(app.get(SERVICE));
    await app.logged({ service: 'own', state: 'ready' });
    const local = await timed(app.get('own'));
    expect(local.answer.status).toBe(200);
    expectNamed(local.tookMs, `its own worker is not looked up: ${local.tookMs} ms`).toBeLessThan(BUSY_MS);
    expect((await app.admin('/livez')).status).toBe(200);
    const { answer, tookMs } = await cold;
    assertRefused(answer, 'discovery_unavailable');
    expectNamed(tookMs, `${tookMs} ms`).toBeGreaterThan(2_500);
    expectNamed(tookMs, `${tookMs} ms`).toBeLessThan(3_000 + BUSY_MS);
  });

  test('how long the first request waits is configured', async () => {
    const mesh = await MeshProcesses.up();
    mesh.bootstrap.signal('SIGSTOP');
    onTestEnd(() => mesh.bootstrap.signal('SIGCONT'));
    const app = await mesh.start({ id: 'app', env: { SIDECAR_FIRST_LOOKUP_WAIT: '300ms' } });
    const { answer, tookMs } = await timed(app.get(SERVICE));
    assertRefused(answer, 'discovery_unavailable');
    expectNamed(tookMs, `${tookMs} ms`).toBeGreaterThanOrEqual(300);
    expectNamed(tookMs, `${tookMs} ms`).toBeLessThan(300 + BUSY_MS);
  });

  test('a request that waits is answered as soon as the first worker is found', async () => {
    const mesh = await MeshProcesses.up();
    const worker = await mesh.worker('one');
    await mesh.sidecar({ id: 'one', services: { [SERVICE]: worker.url } });
    mesh.bootstrap.signal('SIGSTOP');
    onTestEnd(() => mesh.bootstrap.signal('SIGCONT'));
    const app = await mesh.start({ id: 'app', env: { SIDECAR_FIRST_LOOKUP_WAIT: '30s' } });
    const cold = timed(app.get(SERVICE, '/?id=cold'));
    await eventually(
      'it waits for a lookup',
      () => app.stats(),
      (stats) => stats.cache_misses === 1,
    );
    mesh.bootstrap.signal('SIGCONT');
    const { answer, tookMs } = await cold;
    expectNamed([answer.status, answer.headers['sidecar-worker']], answer.body).toStrictEqual([200, 'one']);
    expectNamed(tookMs, `${tookMs} ms: not the whole of its time`).toBeLessThan(15_000);
    expect(await worker.seen('cold')).toHaveLength(1);
  });

  test('with a DHT that answers, and nobody who offers it, that is said at once', async () => {
    const mesh = await MeshProcesses.up();
    const other = await mesh.worker('other');
    await mesh.sidecar({ id: 'other', services: { other: other.url } });
    const app = await mesh.sidecar({ id: 'app' });
    const { answer, tookMs } = await timed(app.get(SERVICE));
    assertRefused(answer, 'no_peers');
    expectNamed(tookMs, `${tookMs} ms`).toBeLessThan(3_000);
  });
});
