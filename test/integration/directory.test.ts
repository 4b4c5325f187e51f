/** Finding workers: real DHT nodes, real announcements and records; only HTTP is a call into a map. */
import assert from 'node:assert/strict';
import test from 'node:test';
import HyperDHT from 'hyperdht';
import { topicOf } from '../../sidecar/mesh/dht/topic.ts';
import { sealRecord } from '../../sidecar/mesh/discovery/sealed-record.ts';
import { member, OTHER_MESH_KEY, recordOf } from '../support/members.ts';
import {
  joinedNode,
  LOOPBACK,
  RecordWeb,
  SECRETS,
  startDht,
  startNode,
  startReader,
  startWorker,
  until,
} from '../support/private-dht.ts';

const SERVICE = 'llm-inference';
const TOPIC = topicOf(SECRETS.topicKey, SERVICE, 0);

test('a worker is found by its VPN address; ten requests are nine hits and one lookup', async (t) => {
  const [first, second] = await startDht(t, 3);
  const web = new RecordWeb();
  const worker = await startWorker(t, web, second ?? first, { id: 'gpu-1' });
  const reader = startReader(t, web, await joinedNode(t, { role: 'client', bootstrap: [first.address] }));
  for (let request = 0; request < 10; request += 1) {
    const result = await reader.find(SERVICE);
    assert.equal(result.kind, 'hit');
    assert.deepEqual(result.kind === 'hit' && result.peers.map((peer) => peer.key), [worker.key]);
  }
  const route = reader.table.get(worker.key)?.routes[0];
  assert.deepEqual([route?.kind, route?.host, route?.port], ['vpn', LOOPBACK, worker.address?.port]);
  assert.deepEqual(reader.directory.counters, { cache_hits: 9, cache_misses: 1, dht_lookups: 1 });
});

test('twenty requests at once share one lookup and one fetch per worker', async (t) => {
  const [first] = await startDht(t, 3);
  const web = new RecordWeb();
  for (const id of ['a', 'b', 'c']) await startWorker(t, web, first, { id });
  const reader = startReader(t, web, first);
  const results = await Promise.all(Array.from({ length: 20 }, () => reader.find(SERVICE)));
  assert.ok(results.every((result) => result.kind === 'hit'));
  await until(() => reader.table.offering(SERVICE).length === 3);
  assert.deepEqual(reader.directory.counters, { cache_hits: 0, cache_misses: 20, dht_lookups: 1 });
  assert.equal(web.fetches, 3);
});

test('a request waits for the first usable peer, not for the others', async (t) => {
  const [first] = await startDht(t, 2);
  const web = new RecordWeb();
  const quick = await startWorker(t, web, first, { id: 'quick' });
  const slow = await startWorker(t, web, first, { id: 'slow' });
  assert.ok(slow.address !== null);
  let release = (_: Buffer): void => {};
  web.pages.set(
    `${slow.address.host}:${slow.address.port}`,
    () => new Promise<Buffer>((done) => (release = done)),
  );
  const reader = startReader(t, web, first, { recordTimeoutMs: 60_000 });
  const result = await reader.find(SERVICE);
  assert.deepEqual(result.kind === 'hit' && result.peers.map((peer) => peer.key), [quick.key]);
  assert.equal(reader.directory.find(SERVICE, performance.now()).kind, 'hit', 'and is fresh for the next');
  release(Buffer.alloc(0));
});

test('a worker without VPN is found by its record in the DHT', async (t) => {
  const [first] = await startDht(t, 3);
  const web = new RecordWeb();
  const atHome = await joinedNode(t, { role: 'client', bootstrap: [first.address] });
  const worker = await startWorker(t, web, atHome, { id: 'home-1', vpn: false });
  const reader = startReader(t, web, first);
  const result = await reader.find(SERVICE);
  assert.equal(result.kind, 'hit');
  assert.equal(reader.table.get(worker.key)?.record.tunnel_url, 'https://worker.example');
  assert.equal(web.fetches, 0);
});

test('a worker with VPN and tunnel is found also from outside the VPN, and when its listener is down', async (t) => {
  const [first] = await startDht(t, 2);
  const web = new RecordWeb();
  const worker = await startWorker(t, web, first, { id: 'both', tunnel: true });
  const outside = startReader(t, web, first, { hasVpn: false });
  assert.equal((await outside.find(SERVICE)).kind, 'hit');
  assert.equal(web.fetches, 0, 'its VPN address was not even tried');
  web.pages.clear();
  const inside = startReader(t, web, first);
  assert.equal((await inside.find(SERVICE)).kind, 'hit');
  assert.deepEqual(
    inside.table.get(worker.key)?.routes.map((route) => route.kind),
    ['vpn', 'tunnel'],
  );
});

