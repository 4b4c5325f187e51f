/** The directory on a clock that stands still: for whom a request waits, and who is let go of. */
import { describe, expect, test } from '@jest/globals';
import type { Peer } from '../../sidecar/core/peers/peer.ts';
import type { WorkerRecord } from '../../sidecar/core/peers/record.ts';
import type { DirectoryLookup, DirectoryOptions } from '../../sidecar/mesh/discovery/directory.ts';
import { sealRecord } from '../../sidecar/mesh/discovery/sealed-record.ts';
import { member, recordOf } from '../support/meshes/members.ts';
import { RecordWeb, startReader } from '../support/meshes/private-dht.ts';
import { ScriptedDht } from '../support/meshes/scripted-dht.ts';
import { expectNamed, mustHold } from '../support/runner/expectations.ts';
import { FakeClock, settle } from '../support/runner/fake-clock.ts';

const SERVICE = 'llm-inference';
const TTL = 60_000;

function setUp(options: Partial<DirectoryOptions> = {}, web: RecordWeb = new RecordWeb()) {
  const clock = new FakeClock();
  const dht = new ScriptedDht();
  const { directory, table, cache } = startReader(web, dht, { clock, ttlMs: TTL, ...options });
  /** Announces one; its record is there when `give` is called, or at once. */
  const announce = (id: string, changes: Partial<WorkerRecord> = {}, isHeld = false) => {
    const identity = member(id, { nowMs: clock.unixMs() });
    let give = (): void => {};
    const asked = new Promise<void>((resolve) => {
      give = resolve;
    });
    if (!isHeld) give();
    const address = web.serve(async () => {
      await asked;
      return sealRecord(
        identity,
        recordOf(identity, {
          vpn_ip: address.host,
          inbound_port: address.port,
          last_seen: clock.unixMs() / 1000,
          ...changes,
        }),
      );
    });
    dht.announce(identity.keyHex, address);
    return { key: identity.keyHex, give };
  };
  /** Lookups last until the returned function is called. */
  const holdLookups = (): (() => void) => {
    let release = (): void => {};
    dht.end = new Promise((resolve) => {
      release = resolve;
    });
    return release;
  };
  /** A request that has to wait; `found` is null until it does so no longer. */
  const ask = () => {
    const finding = directory.find(SERVICE, clock.monotonicMs());
    mustHold(finding.kind === 'wait', 'it is answered at once');
    const request: { found: DirectoryLookup | null } = { found: null };
    void finding.ready.then((found) => {
      request.found = found;
    });
    return request;
  };
  return { clock, dht, web, directory, table, cache, announce, holdLookups, ask };
}

/** worker_id and state of those that were found, in order; or why nobody was. */
function shown(found: DirectoryLookup | null): string {
  if (found === null) return 'waiting';
  if (found.kind === 'none') return found.code;
  return found.peers
    .map(({ record, state }) => `${record.worker_id} ${state}`)
    .sort()
    .join(', ');
}

describe('a request for a service that nobody was looked up for', () => {
  test.each(['warming', 'draining'] as const)(
    'a %s peer does not end its wait; the end of the lookup does',
    async (state) => {
      const { clock, announce, holdLookups, ask } = setUp();
      const release = holdLookups();
      announce('a', { state });
      const request = ask();
      await clock.advance(100);
      expect(shown(request.found)).toBe('waiting');
      release();
      await settle();
      expect(shown(request.found)).toBe(`a ${state}`);
    },
  );

  test('the first ready peer ends its wait, though others are warming or asked, and the lookup goes on', async () => {
    const { clock, dht, directory, announce, holdLookups, ask } = setUp();
    const release = holdLookups();
    announce('warming', { state: 'warming' });
    announce('slow', {}, true);
    const ready = announce('ready', {}, true);
    const request = ask();
    await clock.advance(10);
    expect(shown(request.found)).toBe('waiting');
    ready.give();
    await settle();
    expect(shown(request.found)).toBe('ready ready, warming warming');
    expect(directory.find(SERVICE, clock.monotonicMs()).kind).toBe('hit');
    expect(dht.lookups).toBe(1);
    release();
  });

  test('it waits for no longer than it may', async () => {
    const { clock, announce, ask } = setUp({ firstLookupWaitMs: 500 });
    announce('slow', {}, true);
    const request = ask();
    await clock.advance(499);
    expect(shown(request.found)).toBe('waiting');
    await clock.advance(1);
    expect(shown(request.found)).toBe('no_peers');
  });

  test('without a DHT that answers it hears so, and is found by one that comes back in time', async () => {
    const { clock, dht, announce, ask } = setUp({ firstLookupWaitMs: 500 });
    announce('a');
    dht.become('unreachable');
    const vain = ask();
    await clock.advance(500);
    expect(shown(vain.found)).toBe('discovery_unavailable');
    await clock.advance(2_000);
    const request = ask();
    await clock.advance(400);
    expect(shown(request.found)).toBe('waiting');
    dht.become('connected');
    await settle();
    expect(shown(request.found)).toBe('a ready');
  });
});

