/** The roster on a clock that stands still: when it is looked at, and that joining is never missed. */

import { describe, expect, test } from '@jest/globals';
import { silentLog } from '../../sidecar/core/log.ts';
import type { HealedPartition } from '../../sidecar/mesh/dht/bootstrap-nodes.ts';
import type { DhtStatus } from '../../sidecar/mesh/dht/status.ts';
import type { LookupOptions } from '../../sidecar/mesh/discovery/lookup.ts';
import { Roster } from '../../sidecar/mesh/discovery/roster.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { FakeClock } from '../support/runner/fake-clock.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

function setUp() {
  const clock = new FakeClock();
  const looks: { end(): void }[] = [];
  const listeners = new Set<(status: DhtStatus) => void>();
  const reunions = new Set<(reunion: HealedPartition) => void>();
  const lines: string[] = [];
  const table = { size: 0, offering: () => [] };
  const say = (_fields: object, message: string): void => void lines.push(message);
  const dht = {
    onStatus(listener: (status: DhtStatus) => void) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    onPartitionHealed(listener: (reunion: HealedPartition) => void) {
      reunions.add(listener);
      return () => void reunions.delete(listener);
    },
    status: () => ({ kind: 'alone' }) as DhtStatus,
    async *lookup() {
      await new Promise<void>((resolve) => looks.push({ end: resolve }));
    },
  };
  const looking = {
    node: dht,
    table: table as unknown as LookupOptions['table'],
    fetcher: {} as LookupOptions['fetcher'],
    topicKey: Buffer.alloc(32),
    own: { keyHex: '0'.repeat(64) },
    shards: 1,
    sampleSize: 64,
    recordMaxAgeMs: 1_000,
    hasVpn: () => true,
    mayAsk: () => true,
  };
  const roster = new Roster({
    ...looking,
    dht,
    clock,
    random: () => 0.5,
    intervalMs: 30_000,
    log: { ...silentLog, debug: say, info: say, warn: say },
  });
  onTestEnd(() => roster.stop());
  const become = (kind: DhtStatus['kind']): void => {
    for (const listener of listeners) listener({ kind } as DhtStatus);
  };
  const joined = (): void => become('connected');
  /** Ends the look that runs, and lets what follows happen. */
  const end = async (): Promise<void> => {
    looks.at(-1)?.end();
    await clock.advance(0);
  };
  const reunited = (): void => {
    for (const listener of reunions) listener({ isWide: false });
  };
  return { roster, looks, table, lines, clock, become, joined, reunited, end };
}

describe('looking at the roster', () => {
  test('a look that began before anybody was there is followed by one at once', async () => {
    const { roster, looks, joined, end } = setUp();
    roster.start();
    joined();
    joined();
    expect(looks).toHaveLength(1);
    await end();
    expectNamed(looks, 'without a pause').toHaveLength(2);
    await end();
    expectNamed(looks, 'and once').toHaveLength(2);
  });

  test('alone: often at first; with peers: each interval; the first peers are told of once', async () => {
    const { roster, looks, table, lines, clock, end } = setUp();
    roster.start();
    await end();
    await clock.advance(499);
    expect(looks).toHaveLength(1);
    await clock.advance(1);
    expect(looks).toHaveLength(2);
    // Come in by themselves, between two looks.
    table.size = 2;
    await end();
    expect(lines).toStrictEqual(['the first peers are known']);
    await clock.advance(29_999);
    expect(looks).toHaveLength(2);
    await clock.advance(1);
    expect(looks).toHaveLength(3);
    await end();
    expect(lines).toHaveLength(1);
  });

  test('stopped: no look follows', async () => {
    const { roster, looks, joined, clock, end } = setUp();
    roster.start();
    joined();
    roster.stop();
    await end();
    await clock.advance(60_000);
    expect(looks).toHaveLength(1);
  });

  test('who was parted from others looks at once, and no more when stopped', async () => {
    const { roster, looks, table, clock, reunited, end } = setUp();
    roster.start();
    table.size = 1;
    await end();
    expect(looks).toHaveLength(1);
    reunited();
    expect(looks).toHaveLength(2);
    await end();
    await clock.advance(3_000);
    expectNamed(looks, 'and once more, for those who come a little later').toHaveLength(3);
    await end();
    await clock.advance(20_000);
    expect(looks).toHaveLength(3);
    roster.stop();
    reunited();
    expect(looks).toHaveLength(3);
  });

  test('while nobody is known it is looked at ever more rarely, each 5 s in the end', async () => {
    const { clock, looks, roster, end } = setUp();
    roster.start();
    const pausesMs: number[] = [];
    for (let n = 1; n <= 9; n += 1) {
      await end();
      const endedMs = clock.monotonicMs();
      while (looks.length === n) await clock.advance(1);
      pausesMs.push(clock.monotonicMs() - endedMs);
    }
    expect(pausesMs.slice(0, 2)).toStrictEqual([500, 750]);
    expect(pausesMs.slice(-3)).toStrictEqual([5_000, 5_000, 5_000]);
  });

  test('a DHT that falls silent is no reason to look, but to look often again', async () => {
    const { clock, looks, roster, become, end } = setUp();
    roster.start();
    await end();
    await clock.advance(500);
    await end();
    become('unreachable');
    await clock.advance(749);
    expect(looks).toHaveLength(2);
    await clock.advance(1);
    await end();
    await clock.advance(500);
    expect(looks).toHaveLength(4);
  });
});
