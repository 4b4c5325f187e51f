/** Finger cache (the document's test 2): one miss, then hits; after the TTL a refresh and not a failure. */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { eventually } from '../support/eventually.ts';
import { startHttpWorker } from '../support/http-worker.ts';
import { type Member, TestMesh } from '../support/mesh.ts';

async function callerAndWorker(t: TestContext, env: Record<string, string> = {}): Promise<Member> {
  const mesh = new TestMesh(t);
  const llm = await startHttpWorker(t);
  await mesh.join({ id: 'worker-gpu-001', services: { 'llm-inference': llm.url } });
  return await mesh.join({ id: 'worker-cpu-001', env });
}

async function callTimes(member: Member, times: number): Promise<void> {
  for (let i = 0; i < times; i++) {
    const answer = await member.get('llm-inference', `/${i}`);
    assert.equal(answer.status, 200, answer.body);
  }
}

test('10 requests: 9 hits, 1 lookup; 100 requests: 99 %', async (t) => {
  const caller = await callerAndWorker(t);
  await callTimes(caller, 10);
  assert.deepEqual(await caller.stats(), {
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
  assert.equal(dht_lookups, 1);
  assert.equal(cache_hit_rate, 0.99);
});

test('the same when the worker was known before the first request', async (t) => {
  const caller = await callerAndWorker(t);
  await caller.knows(['worker-gpu-001']);
  await callTimes(caller, 10);
  const { cache_hits, cache_misses, dht_lookups } = await caller.stats();
  assert.deepEqual(
    { cache_hits, cache_misses, dht_lookups },
    { cache_hits: 9, cache_misses: 1, dht_lookups: 1 },
  );
});

test('the same while the lookup waits for a DHT node that has died', async (t) => {
  const mesh = new TestMesh(t);
  const llm = await startHttpWorker(t);
  await mesh.join({ id: 'worker-gpu-001', services: { 'llm-inference': llm.url } });
  const gone = await mesh.join({ id: 'worker-gone' });
  const caller = await mesh.join({ id: 'worker-cpu-001' });
  await caller.knows(['worker-gpu-001', 'worker-gone']);
  await gone.running.stop();
  await callTimes(caller, 10);
  const { cache_hits, cache_misses, dht_lookups } = await caller.stats();
  assert.deepEqual(
    { cache_hits, cache_misses, dht_lookups },
    { cache_hits: 9, cache_misses: 1, dht_lookups: 1 },
  );
});

test('the first requests of a burst share one lookup', async (t) => {
  const caller = await callerAndWorker(t);
  const answers = await Promise.all(Array.from({ length: 20 }, () => caller.get('llm-inference')));
  assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]));
  const { cache_hits, cache_misses, dht_lookups } = await caller.stats();
  assert.equal(dht_lookups, 1);
  assert.equal(cache_hits + cache_misses, 20);
});

test('a service in use is refreshed in the background: lookups, no miss', async (t) => {
  const caller = await callerAndWorker(t, { SIDECAR_CACHE_TTL: '2s' });
  await callTimes(caller, 1);
  const stats = await eventually(
    'three lookups',
    async () => {
      await callTimes(caller, 1);
      return await caller.stats();
    },
    ({ dht_lookups }) => dht_lookups >= 3,
  );
  assert.equal(stats.cache_misses, 1);
  assert.equal(stats.failed_requests, 0);
});

test('a view older than the TTL is looked up again, and the request is served', async (t) => {
  const caller = await callerAndWorker(t, { SIDECAR_CACHE_TTL: '300ms' });
  await callTimes(caller, 1);
  const ageOf = async (): Promise<number> =>
    (JSON.parse((await caller.admin('/explain?service=llm-inference')).body) as { view_age_ms: number })
      .view_age_ms;
  // A service that nobody has asked for during a whole TTL is not refreshed any more.
  await eventually('the view is stale', ageOf, (ageMs) => ageMs > 300);
  const before = await caller.stats();
  await callTimes(caller, 1);
  const after = await caller.stats();
  assert.equal(after.cache_misses, before.cache_misses + 1);
  assert.equal(after.dht_lookups, before.dht_lookups + 1);
  assert.equal(after.failed_requests, 0);
});
