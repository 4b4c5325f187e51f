/** Fetching records, with a DHT and listeners that do as told: whose word counts, how old it may be, what is tried. */
import { describe, expect, test } from '@jest/globals';
import type { HostPort } from '../../sidecar/core/host-port.ts';
import type { WorkerRecord } from '../../sidecar/core/peers/record.ts';
import { type RecordSource, sourcesOf } from '../../sidecar/mesh/discovery/record-fetcher.ts';
import { sealRecord } from '../../sidecar/mesh/discovery/sealed-record.ts';
import { member, recordOf } from '../support/meshes/members.ts';
import { RecordWeb, startReader } from '../support/meshes/private-dht.ts';
import { ScriptedDht } from '../support/meshes/scripted-dht.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { FakeClock, settle } from '../support/runner/fake-clock.ts';

const TUNNEL = 'https://gpu-1.example';
const IN_DHT: RecordSource = { kind: 'dht' };
const BY_TUNNEL: RecordSource = { kind: 'tunnel', url: TUNNEL };

const at = (address: HostPort): RecordSource => ({ kind: 'address', address });

function setUp() {
  const clock = new FakeClock();
  const dht = new ScriptedDht();
  const web = new RecordWeb();
  const { fetcher, table } = startReader(web, dht, { clock, recordTimeoutMs: 1_000 });
  const identity = member('gpu-1', { nowMs: clock.unixMs() });
  const key = identity.keyHex;
  /** What it says of itself `ageMs` ago. */
  const sealed = (changes: Partial<WorkerRecord> = {}, ageMs = 0): Buffer =>
    sealRecord(
      identity,
      recordOf(identity, { epoch: 1_000, seq: 1, last_seen: (clock.unixMs() - ageMs) / 1000, ...changes }),
    );
  const putInDht = (value: Buffer): void => void dht.values.set(key, { value, seq: clock.unixMs() });
  /** Silent twice, and another one heard meanwhile. */
  const evict = (): void => {
    for (let i = 0; i < 2; i += 1) table.probeFailed(key, clock.monotonicMs());
    expect(table.isBanned(key, clock.monotonicMs())).toBe(true);
  };
  return { clock, dht, web, fetcher, table, key, sealed, putInDht, evict };
}

describe("a record's source", () => {
  test('a copy in the DHT does not bring back a peer that was silent, its own word does', async () => {
    for (const own of ['address', 'tunnel'] as const) {
      const { web, fetcher, table, key, sealed, putInDht, evict } = setUp();
      const address = web.serve(() => sealed());
      web.pages.set(TUNNEL, () => sealed());
      expect(await fetcher.fetch(key, [at(address)])).toBe('ok');
      evict();
      putInDht(sealed());
      expect(await fetcher.fetch(key, [IN_DHT])).toBe('gone');
      expectNamed(table.get(key), 'still barred').toBe(undefined);
      expect(await fetcher.fetch(key, [own === 'address' ? at(address) : BY_TUNNEL])).toBe('ok');
      expect(table.get(key)?.presence).toBe('live');
    }
  });

  test('a copy in the DHT, also a newer one, does not end a suspicion, its own word does', async () => {
    const { clock, web, fetcher, table, key, sealed, putInDht } = setUp();
    const address = web.serve(() => sealed());
    await fetcher.fetch(key, [at(address)]);
    table.probeFailed(key, clock.monotonicMs());
    putInDht(sealed({ seq: 2 }));
    expect(await fetcher.fetch(key, [IN_DHT])).toBe('ok');
    expect(table.get(key)?.presence).toBe('suspect');
    expect(await fetcher.fetch(key, [at(web.serve(() => sealed({ seq: 2 })))])).toBe('ok');
    expect(table.get(key)?.presence).toBe('live');
  });

  test('what a peer gives may be 30 s from the time here, a copy in the DHT three minutes', async () => {
    const { web, fetcher, key, sealed, putInDht } = setUp();
    for (const ageMs of [30_000, -30_000]) {
      expect(await fetcher.fetch(key, [at(web.serve(() => sealed({}, ageMs)))])).toBe('ok');
    }
    for (const ageMs of [31_000, -31_000, 120_000]) {
      expect(await fetcher.fetch(key, [at(web.serve(() => sealed({}, ageMs)))])).toBe('bad_record');
    }
    expect(fetcher.rejectedRecords).toBe(3);
    for (const [ageMs, outcome] of [
      [31_000, 'ok'],
      [180_000, 'ok'],
      [181_000, 'bad_record'],
    ] as const) {
      putInDht(sealed({}, ageMs));
      expect(await fetcher.fetch(key, [IN_DHT])).toBe(outcome);
    }
  });

  test('the DHT is asked for no copy that would be too old', async () => {
    const { clock, dht, fetcher, key } = setUp();
    expect(await fetcher.fetch(key, [IN_DHT])).toBe('not_in_dht');
    expect(dht.gets).toStrictEqual([{ key, minSeq: clock.unixMs() - 180_000 }]);
  });

  test('the surest way is the first: address, tunnel, DHT', () => {
    const address = { host: '10.42.0.10', port: 8_000 };
    expect(sourcesOf(address, TUNNEL)).toStrictEqual([at(address), BY_TUNNEL, IN_DHT]);
    expect(sourcesOf(null, TUNNEL)).toStrictEqual([BY_TUNNEL, IN_DHT]);
    expect(sourcesOf(null, null)).toStrictEqual([IN_DHT]);
  });
});

