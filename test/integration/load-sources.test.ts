/** Sources of load in a whole sidecar: each word of a worker reaches those who ask, by its own way, and goes again. */
import { describe, expect, test } from '@jest/globals';
import { type Member, TestMesh } from '../support/meshes/mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed, fail } from '../support/runner/expectations.ts';
import { send } from '../support/wire/http-client.ts';
import { startHttpWorker } from '../support/workers/http-worker.ts';

interface ServiceLoad {
  readonly service: string;
  readonly load: number;
  readonly source: string;
  readonly by_source: Readonly<Record<string, number | null>>;
}

async function loadOf(member: Member, service: string): Promise<ServiceLoad> {
  const { services } = JSON.parse((await member.admin('/load')).body) as { services: ServiceLoad[] };
  return services.find((each) => each.service === service) ?? fail(`${service} is not there`);
}

/** A page of metrics in place of each response. */
function vllmPage(figures: { running: number }) {
  return (_seen: unknown, response: { end(body: string): void; destroy(): void }): void => {
    if (figures.running < 0) response.destroy();
    else response.end(`vllm:num_requests_running{engine="0"} ${figures.running}\n`);
  };
}

describe('the sources of load in a whole sidecar', () => {
  test('a worker says its load by header, push and metrics; the highest counts and is named', async () => {
    const figures = { running: 2 };
    const page = await startHttpWorker({ answer: vllmPage(figures) });
    const worker = await startHttpWorker({ load: 0.3 });
    const load = { source: 'worker', metricsUrl: `${page.url}/metrics`, interval: '100ms' };
    const member = await new TestMesh().join({
      id: 'a',
      services: { infer: { url: worker.url, concurrency: 4, load } },
    });

    await eventually(
      'the page counts',
      () => loadOf(member, 'infer'),
      ({ source }) => source === 'metrics',
    );
    expect((await loadOf(member, 'infer')).load).toBe(0.5);

    await member.get('infer');
    expect((await loadOf(member, 'infer')).by_source.orca).toBe(0.3);
    expectNamed((await loadOf(member, 'infer')).source, 'the higher one').toBe('metrics');

    const put = await send(member.running.admin, { method: 'PUT', target: '/load', body: '{"load":0.9}' });
    expect([put.status, JSON.parse(put.body).counts_for_s]).toStrictEqual([200, 30]);
    const pushed = await loadOf(member, 'infer');
    expect([pushed.load, pushed.source]).toStrictEqual([0.9, 'push']);

    figures.running = -1;
    await eventually(
      'the page is dropped',
      () => loadOf(member, 'infer'),
      ({ by_source }) => by_source.metrics === null,
    );
    const failures = () => member.log.filter(({ message }) => message.startsWith('load source failed'));
    expect(failures().map(({ source, service }) => [source, service])).toStrictEqual([['metrics', 'infer']]);
    figures.running = 4;
    await eventually(
      'the page is back',
      () => loadOf(member, 'infer'),
      ({ by_source }) => by_source.metrics === 1,
    );
    expect(failures()).toHaveLength(1);
  });

  test('a word reaches peers with the next probe, and its source the gauges', async () => {
    const worker = await startHttpWorker();
    const mesh = new TestMesh();
    const a = await mesh.join({ id: 'a', services: { infer: worker.url } });
    const b = await mesh.start({ id: 'b', env: { SIDECAR_PROBE_FEW_INTERVAL: '100ms' } });
    await b.knows(['a']);
    expect((await b.get('infer')).status).toBe(200);
    const put = await send(a.running.admin, {
      method: 'PUT',
      target: '/load',
      body: '{"service":"infer","load":0.875}',
    });
    expect(put.status).toBe(200);
    const metrics = (await a.admin('/metrics')).body;
    expect(metrics).toMatch(/sidecar_load_source_ratio\{[^}]*source="push"[^}]*\} 0\.875/);
    await eventually(
      'b hears of it',
      async () => JSON.parse((await b.admin('/explain?service=infer')).body).candidates[0].reported,
      ({ load }) => load === 0.875,
    );
  });
});
