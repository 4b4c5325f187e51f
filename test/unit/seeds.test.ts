/** Joining by seeds that answer as told, on a clock that stands still. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { DhtAddress } from 'hyperdht';
import { describeDht } from '../../sidecar/mesh/dht-status.ts';
import { Seeds } from '../../sidecar/mesh/seeds.ts';
import { FakeClock, settle } from '../support/fake-clock.ts';

const at = (n: number): DhtAddress => ({ host: `10.0.0.${n}`, port: 49_737 });

function setUp(o: { bootstrap?: DhtAddress[]; known?: DhtAddress[]; own?: DhtAddress | null }) {
  const clock = new FakeClock();
  const alive = new Set<string>();
  const foreign = new Set<string>();
  const pings: string[] = [];
  const state = { list: [] as DhtAddress[], settled: 0, changes: 0, table: [] as DhtAddress[] };
  const seeds = new Seeds({
    talk: {
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
    known: o.known ?? [],
    own: o.own ?? null,
    clock,
    onChange: () => {
      state.changes += 1;
    },
  });
  const kind = () =>
    describeDht({
      contact: seeds.contact,
      nodes: state.table.length,
      joinAddress: null,
      seeds: seeds.states(),
      rejectedDatagrams: 0,
    }).kind;
  return { clock, alive, foreign, pings, state, seeds, kind };
}

test('without seeds nobody is asked, and own address is what queries ask', async () => {
  const { clock, pings, state, seeds, kind } = setUp({ own: at(1), bootstrap: [at(1)] });
  seeds.start();
  await clock.advance(60_000);
  assert.equal(kind(), 'alone');
  assert.deepEqual(pings, []);
  assert.deepEqual(state.list, [at(1)]);
  seeds.stop();
  assert.equal(clock.pending, 0);
});

test('the first answer joins, the silent seed stays out of the list until it answers', async () => {
  const { clock, alive, state, seeds, kind } = setUp({ own: at(9), bootstrap: [at(1), at(2)] });
  alive.add('10.0.0.2');
  seeds.start();
  await settle();
  assert.equal(seeds.contact, 'answering');
  assert.equal(kind(), 'connected');
  assert.deepEqual(state.list, [at(9), at(2)]);
  assert.equal(state.settled, 1);
  alive.add('10.0.0.1');
  await clock.advance(20_000);
  assert.deepEqual(state.list, [at(9), at(1), at(2)]);
  seeds.stop();
});

test('known nodes of the last run are asked while no seed answers, and not afterwards', async () => {
  const { clock, alive, pings, seeds } = setUp({ bootstrap: [at(1)], known: [at(5), at(6)] });
  alive.add('10.0.0.6');
  seeds.start();
  await clock.advance(5_000);
  assert.equal(seeds.contact, 'answering');
  pings.length = 0;
  await clock.advance(10_000);
  assert.ok(!pings.includes('10.0.0.5'));
  seeds.stop();
});

test('cut off is noticed, said, and mended when somebody answers again', async () => {
  const { clock, alive, state, seeds, kind } = setUp({ bootstrap: [at(1)] });
  alive.add('10.0.0.1');
  seeds.start();
  await settle();
  state.table = [at(1)];
  alive.clear();
  await clock.advance(20_000);
  assert.equal(seeds.contact, 'silent');
  assert.equal(kind(), 'unreachable');
  assert.deepEqual(state.list, []);
  alive.add('10.0.0.1');
  await clock.advance(12_000);
  assert.equal(kind(), 'connected');
  assert.equal(state.settled, 2);
  seeds.stop();
});

test('one lost ping is not an outage', async () => {
  const { clock, alive, seeds } = setUp({ bootstrap: [at(1)] });
  alive.add('10.0.0.1');
  seeds.start();
  await settle();
  alive.clear();
  await clock.advance(9_500);
  alive.add('10.0.0.1');
  await clock.advance(20_000);
  assert.equal(seeds.contact, 'answering');
  seeds.stop();
});

test('no name, no answer and an answer from behind NAT are told apart', async () => {
  const { clock, alive, foreign, seeds } = setUp({
    bootstrap: [{ host: 'nowhere.invalid', port: 1 }, at(1), at(2)],
  });
  alive.add('10.0.0.2');
  foreign.add('10.0.0.2');
  seeds.start();
  await clock.advance(4_500);
  assert.deepEqual(
    seeds.states().map((seed) => seed.answer),
    ['no_such_name', 'no', 'foreign'],
  );
  seeds.stop();
});
