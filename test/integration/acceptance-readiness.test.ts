/** A worker that is not ready is not chosen; `/readyz` and the responses themselves say what is the matter. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { eventually } from '../support/eventually.ts';
import type { Answer } from '../support/http-client.ts';
import { type HttpWorker, startHttpWorker } from '../support/http-worker.ts';
import { TestMesh } from '../support/mesh.ts';

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
  assert.equal(answer.status, status, answer.body);
  assert.equal(answer.headers['content-type'], 'application/problem+json');
  return JSON.parse(answer.body) as Problem;
}

const service = ({ url }: HttpWorker) => ({
  'llm-inference': { url, health: { path: '/health', interval: '100ms' } },
});

test('a worker that still loads is known and not chosen, until it is healthy', async (t) => {
  const mesh = new TestMesh(t);
  const [ready, loading] = [await startHttpWorker(t), await startHttpWorker(t)];
  loading.isHealthy = false;
  await mesh.join({ id: 'worker-ready', services: service(ready) });
  const late = await mesh.start({ id: 'worker-loading', services: service(loading) });
  await late.isAnnounced();
  const cpu = await mesh.join({ id: 'worker-cpu-001', env: { SIDECAR_PROBE_FEW_INTERVAL: '200ms' } });

  await cpu.get('llm-inference');
  await cpu.knows(['worker-loading'], 'warming');
  for (let i = 0; i < 20; i++) {
    const answer = await cpu.get('llm-inference');
    assert.equal(answer.headers['sidecar-worker'], 'worker-ready');
  }
  const { body } = await cpu.admin('/explain?service=llm-inference');
  assert.match(body, /warming/);
  assert.equal(loading.seen.length, 0);

  loading.isHealthy = true;
  await eventually(
    'it is chosen',
    () => cpu.get('llm-inference'),
    ({ headers }) => headers['sidecar-worker'] === 'worker-loading',
  );
  ready.isHealthy = false;
  await cpu.knows(['worker-ready'], 'warming');
  const before = ready.seen.length;
  for (let i = 0; i < 10; i++) assert.equal((await cpu.get('llm-inference')).status, 200);
  assert.equal(ready.seen.length, before, 'who falls ill is not chosen any more');
  assert.equal((await cpu.stats()).failed_requests, 0);
});

test('when nobody is ready the response is 503 warming, and says when to come back', async (t) => {
  const mesh = new TestMesh(t);
  const loading = await startHttpWorker(t);
  loading.isHealthy = false;
  const gpu = await mesh.start({ id: 'worker-loading', services: service(loading) });
  await gpu.isAnnounced();
  const cpu = await mesh.join({ id: 'worker-cpu-001', env: { SIDECAR_PROBE_FEW_INTERVAL: '200ms' } });
  const answer = await cpu.get('llm-inference');
  const problem = problemOf(answer, 503);
  assert.equal(problem.code, 'warming');
  assert.equal(problem.service, 'llm-inference');
  assert.ok(Number(answer.headers['retry-after']) > 0);
  assert.match(String(answer.headers['proxy-status']), /warming/);

  // Its own app is told the same, with the worker's own reason.
  const local = problemOf(await gpu.get('llm-inference'), 503);
  assert.equal(local.code, 'warming');
  assert.deepEqual(
    local.attempts.map(({ peer, route, code }) => ({ peer, route, code })),
    [{ peer: 'worker-loading', route: 'local', code: 'warming' }],
  );
  assert.match(local.attempts[0]?.reason ?? '', /GET \/health gave 503/);

  loading.isHealthy = true;
  await eventually(
    'it is served',
    () => cpu.get('llm-inference'),
    ({ status }) => status === 200,
  );
});

test('readyz: 503 while alone, with what to do; 200 when another member is known', async (t) => {
  const mesh = new TestMesh(t);
  const first = await mesh.join({ id: 'worker-1' });
  const alone = await first.admin('/readyz');
  assert.equal(alone.status, 503);
  const said = JSON.parse(alone.body) as ReadyJson;
  assert.equal(said.ready, false);
  assert.deepEqual(
    said.reasons.map(({ code }) => code),
    ['no_other_member'],
  );
  const { host, port } = first.running.dht;
  assert.ok(said.reasons[0]?.hint.includes(`SIDECAR_BOOTSTRAP=${host}:${port}`), said.reasons[0]?.hint);
  assert.equal((await first.admin('/livez')).status, 200);

  const second = await mesh.join({ id: 'worker-2' });
  for (const member of [first, second]) {
    const { body } = await eventually(
      `${member.id} is ready`,
      () => member.admin('/readyz'),
      ({ status }) => status === 200,
    );
    assert.equal((JSON.parse(body) as ReadyJson).peers_known, 1);
  }
});

test('a 503 names each attempt, its peer, route and reason', async (t) => {
  const mesh = new TestMesh(t);
  const worker = await startHttpWorker(t);
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
  assert.equal(problem.code, 'connect_failed');
  assert.equal(answer.headers['sidecar-attempts'], '2');
  assert.deepEqual(problem.attempts.map(({ peer, route, code }) => `${peer} ${route} ${code}`).sort(), [
    'worker-gpu-001 vpn connect_failed',
    'worker-gpu-002 vpn connect_failed',
  ]);
  for (const { reason } of problem.attempts) assert.match(reason, /ECONNREFUSED/);
  const request = String(answer.headers['sidecar-request-id']);
  const explained = await cpu.admin(`/explain?request=${request}`);
  assert.equal(explained.status, 200);
  assert.match(explained.body, /worker-gpu-001/);
});

test('sidecar-explain shows the decision of this very request', async (t) => {
  const mesh = new TestMesh(t);
  const worker = await startHttpWorker(t);
  await mesh.join({ id: 'worker-gpu-001', services: { 'llm-inference': worker.url } });
  const cpu = await mesh.join({ id: 'worker-cpu-001' });
  const answer = await cpu.call({
    target: '/service/llm-inference/',
    headers: { 'sidecar-explain': '1' },
  });
  assert.equal(answer.status, 200);
  const decision = JSON.parse(String(answer.headers['sidecar-decision'])) as { candidates: unknown[] };
  assert.equal(decision.candidates.length, 1);
  assert.match(String(answer.headers['sidecar-decision']), /worker-gpu-001/);
});
