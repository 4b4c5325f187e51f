/** Finger cache (the document's test 2): one miss, then hits; after the TTL a refresh and not a failure. */
import { describe, expect, test } from '@jest/globals';
import { type Member, TestMesh } from '../support/meshes/mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { startHttpWorker } from '../support/workers/http-worker.ts';

async function callerAndWorker(env: Record<string, string> = {}): Promise<Member> {
  const mesh = new TestMesh();
  const llm = await startHttpWorker();
  await mesh.join({ id: 'worker-gpu-001', services: { 'llm-inference': llm.url } });
  return await mesh.join({ id: 'worker-cpu-001', env });
}

async function callTimes(member: Member, times: number): Promise<void> {
  for (let i = 0; i < times; i++) {
    const answer = await member.get('llm-inference', `/${i}`);
    expectNamed(answer.status, answer.body).toBe(200);
  }
}

describe('the finger cache of a whole sidecar', () => {
  test('10 requests: 9 hits, 1 lookup; 100 requests: 99 %', async () => {
    const caller = await callerAndWorker();
    await callTimes(caller, 10);
    expect(await caller.stats()).toStrictEqual({
      local_requests: 0,
      forwarded_requests: 10,
      cache_hits: 9,
      cache_misses: 1,
      dht_lookups: 1,
      failed_requests: 0,
      cache_size: 1,
      cache_hit_rate: 0.9,
    });
    await callTimes(caller, 90);
    const { cache_hit_rate, dht_lookups } = await caller.stats();
    expect(dht_lookups).toBe(1);
    expect(cache_hit_rate).toBe(0.99);
  });

  test('the same when the worker was known before the first request', async () => {
    const caller = await callerAndWorker();
    await caller.knows(['worker-gpu-001']);
    await callTimes(caller, 10);
    const { cache_hits, cache_misses, dht_lookups } = await caller.stats();
    expect({ cache_hits, cache_misses, dht_lookups }).toStrictEqual({
      cache_hits: 9,
      cache_misses: 1,
      dht_lookups: 1,
    });
  });

  test('the same while the lookup waits for a DHT node that has died', async () => {
    const mesh = new TestMesh();
    const llm = await startHttpWorker();
    await mesh.join({ id: 'worker-gpu-001', services: { 'llm-inference': llm.url } });
    const gone = await mesh.join({ id: 'worker-gone' });
    const caller = await mesh.join({ id: 'worker-cpu-001' });
    await caller.knows(['worker-gpu-001', 'worker-gone']);
    await gone.running.stop();
    await callTimes(caller, 10);
    const { cache_hits, cache_misses, dht_lookups } = await caller.stats();
    expect({ cache_hits, cache_misses, dht_lookups }).toStrictEqual({
      cache_hits: 9,
      cache_misses: 1,
      dht_lookups: 1,
    });
  });

  test('the first requests of a burst share one lookup', async () => {
    const caller = await callerAndWorker();
    const answers = await Promise.all(Array.from({ length: 20 }, () => caller.get('llm-inference')));
    expect(new Set(answers.map(({ status }) => status))).toStrictEqual(new Set([200]));
    const { cache_hits, cache_misses, dht_lookups } = await caller.stats();
    expect(dht_lookups).toBe(1);
    expect(cache_hits + cache_misses).toBe(20);
  });

  test('a service in use is refreshed in the background: lookups, no miss', async () => {
    const caller = await callerAndWorker({ SIDECAR_CACHE_TTL: '2s' });
    await callTimes(caller, 1);
    const stats = await eventually(
      'three lookups',
      async () => {
        await callTimes(caller, 1);
        return await caller.stats();
      },
      ({ dht_lookups }) => dht_lookups >= 3,
    );
    expect(stats.cache_misses).toBe(1);
    expect(stats.failed_requests).toBe(0);
  });

  test('a view older than the TTL is looked up again, and the request is served', async () => {
    const caller = await callerAndWorker({ SIDECAR_CACHE_TTL: '300ms' });
    await callTimes(caller, 1);
    const ageOf = async (): Promise<number> =>
      (JSON.parse((await caller.admin('/explain?service=llm-inference')).body) as { view_age_ms: number })
        .view_age_ms;
    // A service that nobody has asked for during a whole TTL is not refreshed any more.
    await eventually('the view is stale', ageOf, (ageMs) => ageMs > 300);
    const before = await caller.stats();
    await callTimes(caller, 1);
    const after = await caller.stats();
    expect(after.cache_misses).toBe(before.cache_misses + 1);
    expect(after.dht_lookups).toBe(before.dht_lookups + 1);
    expect(after.failed_requests).toBe(0);
  });
});
