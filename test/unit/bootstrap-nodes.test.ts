/** Joining by bootstrap nodes that answer as told, on a clock that stands still. */
import { describe, expect, test } from '@jest/globals';
import type { DhtAddress } from 'hyperdht';
import { BootstrapNodes } from '../../sidecar/mesh/dht/bootstrap-nodes.ts';
import { LostNodes } from '../../sidecar/mesh/dht/lost-nodes.ts';
import { describeDht } from '../../sidecar/mesh/dht/status.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { FakeClock, settle } from '../support/runner/fake-clock.ts';

const at = (n: number): DhtAddress => ({ host: `10.0.0.${n}`, port: 49_737 });

function setUp(o: { bootstrap?: DhtAddress[]; known?: DhtAddress[]; own?: DhtAddress | null }) {
  const clock = new FakeClock();
  const alive = new Set<string>();
  const foreign = new Set<string>();
  const pings: string[] = [];
  const state = {
    list: [] as DhtAddress[],
    settled: 0,
    changes: 0,
    reunions: 0,
    wide: 0,
    table: [] as DhtAddress[],
  };
  const lost = new LostNodes(o.known ?? []);
  const bootstrapNodes = new BootstrapNodes({
    rpc: {
      ping: (node) =>
        new Promise((resolve, reject) => {
          pings.push(node.host);
          if (alive.has(node.host)) resolve({ persistent: !foreign.has(node.host) });
          else clock.after(4_000, () => reject(new Error('REQUEST_TIMEOUT')));
        }),
      settle: () => {
        state.settled += 1;
      },
      tableSize: () => state.table.length,
      sample: (count) => state.table.slice(0, count),
      setBootstrap: (list) => {
        state.list = list;
      },
      resolve: (host) =>
        host.endsWith('.invalid') ? Promise.reject(new Error('ENOTFOUND')) : Promise.resolve(host),
    },
    bootstrap: o.bootstrap ?? [],
    lost,
    own: o.own ?? null,
    clock,
    onChange: () => {
      state.changes += 1;
    },
    onPartitionHealed: ({ isWide }) => {
      state.reunions += 1;
      if (isWide) state.wide += 1;
    },
  });
  const kind = () =>
    describeDht({
      contact: bootstrapNodes.contact,
      nodes: state.table.length,
      joinAddress: null,
      bootstrapNodes: bootstrapNodes.states(),
      rejectedDatagrams: 0,
    }).kind;
  return { clock, alive, foreign, pings, state, lost, bootstrapNodes, kind };
}