test('a worker that stops is withdrawn, and its last record in the DHT says draining', async (t) => {
  const [first] = await startDht(t, 3);
  const web = new RecordWeb();
  const vpn = await startWorker(t, web, first, { id: 'gpu-1' });
  const home = await startWorker(t, web, first, { id: 'home-1', vpn: false });
  home.set({ state: 'draining' });
  await Promise.all([vpn.announcer.stop(), home.announcer.stop()]);
  const reader = startReader(t, web, first);
  const result = await reader.find(SERVICE);
  assert.equal(result.kind === 'none' && result.code, 'no_peers');
  assert.match(result.kind === 'none' ? result.detail : '', /No worker announces this service/);
  assert.equal(await reader.fetcher.fetch(home.key, [{ kind: 'dht' }]), 'ok');
  assert.equal(reader.table.get(home.key)?.state, 'draining');
});

test('nobody is cached for its short time, then looked up again', async (t) => {
  const [first] = await startDht(t, 2);
  const web = new RecordWeb();
  const reader = startReader(t, web, first, { emptyTtlMs: 400 });
  const startedMs = performance.now();
  for (let request = 0; request < 5; request += 1) assert.equal((await reader.find(SERVICE)).kind, 'none');
  if (performance.now() - startedMs < 400) assert.equal(reader.directory.counters.dht_lookups, 1);
  await startWorker(t, web, first, { id: 'late' });
  let found = await reader.find(SERVICE);
  while (found.kind === 'none') {
    await new Promise((resolve) => setTimeout(resolve, 20));
    found = await reader.find(SERVICE);
  }
  assert.equal(found.peers.length, 1);
});

test('a service in use is refreshed behind the requests, which all hit', async (t) => {
  const [first] = await startDht(t, 2);
  const web = new RecordWeb();
  await startWorker(t, web, first, { id: 'one' });
  const reader = startReader(t, web, first, { ttlMs: 400 });
  await reader.find(SERVICE);
  await startWorker(t, web, first, { id: 'two' });
  await until(() => {
    reader.directory.find(SERVICE, performance.now());
    return reader.table.offering(SERVICE).length === 2;
  });
  assert.equal(reader.directory.counters.cache_misses, 1);
  assert.ok(reader.directory.counters.dht_lookups >= 2);
});

test('when the DHT is gone the old view goes on serving, with its age', async (t) => {
  const [first] = await startDht(t, 1);
  const web = new RecordWeb();
  await startWorker(t, web, first, { id: 'one' });
  const client = await joinedNode(t, { role: 'client', bootstrap: [first.address] });
  const reader = startReader(t, web, client, { ttlMs: 100, firstLookupWaitMs: 500 });
  await reader.find(SERVICE);
  await first.destroy();
  await until(() => (reader.directory.ageMs(SERVICE, performance.now()) ?? 0) > 300);
  const result = await reader.find(SERVICE);
  assert.ok(result.kind === 'hit' && result.peers.length === 1);
  assert.ok(result.ageMs > 300);
});

test('with no DHT node in reach a cold request gets a code and what to do, within its time', async (t) => {
  const lonely = await startNode(t, { role: 'client', bootstrap: [{ host: LOOPBACK, port: 9 }] });
  const reader = startReader(t, new RecordWeb(), lonely, { firstLookupWaitMs: 50 });
  const result = await reader.find(SERVICE);
  assert.equal(result.kind === 'none' && result.code, 'discovery_unavailable');
  assert.match(result.kind === 'none' ? result.detail : '', /127\.0\.0\.1:9/);
});

test('a cold request right after the start waits for the node to join', async (t) => {
  const [first] = await startDht(t, 2);
  const web = new RecordWeb();
  await startWorker(t, web, first, { id: 'one' });
  const client = await startNode(t, { role: 'client', bootstrap: [first.address] });
  assert.equal(client.status().kind, 'unreachable', 'not joined yet');
  const reader = startReader(t, web, client);
  assert.equal((await reader.find(SERVICE)).kind, 'hit');
});

test('a restart finds the peers of the last view without the DHT, and believes only what they say now', async (t) => {
  const [first] = await startDht(t, 2);
  const web = new RecordWeb();
  const worker = await startWorker(t, web, first, { id: 'one' });
  const before = startReader(t, web, first);
  await before.find(SERVICE);
  const lastKnown = before.directory.view();
  assert.deepEqual(lastKnown, [
    { key: worker.key, services: [SERVICE], address: worker.address, tunnelUrl: null },
  ]);
  const cutOff = await startNode(t, { role: 'client', bootstrap: [{ host: LOOPBACK, port: 9 }] });
  const forged = { ...lastKnown[0], key: 'ab'.repeat(32) } as (typeof lastKnown)[number];
  const after = startReader(t, web, cutOff, { lastKnown: [forged, ...lastKnown] });
  const result = await after.find(SERVICE);
  assert.deepEqual(result.kind === 'hit' && result.peers.map((peer) => peer.key), [worker.key]);
});

