/** The announcer against a DHT node that does as told, on a clock that stands still. */
import { describe, expect, test } from '@jest/globals';
import HyperDHT from 'hyperdht';
import { silentLog } from '../../sidecar/core/log.ts';
import type { HealedPartition } from '../../sidecar/mesh/dht/bootstrap-nodes.ts';
import type { DhtStatus } from '../../sidecar/mesh/dht/status.ts';
import { type AnnouncedAddress, Announcer } from '../../sidecar/mesh/discovery/announcer.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { FakeClock, settle } from '../support/runner/fake-clock.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

const INTERVAL = 60_000;
const VPN: AnnouncedAddress = { address: { host: '10.42.0.10', port: 8_000 }, hasTunnel: false };
const HOME: AnnouncedAddress = { address: null, hasTunnel: true };

class FakeNode {
  readonly calls: string[] = [];
  failing = false;
  isJoined = true;
  /** Highest seq that the storing nodes have. */
  storedSeq = 0;
  hold: Promise<void> | null = null;
  #listener = (_: DhtStatus): void => {};
  reunited = (_reunion: HealedPartition): void => {};

  async announce(
    _t: Buffer,
    _k: unknown,
    at: readonly { host: string; port: number }[],
    o: { clear: boolean },
  ) {
    await this.hold;
    this.calls.push(`announce ${at.map((a) => `${a.host}:${a.port}`).join()}${o.clear ? ' clear' : ''}`);
    if (this.failing) throw new Error('Too few nodes responded');
    return 3;
  }
  async unannounce(): Promise<void> {
    this.calls.push('unannounce');
  }
  async mutablePut(_k: unknown, value: Buffer, seq: number): Promise<void> {
    this.calls.push(`put ${value}`);
    if (seq > this.storedSeq && !this.failing) this.storedSeq = seq;
  }
  async mutableGet(_k: Buffer, minSeq: number) {
    return this.storedSeq >= minSeq ? { value: Buffer.alloc(0), seq: this.storedSeq } : null;
  }
  onStatus(listener: (status: DhtStatus) => void): () => void {
    this.#listener = listener;
    return () => {
      this.#listener = () => {};
    };
  }
  onPartitionHealed(listener: (reunion: HealedPartition) => void): () => void {
    this.reunited = listener;
    return () => {
      this.reunited = () => {};
    };
  }
  status(): DhtStatus {
    return { kind: this.isJoined ? 'connected' : 'alone' } as DhtStatus;
  }
  joined(): void {
    this.#listener({ kind: 'connected' } as DhtStatus);
  }
}

function setUp(place: AnnouncedAddress, services = ['llm-inference']) {
  const node = new FakeNode();
  const clock = new FakeClock();
  const now = { place, record: 'ready' };
  const announcer = new Announcer({
    node,
    keyPair: HyperDHT.keyPair(),
    certificate: () => Buffer.alloc(0),
    topicKey: Buffer.alloc(32, 1),
    services,
    shards: 1,
    place: () => now.place,
    sealRecord: () => Buffer.from(now.record),
    intervalMs: INTERVAL,
    stopLimitMs: 2_000,
    clock,
    random: () => 0.5,
    log: silentLog,
  });
  onTestEnd(() => announcer.stop());
  return { node, clock, now, announcer };
}