describe('a request for a service of which peers are known', () => {
  /** One that introduced itself and was heard, so that no lookup has found it. */
  function known(state: WorkerRecord['state'] = 'ready') {
    const stage = setUp();
    const identity = member('known', { nowMs: stage.clock.unixMs() });
    stage.table.apply(recordOf(identity, { state }), 'record', stage.clock.monotonicMs());
    for (const { health } of stage.table.get(identity.keyHex)?.routes ?? [])
      health.succeeded(stage.clock.monotonicMs());
    const find = (): string => {
      const finding = stage.directory.find(SERVICE, stage.clock.monotonicMs());
      return finding.kind === 'hit' ? `${shown(finding)}, ${finding.ageMs} ms` : 'waiting';
    };
    return { ...stage, key: identity.keyHex, find };
  }

  test('they were heard lately: it is answered at once, the next ones are hits, and one lookup goes on', async () => {
    const { clock, dht, directory, holdLookups, find } = known();
    const release = holdLookups();
    expect(find()).toBe('known ready, 0 ms');
    await clock.advance(1_000);
    expect(find()).toBe('known ready, 1000 ms');
    expect(directory.counters).toStrictEqual({ cache_hits: 1, cache_misses: 1, dht_lookups: 1 });
    expect(dht.lookups).toBe(1);
    release();
  });

  test('none was heard within the TTL: it waits for the lookup, and gets them when that brings nobody', async () => {
    const { clock, holdLookups, ask } = known();
    const release = holdLookups();
    await clock.advance(TTL);
    const request = ask();
    await clock.advance(10);
    expect(shown(request.found)).toBe('waiting');
    release();
    await settle();
    expect(shown(request.found)).toBe('known ready');
  });

  test('none was heard within the TTL, and no DHT node answers: it is answered at once', async () => {
    const { clock, dht, find } = known();
    await clock.advance(TTL);
    dht.become('unreachable');
    expect(find()).toBe('known ready, 0 ms');
  });

  test('none is ready: it waits for the lookup, and once that was in vain nobody waits', async () => {
    const { clock, holdLookups, ask, find } = known('warming');
    const release = holdLookups();
    const request = ask();
    await clock.advance(10);
    expect(shown(request.found)).toBe('waiting');
    release();
    await settle();
    expect(shown(request.found)).toBe('known warming');
    expect(find()).toBe('known warming, 0 ms');
  });

  test('an older view is told with its age', async () => {
    const { clock, dht, table, key, find } = known();
    find();
    dht.become('unreachable');
    await clock.advance(TTL);
    table.markAlive(key, clock.monotonicMs());
    expect(find()).toBe(`known ready, ${TTL} ms`);
  });
});

describe('a lookup', () => {
  test('that brought nobody is in vain; one during which the DHT fell silent has failed', async () => {
    for (const isSilent of [false, true]) {
      const { clock, dht, cache, holdLookups, ask } = setUp();
      const release = holdLookups();
      const request = ask();
      await clock.advance(10);
      if (isSilent) dht.become('unreachable');
      release();
      await settle();
      expect(shown(request.found)).toBe(isSilent ? 'discovery_unavailable' : 'no_peers');
      expect(cache.state(SERVICE, 0, clock.monotonicMs())).toStrictEqual({
        kind: 'empty',
        ageMs: 0,
        failed: isSilent,
      });
    }
  });

  test('that brought nobody lets go of nobody', async () => {
    const { clock, directory, dht, table } = setUp({ sampleSize: 1 });
    for (const id of ['a', 'b']) {
      table.apply(recordOf(member(id, { nowMs: clock.unixMs() })), 'record', clock.monotonicMs());
    }
    directory.find(SERVICE, clock.monotonicMs());
    await settle();
    expect([dht.lookups, table.offering(SERVICE).length]).toStrictEqual([1, 2]);
  });

  test.each(['connected', 'unreachable', 'failing'] as const)(
    'ends not before those of the last run have answered, also with a DHT that is %s',
    async (kind) => {
      const stage = setUp();
      const held = stage.announce('last', {}, true);
      const address = stage.dht.announced.pop()?.addresses[0] ?? null;
      const lastKnown = [{ key: held.key, services: [SERVICE], address, tunnelUrl: null }];
      const { clock, dht, directory } = setUp({ lastKnown, firstLookupWaitMs: 900 }, stage.web);
      if (kind === 'unreachable') dht.become(kind);
      if (kind === 'failing') dht.fails = true;
      const finding = directory.find(SERVICE, clock.monotonicMs());
      mustHold(finding.kind === 'wait');
      await clock.advance(800);
      expect(directory.view()).toStrictEqual(lastKnown);
      held.give();
      expect(shown(await finding.ready)).toBe('last ready');
      await clock.advance(900);
      expect(dht.listeners).toBe(0);
    },
  );

  test('goes on when the directory stops, nobody waits for it, and no other one begins', async () => {
    const { clock, dht, directory, holdLookups, ask } = setUp();
    const release = holdLookups();
    const request = ask();
    await clock.advance(10);
    directory.stop();
    await settle();
    expect(shown(request.found)).toBe('no_peers');
    release();
    await settle();
    await clock.advance(2_000);
    directory.find(SERVICE, clock.monotonicMs());
    await settle();
    expect(dht.lookups).toBe(1);
  });
});

