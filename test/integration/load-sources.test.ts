/** Sources of load in a whole sidecar: each word of a worker reaches those who ask, by its own way, and goes again. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { eventually } from '../support/eventually.ts';
import { send } from '../support/http-client.ts';
import { startHttpWorker } from '../support/http-worker.ts';
import { type Member, TestMesh } from '../support/mesh.ts';

interface ServiceLoad {
  readonly service: string;
  readonly load: number;
  readonly source: string;
  readonly by_source: Readonly<Record<string, number | null>>;
}

async function loadOf(member: Member, service: string): Promise<ServiceLoad> {
  const { services } = JSON.parse((await member.admin('/load')).body) as { services: ServiceLoad[] };
  return services.find((each) => each.service === service) ?? assert.fail(`${service} is not there`);
}

/** A page of metrics in place of each response. */
function vllmPage(figures: { running: number }) {
  return (_seen: unknown, response: { end(body: string): void; destroy(): void }): void => {
    if (figures.running < 0) response.destroy();
    else response.end(`vllm:num_requests_running{engine="0"} ${figures.running}\n`);
  };
}

test('a worker says its load by header, push and metrics; the highest counts and is named', async (t) => {
  const figures = { running: 2 };
  const page = await startHttpWorker(t, { answer: vllmPage(figures) });
  const worker = await startHttpWorker(t, { load: 0.3 });
  const load = { source: 'worker', metricsUrl: `${page.url}/metrics`, interval: '100ms' };
  const member = await new TestMesh(t).join({
    id: 'a',
    services: { infer: { url: worker.url, concurrency: 4, load } },
  });

  await eventually(
    'the page counts',
    () => loadOf(member, 'infer'),
    ({ source }) => source === 'metrics',
  );
  assert.equal((await loadOf(member, 'infer')).load, 0.5);

  await member.get('infer');
  assert.equal((await loadOf(member, 'infer')).by_source.orca, 0.3);
  assert.equal((await loadOf(member, 'infer')).source, 'metrics', 'the higher one');

  const put = await send(member.running.admin, { method: 'PUT', target: '/load', body: '{"load":0.9}' });
  assert.deepEqual([put.status, JSON.parse(put.body).counts_for_s], [200, 30]);
  const pushed = await loadOf(member, 'infer');
  assert.deepEqual([pushed.load, pushed.source], [0.9, 'push']);

  figures.running = -1;
  await eventually(
    'the page is dropped',
    () => loadOf(member, 'infer'),
    ({ by_source }) => by_source.metrics === null,
  );
  const failures = () => member.log.filter(({ message }) => message.startsWith('load source failed'));
  assert.deepEqual(
    failures().map(({ source, service }) => [source, service]),
    [['metrics', 'infer']],
  );
  figures.running = 4;
  await eventually(
    'the page is back',
    () => loadOf(member, 'infer'),
    ({ by_source }) => by_source.metrics === 1,
  );
  assert.equal(failures().length, 1);
});

test('a word reaches peers with the next probe, and its source the gauges', async (t) => {
  const worker = await startHttpWorker(t);
  const mesh = new TestMesh(t);
  const a = await mesh.join({ id: 'a', services: { infer: worker.url } });
  const b = await mesh.start({ id: 'b', env: { SIDECAR_PROBE_FEW_INTERVAL: '100ms' } });
  await b.knows(['a']);
  assert.equal((await b.get('infer')).status, 200);
  const put = await send(a.running.admin, {
    method: 'PUT',
    target: '/load',
    body: '{"service":"infer","load":0.875}',
  });
  assert.equal(put.status, 200);
  const metrics = (await a.admin('/metrics')).body;
  assert.match(metrics, /sidecar_load_source_ratio\{[^}]*source="push"[^}]*\} 0\.875/);
  await eventually(
    'b hears of it',
    async () => JSON.parse((await b.admin('/explain?service=infer')).body).candidates[0].reported,
    ({ load }) => load === 0.875,
  );
});