test('the last view is still there to be saved while its peers are asked in vain, and after', async (t) => {
  const cutOff = await startNode(t, { role: 'client', bootstrap: [{ host: LOOPBACK, port: 9 }] });
  const web = new RecordWeb();
  const address = web.serve(() => new Promise(() => {}));
  const lastKnown = [{ key: 'ab'.repeat(32), services: [SERVICE], address, tunnelUrl: null }];
  const reader = startReader(t, web, cutOff, { lastKnown, firstLookupWaitMs: 50, recordTimeoutMs: 100 });
  const found = reader.find(SERVICE);
  assert.deepEqual(reader.directory.view(), lastKnown, 'while they are asked');
  assert.equal((await found).kind, 'none');
  await until(() => reader.cache.state(SERVICE, 0, performance.now()).kind !== 'missing');
  assert.deepEqual(reader.directory.view(), lastKnown, 'and after');
});

test('records that are not what was announced are counted and refused, and the good one is used', async (t) => {
  const [first] = await startDht(t, 2);
  const web = new RecordWeb();
  const good = await startWorker(t, web, first, { id: 'good' });
  const announce = async (page: () => Buffer | Promise<Buffer>): Promise<void> => {
    await first.announce(TOPIC, HyperDHT.keyPair(), [web.serve(page)], { clear: false });
  };
  const stranger = member('good', { meshKey: OTHER_MESH_KEY, nowMs: Date.now() });
  const late = member('late', { nowMs: Date.now() });
  await announce(() => Buffer.from('garbage'));
  await announce(() => Buffer.alloc(0));
  await announce(() => sealRecord(stranger, recordOf(stranger, { last_seen: Date.now() / 1000 })));
  await announce(() => sealRecord(late, recordOf(late, { last_seen: Date.now() / 1000 - 3_600 })));
  await announce(web.pages.get(`${good.address?.host}:${good.address?.port}`) ?? (() => Buffer.alloc(0)));
  await announce(() => Promise.reject(new Error('reset')));
  await first.announce(TOPIC, HyperDHT.keyPair(), [], { clear: false });
  const reader = startReader(t, web, first);
  const result = await reader.find(SERVICE);
  assert.deepEqual(result.kind === 'hit' && result.peers.map((peer) => peer.key), [good.key]);
  await until(() => reader.fetcher.rejectedRecords === 4);
  assert.equal(reader.table.size, 1);
});

test('why nobody can be used is in the response', async (t) => {
  const [first] = await startDht(t, 2);
  const web = new RecordWeb();
  const gone = web.serve(() => Promise.reject(new Error('refused')));
  await first.announce(TOPIC, HyperDHT.keyPair(), [gone], { clear: false });
  await first.announce(TOPIC, HyperDHT.keyPair(), [{ host: LOOPBACK, port: 22 }], { clear: false });
  const reader = startReader(t, web, first, { mayAsk: ({ port }) => port !== 22 });
  const result = await reader.find(SERVICE);
  assert.equal(result.kind, 'none');
  assert.match(
    result.kind === 'none' ? result.detail : '',
    /2 workers announce this service and none can be used: .*1 could not be reached/,
  );
  assert.match(result.kind === 'none' ? result.detail : '', /1 announces an address outside vpn.cidr/);
});

test('a warming worker is no answer to wait for, but is known when the lookup ends', async (t) => {
  const [first] = await startDht(t, 2);
  const web = new RecordWeb();
  const worker = await startWorker(t, web, first, { id: 'loading' });
  worker.set({ state: 'warming' });
  const reader = startReader(t, web, first);
  const result = await reader.find(SERVICE);
  assert.deepEqual(result.kind === 'hit' && result.peers.map((peer) => peer.state), ['warming']);
});

test('workers on sixteen shards are all found in the end', async (t) => {
  const [first] = await startDht(t, 3);
  const web = new RecordWeb();
  for (let worker = 0; worker < 6; worker += 1) {
    await startWorker(t, web, first, { id: `w${worker}`, shards: 16 });
  }
  const reader = startReader(t, web, first, { shards: 16, ttlMs: 200 });
  await until(() => {
    reader.directory.find(SERVICE, performance.now());
    // As the prober does: those that are known stay known while others are looked for.
    for (const peer of reader.table.offering(SERVICE)) reader.table.markAlive(peer.key, performance.now());
    return reader.table.offering(SERVICE).length === 6;
  });
});

test('of many workers only a sample is kept', async (t) => {
  const [first] = await startDht(t, 2);
  const web = new RecordWeb();
  await Promise.all(Array.from({ length: 15 }, (_, n) => startWorker(t, web, first, { id: `w${n}` })));
  const reader = startReader(t, web, first, { sampleSize: 8, ttlMs: 200 });
  await reader.find(SERVICE);
  await until(() => {
    reader.directory.find(SERVICE, performance.now());
    return reader.directory.counters.dht_lookups >= 4;
  });
  assert.ok(reader.table.offering(SERVICE).length <= 12, 'never more than the sample and a few newcomers');
});