describe('more peers than the sample', () => {
  test('those that were not heard for the longest go, but none that has a request of mine', async () => {
    const { clock, dht, directory, table, announce } = setUp({ sampleSize: 3 });
    const known = ['lately', 'quiet', 'busy'].map((id) => {
      const identity = member(id, { nowMs: clock.unixMs() });
      table.apply(recordOf(identity), 'record', clock.monotonicMs());
      return identity.keyHex;
    });
    const [lately, , busy] = known as [string, string, string];
    const endpoint = table.get(busy)?.endpoint(SERVICE);
    mustHold(endpoint !== undefined);
    endpoint.outstanding = 1;
    await clock.advance(10);
    table.markAlive(lately, clock.monotonicMs());
    await clock.advance(10);
    announce('new');
    directory.find(SERVICE, clock.monotonicMs());
    await settle();
    expect(dht.lookups).toBe(1);
    const kept = table.offering(SERVICE).map(({ record }) => record.worker_id);
    expect(kept).toStrictEqual(['lately', 'busy', 'new']);
  });

  test('one less than the sample: nobody goes', async () => {
    const { table, announce, ask } = setUp({ sampleSize: 3 });
    announce('a');
    announce('b');
    ask();
    await settle();
    expect(table.offering(SERVICE)).toHaveLength(2);
  });

  test('all have requests of mine: nobody goes', async () => {
    const { clock, dht, directory, table, announce } = setUp({ sampleSize: 1 });
    for (const id of ['a', 'b']) {
      const identity = member(id, { nowMs: clock.unixMs() });
      table.apply(recordOf(identity), 'record', clock.monotonicMs());
      const endpoint = table.get(identity.keyHex)?.endpoint(SERVICE);
      mustHold(endpoint !== undefined);
      endpoint.outstanding = 1;
    }
    announce('new');
    directory.find(SERVICE, clock.monotonicMs());
    await settle();
    expect(dht.lookups).toBe(1);
    const kept = table.offering(SERVICE).map(({ record }) => record.worker_id);
    expect(kept).toStrictEqual(['a', 'b']);
  });
});

describe('a request whose worker is not in the sample', () => {
  const hasGpu = (peer: Peer): boolean => peer.record.capabilities.gpu_type === 'H100';
  const crowd = (options: Partial<DirectoryOptions> = {}) => {
    const made = setUp({ sampleSize: 4, ...options });
    for (let n = 0; n < 20; n += 1) made.announce(`cpu-${n}`);
    return made;
  };

  test('it is found among all who are announced, and is kept when the sample is trimmed', async () => {
    const { clock, announce, directory, table, ask } = crowd();
    const request = ask();
    await settle();
    expect(request.found?.kind).toBe('hit');
    announce('gpu-1', { capabilities: { gpu_type: 'H100' } });
    const view = await directory.search(SERVICE, 'gpu_type=H100', hasGpu);
    expect(view.kind === 'hit' && view.peers.filter(hasGpu)).toHaveLength(1);
    await settle();
    expectNamed(table.offering(SERVICE).length, 'a sample, and who is wanted').toBeLessThanOrEqual(5);
    for (let round = 0; round < 3; round += 1) {
      await clock.advance(TTL);
      directory.find(SERVICE, clock.monotonicMs());
      await settle();
      expect(table.offering(SERVICE).filter(hasGpu)).toHaveLength(1);
    }
  });

  test('where there is none the view is what there is, and the search is not repeated at once', async () => {
    const { clock, dht, directory } = crowd();
    expect((await directory.search(SERVICE, 'x', () => false)).kind).toBe('hit');
    const asked = dht.lookups;
    await directory.search(SERVICE, 'x', () => false);
    expect(dht.lookups).toBe(asked);
    await directory.search(SERVICE, 'another', () => false);
    expect(dht.lookups).toBeGreaterThan(asked);
    const before = dht.lookups;
    await clock.advance(5_000);
    await directory.search(SERVICE, 'x', () => false);
    expect(dht.lookups).toBeGreaterThan(before);
  });

  test('nobody waits longer for it than for a first lookup', async () => {
    const { clock, directory, holdLookups } = crowd({ firstLookupWaitMs: 3_000 });
    holdLookups();
    let view: DirectoryLookup | null = null;
    void directory
      .search(SERVICE, 'x', () => false)
      .then((found) => {
        view = found;
      });
    await clock.advance(2_900);
    expect(view).toBe(null);
    await clock.advance(200);
    expect(view).not.toBe(null);
  });
});