describe('joining by bootstrap nodes', () => {
  test('without bootstrap nodes nobody is asked, and own address is what queries ask', async () => {
    const { clock, pings, state, bootstrapNodes, kind } = setUp({ own: at(1), bootstrap: [at(1)] });
    bootstrapNodes.start();
    await clock.advance(60_000);
    expect(kind()).toBe('alone');
    expect(pings).toStrictEqual([]);
    expect(state.list).toStrictEqual([at(1)]);
    bootstrapNodes.stop();
    expect(clock.pending).toBe(0);
  });

  test('the first response joins, the silent node stays out of the list until it answers', async () => {
    const { clock, alive, state, bootstrapNodes, kind } = setUp({ own: at(9), bootstrap: [at(1), at(2)] });
    alive.add('10.0.0.2');
    bootstrapNodes.start();
    await settle();
    expect(bootstrapNodes.contact).toBe('answering');
    expect(kind()).toBe('connected');
    expect(state.list).toStrictEqual([at(9), at(2)]);
    expect(state.settled).toBe(1);
    alive.add('10.0.0.1');
    await clock.advance(20_000);
    expect(state.list).toStrictEqual([at(9), at(1), at(2)]);
    bootstrapNodes.stop();
  });

  test('known nodes of the last run are asked together while nobody answers, then a few at a time', async () => {
    const known = Array.from({ length: 20 }, (_, n) => at(n + 5));
    const { clock, alive, pings, bootstrapNodes } = setUp({ bootstrap: [at(1)], known });
    bootstrapNodes.start();
    await settle();
    expect(pings).toHaveLength(1 + 16);
    pings.length = 0;
    alive.add('10.0.0.22');
    await clock.advance(4_600);
    expectNamed(bootstrapNodes.contact, 'those left out the first time have their turn').toBe('answering');
    await clock.advance(4_000);
    pings.length = 0;
    await clock.advance(5_000);
    expect(pings).toHaveLength(1 + 2);
    bootstrapNodes.stop();
  });

  test('cut off is noticed, said, and mended when somebody answers again', async () => {
    const { clock, alive, state, bootstrapNodes, kind } = setUp({ bootstrap: [at(1)] });
    alive.add('10.0.0.1');
    bootstrapNodes.start();
    await settle();
    state.table = [at(1)];
    alive.clear();
    await clock.advance(20_000);
    expect(bootstrapNodes.contact).toBe('silent');
    expect(kind()).toBe('unreachable');
    expect(state.list).toStrictEqual([]);
    alive.add('10.0.0.1');
    await clock.advance(12_000);
    expect(kind()).toBe('connected');
    expect(state.settled).toBe(2);
    bootstrapNodes.stop();
  });

  test('one lost ping is not an outage', async () => {
    const { clock, alive, bootstrapNodes } = setUp({ bootstrap: [at(1)] });
    alive.add('10.0.0.1');
    bootstrapNodes.start();
    await settle();
    alive.clear();
    await clock.advance(9_500);
    alive.add('10.0.0.1');
    await clock.advance(20_000);
    expect(bootstrapNodes.contact).toBe('answering');
    bootstrapNodes.stop();
  });

  test('no name, no response and a response from behind NAT are told apart', async () => {
    const { clock, alive, foreign, bootstrapNodes } = setUp({
      bootstrap: [{ host: 'nowhere.invalid', port: 1 }, at(1), at(2)],
    });
    alive.add('10.0.0.2');
    foreign.add('10.0.0.2');
    bootstrapNodes.start();
    await clock.advance(4_500);
    expect(bootstrapNodes.states().map((node) => node.answer)).toStrictEqual([
      'no_such_name',
      'no',
      'foreign',
    ]);
    bootstrapNodes.stop();
  });

  test('a node that fell silent is asked until it answers: the halves of a DHT find each other', async () => {
    const { clock, alive, pings, state, lost, bootstrapNodes } = setUp({ own: at(1) });
    state.table = [at(2)];
    alive.add('10.0.0.2');
    bootstrapNodes.start();
    await clock.advance(100);
    const settled = state.settled;
    for (const n of [7, 8, 9]) lost.add(at(n));
    await clock.advance(60_000);
    expect(state.reunions).toBe(0);
    alive.add('10.0.0.8');
    await clock.advance(10_100);
    expectNamed([state.reunions, state.wide], 'one node that comes and goes is no news').toStrictEqual([
      1, 0,
    ]);
    expectNamed(state.settled, 'and walks, so that the tables become one').toBe(settled + 1);
    pings.length = 0;
    await clock.advance(60_000);
    expect(pings).not.toContain('10.0.0.8');
    expect(pings).toContain('10.0.0.7');
    bootstrapNodes.stop();
    await clock.advance(5_000);
    expect(clock.pending).toBe(0);
  });

  test('many that come back one after the other are few reunions, and the last is not missed', async () => {
    const { clock, alive, state, lost, bootstrapNodes } = setUp({ own: at(1) });
    state.table = [at(2)];
    alive.add('10.0.0.2');
    bootstrapNodes.start();
    await clock.advance(20_000);
    for (let n = 10; n < 16; n += 1) {
      lost.add(at(n));
      alive.add(`10.0.0.${n}`);
    }
    await clock.advance(14_000);
    expect(state.reunions).toBe(1);
    await clock.advance(20_000);
    expectNamed([state.reunions, state.wide], 'several are').toStrictEqual([2, 1]);
    await clock.advance(60_000);
    expect(state.reunions).toBe(2);
    bootstrapNodes.stop();
  });

  test('a bootstrap node that answers again is a healed partition, also when the table is large', async () => {
    const { clock, alive, pings, state, bootstrapNodes } = setUp({ own: at(9), bootstrap: [at(1)] });
    alive.add('10.0.0.1');
    bootstrapNodes.start();
    await clock.advance(100);
    state.table = Array.from({ length: 30 }, (_, n) => at(n + 20));
    for (const { host } of state.table) alive.add(host);
    pings.length = 0;
    await clock.advance(60_000);
    const asked = pings.filter((host) => host === '10.0.0.1').length;
    expectNamed(asked, 'rarely').toBeGreaterThanOrEqual(1);
    expectNamed(asked, 'rarely').toBeLessThanOrEqual(2);
    alive.delete('10.0.0.1');
    await clock.advance(70_000);
    expect(state.reunions).toBe(0);
    alive.add('10.0.0.1');
    await clock.advance(36_000);
    expect([state.reunions, state.wide]).toStrictEqual([1, 1]);
    bootstrapNodes.stop();
  });

  test('a host that has slept is as one that was parted; slow rounds are no sleep', async () => {
    const { clock, alive, state, bootstrapNodes } = setUp({ own: at(9), bootstrap: [at(1), at(2)] });
    alive.add('10.0.0.1');
    bootstrapNodes.start();
    await clock.advance(120_000);
    expectNamed(state.reunions, 'the other node has been silent all the time').toBe(0);
    clock.sleep(60_000);
    await clock.advance(9_100);
    expect([state.reunions, state.wide]).toStrictEqual([1, 1]);
    await clock.advance(120_000);
    expect(state.reunions).toBe(1);
    bootstrapNodes.stop();
  });
});
