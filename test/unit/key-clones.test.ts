/** Two lives of one key: what is believed to be that, and what is not, whoever passes on or plays again what. */

import { Buffer } from 'node:buffer';
import { describe, expect, test } from '@jest/globals';
import { silentLog } from '../../sidecar/core/log.ts';
import { KeyClones, type LifeAddress } from '../../sidecar/mesh/discovery/key-clones.ts';
import type { Life } from '../../sidecar/mesh/membership/life-proof.ts';
import { member, NOW_MS, recordOf } from '../support/meshes/members.ts';
import { FakeClock } from '../support/runner/fake-clock.ts';

type Ask = (address: LifeAddress, keyHex: string, path: string) => Promise<Buffer>;

const nobody: Ask = () => Promise.reject(new Error('refused'));

let lives = 0;

/** One run of a sidecar with this identity, asked by others through `answer`. */
function run(identity: ReturnType<typeof member>, place: string, epoch: number, ask: Ask = nobody) {
  const said: string[] = [];
  const say = (_fields: object, message: string): void => void said.push(message);
  const own = { keyHex: identity.keyHex, secretKey: identity.secretKey };
  const life: Life = { id: String(++lives).padStart(16, '0'), epoch, place, isDraining: false };
  const state = { life, changes: 0, reclaimed: 0, ask };
  const clones = new KeyClones({
    own,
    life: () => state.life,
    ask: (...asked) => state.ask(...asked),
    mayAsk: () => true,
    takeNewKey: () => {
      state.changes += 1;
      const next = member(`new-${lives}`);
      own.keyHex = next.keyHex;
      own.secretKey = next.secretKey;
      return null;
    },
    reclaim: () => {
      state.reclaimed += 1;
    },
    clock: new FakeClock(),
    log: { ...silentLog, warn: say, error: say },
  });
  const answer = (callerKey: string, path: string): Promise<Buffer> =>
    Promise.resolve(Buffer.from(JSON.stringify(clones.answer(callerKey, path))));
  return { clones, state, said, answer, keyHex: () => own.keyHex };
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const OLD = { host: '10.42.0.7', port: 8000 };
const NEW = { host: '10.42.0.8', port: 8000 };

/** What asks under our own key and reaches the given one. */
function reaching(one: ReturnType<typeof run>): Ask {
  return (_address, keyHex, path) =>
    one.keyHex() === keyHex ? one.answer(keyHex, path) : Promise.reject(new Error('not signed by that key'));
}

describe('two lives of our own key', () => {
  const identity = member('gpu');

  test('the younger finds the older: both say it once, and only the younger changes', async () => {
    const older = run(identity, '10.42.0.7:8000', 1_000);
    const younger = run(identity, '10.42.0.8:8000', 2_000, reaching(older));
    older.state.ask = reaching(younger);
    younger.clones.found(OLD);
    await settled();
    expect([older.state.changes, younger.state.changes]).toStrictEqual([0, 1]);
    expect([older.said.length, younger.said.length]).toStrictEqual([1, 1]);
    for (const { said } of [older, younger])
      expect(said[0]).toMatch(/10\.42\.0\.7:8000.*10\.42\.0\.8:8000|10\.42\.0\.8:8000.*10\.42\.0\.7:8000/);
  });

  test('the older finds the younger, which has no way back: it is told all the same', async () => {
    const younger = run(identity, 'https://gpu.example', 2_000);
    const older = run(identity, '10.42.0.7:8000', 1_000, reaching(younger));
    older.clones.found('https://gpu.example');
    await settled();
    expect([older.state.changes, younger.state.changes]).toStrictEqual([0, 1]);
  });

  test('hundreds of places that never answer are asked at the same time by the dozen, not all', async () => {
    let asked = 0;
    const one = run(identity, '10.42.0.7:8000', 1_000, () => {
      asked += 1;
      return new Promise(() => {});
    });
    for (let n = 1; n <= 255; n++) one.clones.found({ host: `10.42.1.${n}`, port: 8_000 });
    await settled();
    expect(asked).toBe(32);
  });

  test('a stranger who passes our question back to us: no clone', async () => {
    const one = run(identity, '10.42.0.7:8000', 1_000);
    one.state.ask = reaching(one);
    one.clones.found(NEW);
    await settled();
    expect([one.state.changes, one.clones.notes]).toStrictEqual([0, []]);
  });

  test('an answer of a former life, played again: no clone', async () => {
    const former = run(identity, '10.42.0.8:8000', 1_000);
    const kept = await former.answer(identity.keyHex, `/life/${'0'.repeat(32)}`);
    const one = run(identity, '10.42.0.7:8000', 2_000, () => Promise.resolve(kept));
    one.clones.found(NEW);
    await settled();
    expect([one.state.changes, one.clones.notes]).toStrictEqual([0, []]);
  });

  test('a member without the key: no clone, whatever it says', async () => {
    const rogue = run(member('rogue'), '10.42.0.8:8000', 1);
    const one = run(identity, '10.42.0.7:8000', 2_000, (_address, _key, path) =>
      rogue.answer(rogue.keyHex(), path),
    );
    one.clones.found(NEW);
    one.clones.foundRecord(recordOf(member('rogue'), { vpn_ip: '10.42.0.8' }));
    const { challenge, proof } = JSON.parse(
      (await one.answer(rogue.keyHex(), `/life/${'1'.repeat(32)}`)).toString(),
    );
    expect([challenge, typeof proof]).toStrictEqual([undefined, 'string']);
    await settled();
    expect([one.state.changes, one.clones.notes]).toStrictEqual([0, []]);
  });

  test('a former life that drains while its successor begins: no clone', async () => {
    const former = run(identity, '10.42.0.8:8000', 1_000);
    former.state.life = { ...former.state.life, isDraining: true };
    const one = run(identity, '10.42.0.7:8000', 2_000, reaching(former));
    one.clones.found(NEW);
    await settled();
    expect([one.state.changes, former.state.changes, one.clones.notes]).toStrictEqual([0, 0, []]);
  });

  test('a record of a former life in the DHT, where nobody answers now: no clone', async () => {
    const one = run(identity, '10.42.0.7:8000', 2_000);
    one.clones.foundRecord(recordOf(identity, { vpn_ip: '10.42.0.8', epoch: 1_000 }));
    await settled();
    expect([one.state.changes, one.clones.notes]).toStrictEqual([0, []]);
  });
});

describe('the key of a peer', () => {
  const identity = member('gpu');
  const at = (vpn_ip: string, epoch: number) =>
    recordOf(identity, { vpn_ip, epoch, last_seen: NOW_MS / 1000 });

  /** Where the peer answers: place → run. */
  function watcher(places: Readonly<Record<string, ReturnType<typeof run>>>) {
    return run(member('app'), '10.42.0.1:8000', 5, (address, _key, path) => {
      const there = typeof address === 'string' ? undefined : places[address.host];
      return there === undefined ? nobody(address, '', '') : there.answer('somebody', path);
    });
  }

  test('answers as two lives in two places: said once with both', async () => {
    const app = watcher({
      '10.42.0.7': run(identity, '10.42.0.7:8000', 1_000),
      '10.42.0.8': run(identity, '10.42.0.8:8000', 2_000),
    });
    for (const [place, epoch] of [
      ['10.42.0.7', 1_000],
      ['10.42.0.8', 2_000],
      ['10.42.0.7', 1_000],
    ] as const) {
      app.clones.seen(at(place, epoch));
      await settled();
    }
    expect(app.said).toStrictEqual([
      'two sidecars run with the key of gpu at once: 10.42.0.7:8000 and 10.42.0.8:8000',
    ]);
    expect(app.clones.addressesOf(identity.keyHex)).toHaveLength(2);
  });

  test.each([
    ['started again elsewhere', [at('10.42.0.7', 1_000), at('10.42.0.8', 2_000)], { '10.42.0.8': 2_000 }],
    ['moved within one life', [at('10.42.0.7', 1_000), at('10.42.0.8', 1_000)], { '10.42.0.8': 1_000 }],
    [
      'started again, then an old record comes',
      [at('10.42.0.8', 2_000), at('10.42.0.7', 1_000)],
      { '10.42.0.8': 2_000 },
    ],
    ['started again in its place', [at('10.42.0.8', 1_000), at('10.42.0.8', 2_000)], { '10.42.0.8': 2_000 }],
  ])('%s: no clone', async (_what, records, living) => {
    const app = watcher(
      Object.fromEntries(
        Object.entries(living).map(([ip, epoch]) => [ip, run(identity, `${ip}:8000`, epoch)]),
      ),
    );
    for (const record of records) {
      app.clones.seen(record);
      await settled();
    }
    expect([app.said, app.clones.notes]).toStrictEqual([[], []]);
  });
});