describe('fetching a record', () => {
  test('the next source is asked when one has none, and none after one that has', async () => {
    const { dht, web, fetcher, table, key, sealed } = setUp();
    web.pages.set(TUNNEL, () => sealed({ seq: 5 }));
    const nobody = { host: '127.0.0.1', port: 1 };
    expect(await fetcher.fetch(key, [at(nobody), BY_TUNNEL, IN_DHT])).toBe('ok');
    expect(table.get(key)?.record.seq).toBe(5);
    expect(dht.gets).toHaveLength(0);
  });

  test('none has one: the fault of the first is told; without a source it is unreachable', async () => {
    const { web, fetcher, key } = setUp();
    const garbage = web.serve(() => Buffer.from('garbage'));
    expect(await fetcher.fetch(key, [at(garbage), BY_TUNNEL, IN_DHT])).toBe('bad_record');
    expect(await fetcher.fetch(key, [BY_TUNNEL, at(garbage)])).toBe('unreachable');
    expect(await fetcher.fetch(key, [])).toBe('unreachable');
  });

  test('another worker at the address is not taken for the one that was announced', async () => {
    const { web, fetcher, table, sealed } = setUp();
    const address = web.serve(() => sealed());
    expect(await fetcher.fetch('ab'.repeat(32), [at(address)])).toBe('wrong_worker');
    expect(table.size).toBe(0);
    expect(fetcher.rejectedRecords).toBe(0);
  });

  test('one that said good-bye is gone, and nobody else is asked for it', async () => {
    const { clock, dht, web, fetcher, table, key, sealed } = setUp();
    table.depart(key, 1_000, clock.monotonicMs());
    expect(await fetcher.fetch(key, [at(web.serve(() => sealed())), IN_DHT])).toBe('gone');
    expect(dht.gets).toHaveLength(0);
    expect(fetcher.fetchedAtMs(key)).toBe(Number.NEGATIVE_INFINITY);
  });

  test('who asks while a fetch is on its way shares it; who asks later gets a new one', async () => {
    const { web, fetcher, key, sealed } = setUp();
    const address = web.serve(() => sealed());
    const both = await Promise.all([fetcher.fetch(key, [at(address)]), fetcher.fetch(key, [at(address)])]);
    expect([both, web.fetches]).toStrictEqual([['ok', 'ok'], 1]);
    await fetcher.fetch(key, [at(address)]);
    expect(web.fetches).toBe(2);
  });

  test('a listener that is silent for the time-out is given up, and no timer is left of one that answers', async () => {
    const { clock, web, fetcher, key, sealed } = setUp();
    const idle = clock.pending;
    const outcome = fetcher.fetch(key, [at(web.serve(() => new Promise(() => {})))]);
    await clock.advance(999);
    let isOver = false;
    void outcome.then(() => {
      isOver = true;
    });
    await settle();
    expect(isOver).toBe(false);
    await clock.advance(1);
    expect(await outcome).toBe('unreachable');
    await fetcher.fetch(key, [at(web.serve(() => sealed()))]);
    expect(clock.pending).toBe(idle);
  });

  test('the time of the last fetch is known while the peer is', async () => {
    const { clock, web, fetcher, table, key, sealed } = setUp();
    const address = web.serve(() => sealed());
    expect(fetcher.fetchedAtMs(key)).toBe(Number.NEGATIVE_INFINITY);
    await fetcher.fetch(key, [at(address)]);
    const fetchedAtMs = clock.monotonicMs();
    await clock.advance(10_000);
    expect(fetcher.fetchedAtMs(key)).toBe(fetchedAtMs);
    table.depart(key, 1_000, clock.monotonicMs());
    expect(fetcher.fetchedAtMs(key)).toBe(Number.NEGATIVE_INFINITY);
  });

  test('those who listen are told of records that were taken, and of nothing after stop', async () => {
    const { web, fetcher, key, sealed } = setUp();
    const heard: number[] = [];
    fetcher.onRecord(({ seq }) => heard.push(seq));
    await fetcher.fetch(key, [at(web.serve(() => sealed({ seq: 3 })))]);
    await fetcher.fetch(key, [at(web.serve(() => Buffer.from('garbage')))]);
    expect(heard).toStrictEqual([3]);
    let give = (_: Buffer): void => {};
    const late = fetcher.fetch(key, [at(web.serve(() => new Promise<Buffer>((done) => (give = done))))]);
    fetcher.stop();
    give(sealed({ seq: 4 }));
    expect(await late).toBe('unreachable');
    expect(heard).toStrictEqual([3]);
  });

  test('the DHT gives its copy after stop: nothing is taken', async () => {
    const { fetcher, table, key, sealed, putInDht } = setUp();
    putInDht(sealed());
    const late = fetcher.fetch(key, [IN_DHT]);
    fetcher.stop();
    expect(await late).toBe('gone');
    expect(table.size).toBe(0);
  });
});
