/** A worker that is not ready is not chosen; `/readyz` and the responses themselves say what is the matter. */
import { describe, expect, test } from '@jest/globals';
import { TestMesh } from '../support/meshes/mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import type { Answer } from '../support/wire/http-client.ts';
import { type HttpWorker, startHttpWorker } from '../support/workers/http-worker.ts';

interface Problem {
  readonly code: string;
  readonly service: string;
  readonly detail: string;
  readonly attempts: readonly {
    readonly peer: string;
    readonly route: string;
    readonly code: string;
    readonly reason: string;
  }[];
}

interface ReadyJson {
  readonly ready: boolean;
  readonly peers_known: number;
  readonly reasons: readonly { readonly code: string; readonly hint: string }[];
}

function problemOf(answer: Answer, status: number): Problem {
  expectNamed(answer.status, answer.body).toBe(status);
  expect(answer.headers['content-type']).toBe('application/problem+json');
  return JSON.parse(answer.body) as Problem;
}

const service = ({ url }: HttpWorker) => ({
  'llm-inference': { url, health: { path: '/health', interval: '100ms' } },
});

describe('a worker that is not ready', () => {
  test('a worker that still loads is known and not chosen, until it is healthy', async () => {
    const mesh = new TestMesh();
    const [ready, loading] = [await startHttpWorker(), await startHttpWorker()];
    loading.isHealthy = false;
    await mesh.join({ id: 'worker-ready', services: service(ready) });
    const late = await mesh.start({ id: 'worker-loading', services: service(loading) });
    await late.isAnnounced();
    const cpu = await mesh.join({ id: 'worker-cpu-001', env: { SIDECAR_PROBE_FEW_INTERVAL: '200ms' } });

    await cpu.get('llm-inference');
    await cpu.knows(['worker-loading'], 'warming');
    for (let i = 0; i < 20; i++) {
      const answer = await cpu.get('llm-inference');
      expect(answer.headers['sidecar-worker']).toBe('worker-ready');
    }
    const { body } = await cpu.admin('/explain?service=llm-inference');
    expect(body).toMatch(/warming/);
    expect(loading.seen).toHaveLength(0);

    loading.isHealthy = true;
    await eventually(
      'it is chosen',
      () => cpu.get('llm-inference'),
      ({ headers }) => headers['sidecar-worker'] === 'worker-loading',
    );
    ready.isHealthy = false;
    await cpu.knows(['worker-ready'], 'warming');
    const before = ready.seen.length;
    for (let i = 0; i < 10; i++) expect((await cpu.get('llm-inference')).status).toBe(200);
    expectNamed(ready.seen, 'who falls ill is not chosen any more').toHaveLength(before);
    expect((await cpu.stats()).failed_requests).toBe(0);
  });

  test('when nobody is ready the response is 503 warming, and says when to come back', async () => {
    const mesh = new TestMesh();
    const loading = await startHttpWorker();
    loading.isHealthy = false;
    const gpu = await mesh.start({ id: 'worker-loading', services: service(loading) });
    await gpu.isAnnounced();
    const cpu = await mesh.join({ id: 'worker-cpu-001', env: { SIDECAR_PROBE_FEW_INTERVAL: '200ms' } });
    const answer = await cpu.get('llm-inference');
    const problem = problemOf(answer, 503);
    expect(problem.code).toBe('warming');
    expect(problem.service).toBe('llm-inference');
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
    expect(String(answer.headers['proxy-status'])).toMatch(/warming/);

    // Its own app is told the same, with the worker's own reason.
    const local = problemOf(await gpu.get('llm-inference'), 503);
    expect(local.code).toBe('warming');
    expect(local.attempts.map(({ peer, route, code }) => ({ peer, route, code }))).toStrictEqual([
      { peer: 'worker-loading', route: 'local', code: 'warming' },
    ]);
    expect(local.attempts[0]?.reason ?? '').toMatch(/GET \/health gave 503/);

    loading.isHealthy = true;
    await eventually(
      'it is served',
      () => cpu.get('llm-inference'),
      ({ status }) => status === 200,
    );
  });

  test('readyz: 503 while alone, with what to do; 200 when another member is known', async () => {
    const mesh = new TestMesh();
    const first = await mesh.join({ id: 'worker-1' });
    const alone = await first.admin('/readyz');
    expect(alone.status).toBe(503);
    const said = JSON.parse(alone.body) as ReadyJson;
    expect(said.ready).toBe(false);
    expect(said.reasons.map(({ code }) => code)).toStrictEqual(['no_other_member']);
    const { host, port } = first.running.dht;
    expectNamed(
      said.reasons[0]?.hint.includes(`SIDECAR_BOOTSTRAP=${host}:${port}`),
      said.reasons[0]?.hint,
    ).toBeTruthy();
    expect((await first.admin('/livez')).status).toBe(200);

    const second = await mesh.join({ id: 'worker-2' });
    for (const member of [first, second]) {
      const { body } = await eventually(
        `${member.id} is ready`,
        () => member.admin('/readyz'),
        ({ status }) => status === 200,
      );
      expect((JSON.parse(body) as ReadyJson).peers_known).toBe(1);
    }
  });

  test('a 503 names each attempt, its peer, route and reason', async () => {
    const mesh = new TestMesh();
    const worker = await startHttpWorker();
    const gpus = [];
    for (const id of ['worker-gpu-001', 'worker-gpu-002']) {
      gpus.push(await mesh.join({ id, services: { 'llm-inference': worker.url } }));
    }
    const cpu = await mesh.join({ id: 'worker-cpu-001', env: { SIDECAR_PROBE_FEW_INTERVAL: '10m' } });
    await cpu.get('llm-inference');
    await cpu.knows(['worker-gpu-001', 'worker-gpu-002']);
    // Closed and not withdrawn, as the caller sees it: it has no news of them.
    await Promise.all(gpus.map((gpu) => gpu.running.stop()));

    const answer = await cpu.call({ method: 'POST', target: '/service/llm-inference/', body: 'x' });
    const problem = problemOf(answer, 502);
    expect(problem.code).toBe('connect_failed');
    expect(answer.headers['sidecar-attempts']).toBe('2');
    expect(problem.attempts.map(({ peer, route, code }) => `${peer} ${route} ${code}`).sort()).toStrictEqual([
      'worker-gpu-001 vpn connect_failed',
      'worker-gpu-002 vpn connect_failed',
    ]);
    for (const { reason } of problem.attempts) expect(reason).toMatch(/ECONNREFUSED/);
    const request = String(answer.headers['sidecar-request-id']);
    const explained = await cpu.admin(`/explain?request=${request}`);
    expect(explained.status).toBe(200);
    expect(explained.body).toMatch(/worker-gpu-001/);
  });

  test('sidecar-explain shows the decision of this very request', async () => {
    const mesh = new TestMesh();
    const worker = await startHttpWorker();
    await mesh.join({ id: 'worker-gpu-001', services: { 'llm-inference': worker.url } });
    const cpu = await mesh.join({ id: 'worker-cpu-001' });
    const answer = await cpu.call({
      target: '/service/llm-inference/',
      headers: { 'sidecar-explain': '1' },
    });
    expect(answer.status).toBe(200);
    const decision = JSON.parse(String(answer.headers['sidecar-decision'])) as { candidates: unknown[] };
    expect(decision.candidates).toHaveLength(1);
    expect(String(answer.headers['sidecar-decision'])).toMatch(/worker-gpu-001/);
  });
});
