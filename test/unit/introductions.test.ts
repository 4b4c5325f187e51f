/** The greeter: whom it fetches, whom not, and that it takes nobody's word for more than an address. */
import { describe, expect, test } from '@jest/globals';
import type { HostPort } from '../../sidecar/core/host-port.ts';
import { silentLog } from '../../sidecar/core/log.ts';
import { Introductions } from '../../sidecar/mesh/discovery/introductions.ts';
import type { FetchOutcome, RecordSource } from '../../sidecar/mesh/discovery/record-fetcher.ts';
import { keyOf, peerOf, recordOf, tableOf } from '../support/meshes/peers.ts';
import { expectNamed } from '../support/runner/expectations.ts';

const OWN = 'a'.repeat(64);
const KNOWN = keyOf(1);
const NEW = 'c'.repeat(64);
const ADDRESS: HostPort = { host: '10.42.0.7', port: 8_000 };

/** Of one that does not tell its revision. */
function by(address: HostPort, revision: number | null = null) {
  return { address, revision };
}

function setUp(peers = 1) {
  const fetched: { key: string; sources: readonly RecordSource[] }[] = [];
  const ends: ((outcome: FetchOutcome) => void)[] = [];
  const known = peerOf(tableOf([recordOf(1, { vpn_ip: ADDRESS.host, inbound_port: ADDRESS.port })]), 1);
  const greeter = new Introductions({
    table: { get: (key) => (key === KNOWN ? known : undefined), size: peers, all: () => [known] },
    fetcher: {
      fetch(key, sources) {
        fetched.push({ key, sources });
        return new Promise((resolve) => ends.push(resolve));
      },
    },
    own: { keyHex: OWN },
    mayAsk: ({ host }) => host.startsWith('10.42.'),
    maxPeers: 256,
    log: silentLog,
  });
  return { greeter, fetched, ends, known };
}

describe('greeting a newcomer', () => {
  test('an unknown member is asked for its record where it says', async () => {
    const { greeter, fetched, ends } = setUp();
    const met = greeter.onIntroduction(NEW, by(ADDRESS));
    expect(fetched).toStrictEqual([{ key: NEW, sources: [{ kind: 'address', address: ADDRESS }] }]);
    ends[0]?.('ok');
    await met;
  });

  test('who is known, itself, or elsewhere than in the VPN is left alone', async () => {
    const { greeter, fetched } = setUp();
    await greeter.onIntroduction(KNOWN, by(ADDRESS));
    await greeter.onIntroduction(OWN, by(ADDRESS));
    await greeter.onIntroduction(NEW, by({ host: '192.0.2.1', port: 80 }));
    expect(fetched).toStrictEqual([]);
  });

  test('who is known with an older record than it has now is asked again', async () => {
    const { greeter, fetched, known } = setUp();
    expect(known.record.revision).toBe(0);
    await greeter.onIntroduction(KNOWN, by(ADDRESS, 0));
    expect(fetched).toStrictEqual([]);
    void greeter.onIntroduction(KNOWN, by(ADDRESS, 1));
    expect(fetched).toHaveLength(1);
    const full = setUp(256);
    void full.greeter.onIntroduction(KNOWN, by(ADDRESS, 1));
    expectNamed(full.fetched, 'who is known takes no room').toHaveLength(1);
  });

  test('of a change here those that live are asked for their records, by which they learn of it', () => {
    const { greeter, fetched, known } = setUp();
    greeter.recordChanged();
    expect(fetched).toStrictEqual([{ key: KNOWN, sources: [{ kind: 'address', address: ADDRESS }] }]);
    for (const [presence, state] of [
      ['suspect', 'ready'],
      ['live', 'draining'],
    ] as const) {
      Object.assign(known, { presence, state });
      greeter.recordChanged();
    }
    expect(fetched).toHaveLength(1);
  });

  test('who is known in a former life is asked again: it came back', async () => {
    const moved = setUp();
    void moved.greeter.onIntroduction(KNOWN, by({ ...ADDRESS, port: 8_001 }));
    expectNamed(moved.fetched, 'at another address').toHaveLength(1);

    const elsewhere = setUp();
    void elsewhere.greeter.onIntroduction(KNOWN, by({ ...ADDRESS, host: '10.42.0.8' }));
    expectNamed(elsewhere.fetched, 'at another host, by the same port').toHaveLength(1);

    const left = setUp();
    left.known.state = 'draining';
    void left.greeter.onIntroduction(KNOWN, by(ADDRESS));
    expectNamed(left.fetched, 'after its good-bye').toHaveLength(1);

    const silent = setUp();
    silent.known.presence = 'suspect';
    void silent.greeter.onIntroduction(KNOWN, by(ADDRESS));
    expectNamed(silent.fetched, 'after it did not answer').toHaveLength(1);
  });

  test('with many known, or many under way, newcomers are left to the lookups', async () => {
    const full = setUp(256);
    await full.greeter.onIntroduction(NEW, by(ADDRESS));
    expect(full.fetched).toHaveLength(0);

    const busy = setUp();
    const keys = Array.from({ length: 40 }, (_, n) => n.toString(16).padStart(64, '0'));
    const all = keys.map((key) => busy.greeter.onIntroduction(key, by(ADDRESS)));
    expect(busy.fetched).toHaveLength(32);
    for (const end of busy.ends) end('unreachable');
    await Promise.all(all);
    void busy.greeter.onIntroduction(NEW, by(ADDRESS));
    expectNamed(busy.fetched, 'one that failed makes room').toHaveLength(33);
  });

  test('one that introduces itself without end keeps nobody else out', async () => {
    const { greeter, fetched, ends } = setUp();
    const all = Array.from({ length: 100 }, () => greeter.onIntroduction(NEW, by(ADDRESS)));
    void greeter.onIntroduction('d'.repeat(64), by(ADDRESS));
    expect(fetched.map(({ key }) => key)).toStrictEqual([NEW, 'd'.repeat(64)]);
    ends[0]?.('unreachable');
    await Promise.all(all);
    void greeter.onIntroduction(NEW, by(ADDRESS));
    expect(fetched).toHaveLength(3);
  });
});