describe('announcing in the DHT', () => {
  test('announces at once, clearing a former life, then once per interval', async () => {
    const { node, clock, announcer } = setUp(VPN);
    announcer.start();
    await settle();
    expect(node.calls).toStrictEqual(['announce 10.42.0.10:8000 clear']);
    await clock.advance(INTERVAL);
    expect(node.calls.slice(1)).toStrictEqual(['announce 10.42.0.10:8000']);
    expect(announcer.status).toStrictEqual({
      storedAtMs: clock.monotonicMs(),
      storers: 3,
      failures: 0,
      reason: null,
    });
  });

  test('a worker without VPN is announced without address and keeps its record in the DHT', async () => {
    const { node, announcer } = setUp(HOME);
    announcer.start();
    await settle();
    expect(node.calls.sort()).toStrictEqual(['announce  clear', 'put ready']);
  });

  test('a worker with VPN and tunnel does both', async () => {
    const { node, announcer } = setUp({ ...VPN, hasTunnel: true });
    announcer.start();
    await settle();
    expect(node.calls.sort()).toStrictEqual(['announce 10.42.0.10:8000 clear', 'put ready']);
  });

  test('a failed round is repeated soon, at growing pauses, and again at once when the node has joined', async () => {
    const { node, clock, announcer } = setUp(VPN);
    node.failing = true;
    announcer.start();
    await clock.advance(10_000);
    const tries = node.calls.length;
    expectNamed(tries, `${tries} tries in 10 s`).toBeGreaterThanOrEqual(4);
    expectNamed(tries, `${tries} tries in 10 s`).toBeLessThanOrEqual(8);
    expect(announcer.status.reason).toBe('Too few nodes responded');
    node.failing = false;
    node.joined();
    await settle();
    expect(node.calls).toHaveLength(tries + 1);
    expect(announcer.status.failures).toBe(0);
  });

  test('a new address is told at once, and clears the old one', async () => {
    const { node, now, announcer } = setUp(VPN);
    announcer.start();
    await settle();
    now.place = { address: { host: '10.42.0.11', port: 8_000 }, hasTunnel: false };
    announcer.changed();
    await settle();
    expect(node.calls.at(-1)).toBe('announce 10.42.0.11:8000 clear');
  });

  test('changes during a round make one more round, not many', async () => {
    const { node, announcer } = setUp(VPN);
    let release = (): void => {};
    node.hold = new Promise((resolve) => {
      release = resolve;
    });
    announcer.start();
    for (let change = 0; change < 5; change += 1) announcer.changed();
    release();
    await settle();
    expect(node.calls).toHaveLength(2);
  });

  test('a higher seq of a former life is outbid; a record that nobody takes is a failure', async () => {
    const { node, clock, announcer } = setUp(HOME);
    node.storedSeq = clock.unixMs() + 3_600_000;
    announcer.start();
    await settle();
    expect(announcer.status.failures).toBe(0);
    expect(node.storedSeq).toBe(clock.unixMs() + 3_600_001);
    node.mutableGet = async () => null;
    announcer.changed();
    await settle();
    expect(announcer.status.reason).toBe('the DHT did not take the record');
  });

  test('stop withdraws after the round that runs, puts the last record, and leaves no timer', async () => {
    const { node, clock, now, announcer } = setUp(HOME, ['a', 'b']);
    let release = (): void => {};
    node.hold = new Promise((resolve) => {
      release = resolve;
    });
    announcer.start();
    now.record = 'draining';
    const stopped = announcer.stop();
    release();
    await stopped;
    const last = node.calls.slice(-3).sort();
    expect(last).toStrictEqual(['put draining', 'unannounce', 'unannounce']);
    await settle();
    expect(clock.pending).toBe(0);
    node.joined();
    await settle();
    expectNamed(
      node.calls.filter((call) => call.startsWith('announce')),
      'silent from then on',
    ).toHaveLength(2);
  });

  test('stop does not wait longer than it may', async () => {
    const { node, clock, announcer } = setUp(VPN);
    node.hold = new Promise(() => {});
    announcer.start();
    let isStopped = false;
    void announcer.stop().then(() => {
      isStopped = true;
    });
    await clock.advance(1_999);
    expect(isStopped).toBe(false);
    await clock.advance(1);
    expect(isStopped).toBe(true);
  });

  test('a record that cannot be sealed is a failed round, not a crash', async () => {
    const clock = new FakeClock();
    const broken = new Announcer({
      node: new FakeNode(),
      keyPair: HyperDHT.keyPair(),
      certificate: () => Buffer.alloc(0),
      topicKey: Buffer.alloc(32, 1),
      services: ['a'],
      shards: 1,
      place: () => HOME,
      sealRecord: () => {
        throw new Error('too large');
      },
      intervalMs: INTERVAL,
      stopLimitMs: 100,
      clock,
      random: () => 0.5,
      log: silentLog,
    });
    broken.start();
    await settle();
    expect(broken.status.reason).toBe('too large');
    await broken.stop();
  });

  test('an announcement that fails before the put of the record leaves no rejection to nobody', async () => {
    const { announcer, node } = setUp({ address: null, hasTunnel: true });
    let unheard = 0;
    const count = (): void => {
      unheard += 1;
    };
    process.on('unhandledRejection', count);
    onTestEnd(() => process.off('unhandledRejection', count));
    node.failing = true;
    node.mutablePut = () => Promise.reject(new Error('Too few nodes responded'));
    announcer.start();
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    expect(announcer.status.failures).toBe(1);
    expect(unheard).toBe(0);
  });

  test('who was parted from others announces again, and no more when stopped', async () => {
    const { node, announcer } = setUp(VPN);
    const rounds = () => node.calls.filter((call) => call.startsWith('announce')).length;
    announcer.start();
    await settle();
    expect(rounds()).toBe(1);
    node.reunited({ isWide: false });
    await settle();
    expect(rounds()).toBe(2);
    await announcer.stop();
    node.reunited({ isWide: false });
    await settle();
    expect(rounds()).toBe(2);
  });
});
