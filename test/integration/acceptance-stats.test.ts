/** Stats (the document's test 5): after a known sequence exactly the expected numbers, in /stats and in /metrics. */
import { describe, expect, test } from '@jest/globals';
import { type Member, TestMesh } from '../support/meshes/mesh.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { startHttpWorker } from '../support/workers/http-worker.ts';

/** /stats name → metric. */
const METRICS = {
  local_requests: 'sidecar_local_requests_total',
  forwarded_requests: 'sidecar_forwarded_requests_total',
  cache_hits: 'sidecar_cache_hits_total',
  cache_misses: 'sidecar_cache_misses_total',
  dht_lookups: 'sidecar_dht_lookups_total',
  failed_requests: 'sidecar_failed_requests_total',
  cache_size: 'sidecar_cache_size',
} as const;

async function metricsOf(member: Member): Promise<Map<string, number>> {
  const { status, body } = await member.admin('/metrics');
  expect(status).toBe(200);
  const lines = body.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => {
      const at = line.lastIndexOf(' ');
      return [line.slice(0, at), Number(line.slice(at + 1))];
    }),
  );
}

describe('the counters of a whole sidecar', () => {
  test('a known sequence of requests gives exactly these numbers', async () => {
    const mesh = new TestMesh();
    const llm = await startHttpWorker({
      answer: (seen, response) => {
        if (seen.target === '/break') response.destroy();
        else response.writeHead(seen.target === '/fault' ? 500 : 200).end('done');
      },
    });
    const notes = await startHttpWorker();
    await mesh.join({ id: 'worker-gpu-001', services: { 'llm-inference': llm.url } });
    const cpu = await mesh.join({ id: 'worker-cpu-001', services: { 'notes-coa': notes.url } });
    const statusOf = async (service: string, path = '/', method = 'GET'): Promise<number> =>
      (await cpu.call({ method, target: `/service/${service}${path}` })).status;

    expect(await cpu.stats()).toStrictEqual({
      local_requests: 0,
      forwarded_requests: 0,
      cache_hits: 0,
      cache_misses: 0,
      dht_lookups: 0,
      failed_requests: 0,
      cache_size: 0,
      cache_hit_rate: 0,
    });

    // Three local ones: the cache is not asked.
    for (let i = 0; i < 3; i++) expect(await statusOf('notes-coa')).toBe(200);
    // Four forwarded ones: one miss with its lookup, three hits.
    for (let i = 0; i < 4; i++) expect(await statusOf('llm-inference')).toBe(200);
    // The worker's own fault is a response like any other, and no failure of the mesh: a hit.
    expect(await statusOf('llm-inference', '/fault')).toBe(500);
    // A POST that broke after it was sent is not tried again: a hit, and a failure.
    expect(await statusOf('llm-inference', '/break', 'POST')).toBe(502);
    // Two for a service that nobody offers, side by side: two misses, one lookup, two failures, nothing forwarded.
    expect(await Promise.all([statusOf('vision-ocr'), statusOf('vision-ocr')])).toStrictEqual([503, 503]);
    // What addresses no service is the app's mistake: it counts nowhere here.
    expect((await cpu.call({ target: '/nothing' })).status).toBe(404);

    const stats = await cpu.stats();
    expect(stats).toStrictEqual({
      local_requests: 3,
      forwarded_requests: 6,
      cache_hits: 5,
      cache_misses: 3,
      dht_lookups: 2,
      failed_requests: 3,
      cache_size: 1,
      cache_hit_rate: 5 / 8,
    });
    expectNamed(
      llm.seen.filter(({ target }) => target === '/break'),
      'it arrived once',
    ).toHaveLength(1);

    const metrics = await metricsOf(cpu);
    for (const [name, metric] of Object.entries(METRICS)) {
      expectNamed(metrics.get(metric), metric).toBe(stats[name as keyof typeof METRICS]);
    }
    const finished = [...metrics]
      .filter(([name]) => name.startsWith('sidecar_request_duration_seconds_count'))
      .reduce((sum, [, count]) => sum + count, 0);
    expectNamed(finished, 'each request ended in one observation').toBe(12);
    expect(metrics.get('sidecar_requests_in_progress{listener="outbound"}')).toBe(0);
    expect(metrics.get('sidecar_answers_total{listener="outbound",code="upstream_reset"}')).toBe(1);
    expect(metrics.get('sidecar_answers_total{listener="outbound",code="no_peers"}')).toBe(2);
    expect(metrics.get('sidecar_answers_total{listener="outbound",code="unknown_service"}')).toBe(1);
  });
});
