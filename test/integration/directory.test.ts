/** Finding workers: real DHT nodes, real announcements and records; only HTTP is a call into a map. */
import { describe, expect, test } from '@jest/globals';
import HyperDHT from 'hyperdht';
import { topicOf } from '../../sidecar/mesh/dht/topic.ts';
import { sealRecord } from '../../sidecar/mesh/discovery/sealed-record.ts';
import { member, OTHER_MESH_KEY, recordOf } from '../support/meshes/members.ts';
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
} from '../support/meshes/private-dht.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed, mustHold } from '../support/runner/expectations.ts';

const SERVICE = 'llm-inference';
const TOPIC = topicOf(SECRETS.topicKey, SERVICE, 0);

describe('finding workers in the DHT', () => {
  test('a worker is found by its VPN address; ten requests are nine hits and one lookup', async () => {
    const [first, second] = await startDht(3);
    const web = new RecordWeb();
    const worker = await startWorker(web, second ?? first, { id: 'gpu-1' });
    const reader = startReader(web, await joinedNode({ role: 'client', bootstrap: [first.address] }));
    for (let request = 0; request < 10; request += 1) {
      const result = await reader.find(SERVICE);
      expect(result.kind).toBe('hit');
      expect(result.kind === 'hit' && result.peers.map((peer) => peer.key)).toStrictEqual([worker.key]);
    }
    const route = reader.table.get(worker.key)?.routes[0];
    expect([route?.kind, route?.host, route?.port]).toStrictEqual(['vpn', LOOPBACK, worker.address?.port]);
    expect(reader.directory.counters).toStrictEqual({ cache_hits: 9, cache_misses: 1, dht_lookups: 1 });
  });

  test('twenty requests at once share one lookup and one fetch per worker', async () => {
    const [first] = await startDht(3);
    const web = new RecordWeb();
    for (const id of ['a', 'b', 'c']) await startWorker(web, first, { id });
    const reader = startReader(web, first);
    const results = await Promise.all(Array.from({ length: 20 }, () => reader.find(SERVICE)));
    expect(results.every((result) => result.kind === 'hit')).toBe(true);
    await until(() => reader.table.offering(SERVICE).length === 3);
    expect(reader.directory.counters).toStrictEqual({ cache_hits: 0, cache_misses: 20, dht_lookups: 1 });
    expect(web.fetches).toBe(3);
  });

  test('a request waits for the first usable peer, not for the others', async () => {
    const [first] = await startDht(2);
    const web = new RecordWeb();
    const quick = await startWorker(web, first, { id: 'quick' });
    const slow = await startWorker(web, first, { id: 'slow' });
    mustHold(slow.address !== null);
    let release = (_: Buffer): void => {};
    web.pages.set(
      `${slow.address.host}:${slow.address.port}`,
      () => new Promise<Buffer>((done) => (release = done)),
    );
    const reader = startReader(web, first, { recordTimeoutMs: 60_000 });
    const result = await reader.find(SERVICE);
    expect(result.kind === 'hit' && result.peers.map((peer) => peer.key)).toStrictEqual([quick.key]);
    expectNamed(reader.directory.find(SERVICE, performance.now()).kind, 'and is fresh for the next').toBe(
      'hit',
    );
    release(Buffer.alloc(0));
  });

  test('a worker without VPN is found by its record in the DHT', async () => {
    const [first] = await startDht(3);
    const web = new RecordWeb();
    const atHome = await joinedNode({ role: 'client', bootstrap: [first.address] });
    const worker = await startWorker(web, atHome, { id: 'home-1', vpn: false });
    const reader = startReader(web, first);
    const result = await reader.find(SERVICE);
    expect(result.kind).toBe('hit');
    expect(reader.table.get(worker.key)?.record.tunnel_url).toBe('https://worker.example');
    expect(web.fetches).toBe(0);
  });

  test('a worker with VPN and tunnel is found also from outside the VPN, and when its listener is down', async () => {
    const [first] = await startDht(2);
    const web = new RecordWeb();
    const worker = await startWorker(web, first, { id: 'both', tunnel: true });
    const outside = startReader(web, first, { hasVpn: () => false });
    expect((await outside.find(SERVICE)).kind).toBe('hit');
    expectNamed(web.fetches, 'its VPN address was not even tried').toBe(0);
    web.pages.clear();
    const inside = startReader(web, first);
    expect((await inside.find(SERVICE)).kind).toBe('hit');
    expect(inside.table.get(worker.key)?.routes.map((route) => route.kind)).toStrictEqual(['vpn', 'tunnel']);
  });

  test('a worker that stops is withdrawn, and its last record in the DHT says draining', async () => {
    const [first] = await startDht(3);
    const web = new RecordWeb();
    const vpn = await startWorker(web, first, { id: 'gpu-1' });
    const home = await startWorker(web, first, { id: 'home-1', vpn: false });
    home.set({ state: 'draining' });
    await Promise.all([vpn.announcer.stop(), home.announcer.stop()]);
    const reader = startReader(web, first);
    const result = await reader.find(SERVICE);
    expect(result.kind === 'none' && result.code).toBe('no_peers');
    expect(result.kind === 'none' ? result.detail : '').toMatch(/No worker announces this service/);
    expect(await reader.fetcher.fetch(home.key, [{ kind: 'dht' }])).toBe('ok');
    expect(reader.table.get(home.key)?.state).toBe('draining');
  });

  test('nobody is cached for its short time, then looked up again', async () => {
    const [first] = await startDht(2);
    const web = new RecordWeb();
    const patient = startReader(web, first, { emptyTtlMs: 60_000 });
    const hasty = startReader(web, first, { emptyTtlMs: 50 });
    expect((await hasty.find(SERVICE)).kind).toBe('none');
    for (let request = 0; request < 5; request += 1) expect((await patient.find(SERVICE)).kind).toBe('none');
    expect(patient.directory.counters.dht_lookups).toBe(1);
    await startWorker(web, first, { id: 'late' });
    const found = await eventually(
      'it is found',
      () => hasty.find(SERVICE),
      ({ kind }) => kind === 'hit',
    );
    expect(found.kind === 'hit' && found.peers).toHaveLength(1);
    expect((await patient.find(SERVICE)).kind).toBe('none');
    expect(patient.directory.counters.dht_lookups).toBe(1);
  });

  test('a service in use is refreshed behind the requests, which all hit', async () => {
    const [first] = await startDht(2);
    const web = new RecordWeb();
    await startWorker(web, first, { id: 'one' });
    const reader = startReader(web, first, { ttlMs: 400 });
    await reader.find(SERVICE);
    await startWorker(web, first, { id: 'two' });
    await until(() => {
      reader.directory.find(SERVICE, performance.now());
      return reader.table.offering(SERVICE).length === 2;
    });
    expect(reader.directory.counters.cache_misses).toBe(1);
    expect(reader.directory.counters.dht_lookups).toBeGreaterThanOrEqual(2);
  });

  test('when the DHT is gone the old view goes on serving, with its age', async () => {
    const [first] = await startDht(1);
    const web = new RecordWeb();
    await startWorker(web, first, { id: 'one' });
    const client = await joinedNode({ role: 'client', bootstrap: [first.address] });
    const reader = startReader(web, client, { ttlMs: 100, firstLookupWaitMs: 500 });
    await reader.find(SERVICE);
    await first.destroy();
    await until(() => (reader.directory.ageMs(SERVICE, performance.now()) ?? 0) > 300);
    const result = await reader.find(SERVICE);
    mustHold(result.kind === 'hit' && result.peers.length === 1);
    expect(result.ageMs).toBeGreaterThan(300);
  });

  test('with no DHT node in reach a cold request gets a code and what to do, within its time', async () => {
    const lonely = await startNode({ role: 'client', bootstrap: [{ host: LOOPBACK, port: 9 }] });
    const reader = startReader(new RecordWeb(), lonely, { firstLookupWaitMs: 50 });
    const result = await reader.find(SERVICE);
    expect(result.kind === 'none' && result.code).toBe('discovery_unavailable');
    expect(result.kind === 'none' ? result.detail : '').toMatch(/127\.0\.0\.1:9/);
  });

  test('a cold request right after the start waits for the node to join', async () => {
    const [first] = await startDht(2);
    const web = new RecordWeb();
    await startWorker(web, first, { id: 'one' });
    const client = await startNode({ role: 'client', bootstrap: [first.address] });
    expectNamed(client.status().kind, 'not joined yet').toBe('unreachable');
    const reader = startReader(web, client);
    expect((await reader.find(SERVICE)).kind).toBe('hit');
  });

  test('a restart finds the peers of the last view without the DHT, and believes only what they say now', async () => {
    const [first] = await startDht(2);
    const web = new RecordWeb();
    const worker = await startWorker(web, first, { id: 'one' });
    const before = startReader(web, first);
    await before.find(SERVICE);
    const lastKnown = before.directory.view();
    expect(lastKnown).toStrictEqual([
      { key: worker.key, services: [SERVICE], address: worker.address, tunnelUrl: null },
    ]);
    const cutOff = await startNode({ role: 'client', bootstrap: [{ host: LOOPBACK, port: 9 }] });
    const forged = { ...lastKnown[0], key: 'ab'.repeat(32) } as (typeof lastKnown)[number];
    const after = startReader(web, cutOff, { lastKnown: [forged, ...lastKnown] });
    const result = await after.find(SERVICE);
    expect(result.kind === 'hit' && result.peers.map((peer) => peer.key)).toStrictEqual([worker.key]);
  });

  test('the last view is still there to be saved while its peers are asked in vain, and after', async () => {
    const cutOff = await startNode({ role: 'client', bootstrap: [{ host: LOOPBACK, port: 9 }] });
    const web = new RecordWeb();
    const address = web.serve(() => new Promise(() => {}));
    const lastKnown = [{ key: 'ab'.repeat(32), services: [SERVICE], address, tunnelUrl: null }];
    const reader = startReader(web, cutOff, { lastKnown, firstLookupWaitMs: 50, recordTimeoutMs: 100 });
    const found = reader.find(SERVICE);
    expectNamed(reader.directory.view(), 'while they are asked').toStrictEqual(lastKnown);
    expect((await found).kind).toBe('none');
    await until(() => reader.cache.state(SERVICE, 0, performance.now()).kind !== 'missing');
    expectNamed(reader.directory.view(), 'and after').toStrictEqual(lastKnown);
  });

  test('records that are not what was announced are counted and refused, and the good one is used', async () => {
    const [first] = await startDht(2);
    const web = new RecordWeb();
    const good = await startWorker(web, first, { id: 'good' });
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
    const reader = startReader(web, first);
    const result = await reader.find(SERVICE);
    expect(result.kind === 'hit' && result.peers.map((peer) => peer.key)).toStrictEqual([good.key]);
    await until(() => reader.fetcher.rejectedRecords === 4);
    expect(reader.table.size).toBe(1);
  });

  test('why nobody can be used is in the response', async () => {
    const [first] = await startDht(2);
    const web = new RecordWeb();
    const gone = web.serve(() => Promise.reject(new Error('refused')));
    await first.announce(TOPIC, HyperDHT.keyPair(), [gone], { clear: false });
    await first.announce(TOPIC, HyperDHT.keyPair(), [{ host: LOOPBACK, port: 22 }], { clear: false });
    const reader = startReader(web, first, { mayAsk: ({ port }) => port !== 22 });
    const result = await reader.find(SERVICE);
    expect(result.kind).toBe('none');
    expect(result.kind === 'none' ? result.detail : '').toMatch(
      /2 workers announce this service and none can be used: .*1 could not be reached/,
    );
    expect(result.kind === 'none' ? result.detail : '').toMatch(/1 announces an address outside vpn.cidr/);
  });

  test('a warming worker is no answer to wait for, but is known when the lookup ends', async () => {
    const [first] = await startDht(2);
    const web = new RecordWeb();
    const worker = await startWorker(web, first, { id: 'loading' });
    worker.set({ state: 'warming' });
    const reader = startReader(web, first);
    const result = await reader.find(SERVICE);
    expect(result.kind === 'hit' && result.peers.map((peer) => peer.state)).toStrictEqual(['warming']);
  });

  test('workers on sixteen shards are all found in the end', async () => {
    const [first] = await startDht(3);
    const web = new RecordWeb();
    for (let worker = 0; worker < 6; worker += 1) {
      await startWorker(web, first, { id: `w${worker}`, shards: 16 });
    }
    const reader = startReader(web, first, { shards: 16, ttlMs: 200 });
    await until(() => {
      reader.directory.find(SERVICE, performance.now());
      // As the prober does: those that are known stay known while others are looked for.
      for (const peer of reader.table.offering(SERVICE)) reader.table.markAlive(peer.key, performance.now());
      return reader.table.offering(SERVICE).length === 6;
    });
  });

  test('of many workers only a sample is kept', async () => {
    const [first] = await startDht(2);
    const web = new RecordWeb();
    await Promise.all(Array.from({ length: 15 }, (_, n) => startWorker(web, first, { id: `w${n}` })));
    const reader = startReader(web, first, { sampleSize: 8, ttlMs: 200 });
    await reader.find(SERVICE);
    await until(() => {
      reader.directory.find(SERVICE, performance.now());
      return reader.directory.counters.dht_lookups >= 4;
    });
    expectNamed(
      reader.table.offering(SERVICE).length,
      'never more than the sample and a few newcomers',
    ).toBeLessThanOrEqual(12);
  });
});
