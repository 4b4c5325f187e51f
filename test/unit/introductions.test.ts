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

function setUp(peers = 1) {
  const fetched: { key: string; sources: readonly RecordSource[] }[] = [];
  const ends: ((outcome: FetchOutcome) => void)[] = [];
  const known = peerOf(tableOf([recordOf(1, { vpn_ip: ADDRESS.host, inbound_port: ADDRESS.port })]), 1);
  const greeter = new Introductions({
    table: { get: (key) => (key === KNOWN ? known : undefined), size: peers },
    fetcher: {
      fetch(key, sources) {
        fetched.push({ key, sources });
        return new Promise((resolve) => ends.push(resolve));
      },
    },
    ownKeyHex: OWN,
    mayAsk: ({ host }) => host.startsWith('10.42.'),
    maxPeers: 256,
    log: silentLog,
  });
  return { greeter, fetched, ends, known };
}

describe('greeting a newcomer', () => {
  test('an unknown member is asked for its record where it says', async () => {
    const { greeter, fetched, ends } = setUp();
    const met = greeter.onIntroduction(NEW, ADDRESS);
    expect(fetched).toStrictEqual([{ key: NEW, sources: [{ kind: 'address', address: ADDRESS }] }]);
    ends[0]?.('ok');
    await met;
  });

  test('who is known, itself, or elsewhere than in the VPN is left alone', async () => {
    const { greeter, fetched } = setUp();
    await greeter.onIntroduction(KNOWN, ADDRESS);
    await greeter.onIntroduction(OWN, ADDRESS);
    await greeter.onIntroduction(NEW, { host: '192.0.2.1', port: 80 });
    expect(fetched).toStrictEqual([]);
  });

  test('who is known in a former life is asked again: it came back', async () => {
    const moved = setUp();
    void moved.greeter.onIntroduction(KNOWN, { ...ADDRESS, port: 8_001 });
    expectNamed(moved.fetched, 'at another address').toHaveLength(1);

    const elsewhere = setUp();
    void elsewhere.greeter.onIntroduction(KNOWN, { ...ADDRESS, host: '10.42.0.8' });
    expectNamed(elsewhere.fetched, 'at another host, by the same port').toHaveLength(1);

    const left = setUp();
    left.known.state = 'draining';
    void left.greeter.onIntroduction(KNOWN, ADDRESS);
    expectNamed(left.fetched, 'after its good-bye').toHaveLength(1);

    const silent = setUp();
    silent.known.presence = 'suspect';
    void silent.greeter.onIntroduction(KNOWN, ADDRESS);
    expectNamed(silent.fetched, 'after it did not answer').toHaveLength(1);
  });

  test('with many known, or many under way, newcomers are left to the lookups', async () => {
    const full = setUp(256);
    await full.greeter.onIntroduction(NEW, ADDRESS);
    expect(full.fetched).toHaveLength(0);

    const busy = setUp();
    const keys = Array.from({ length: 40 }, (_, n) => n.toString(16).padStart(64, '0'));
    const all = keys.map((key) => busy.greeter.onIntroduction(key, ADDRESS));
    expect(busy.fetched).toHaveLength(32);
    for (const end of busy.ends) end('unreachable');
    await Promise.all(all);
    void busy.greeter.onIntroduction(NEW, ADDRESS);
    expectNamed(busy.fetched, 'one that failed makes room').toHaveLength(33);
  });

  test('one that introduces itself without end keeps nobody else out', async () => {
    const { greeter, fetched, ends } = setUp();
    const all = Array.from({ length: 100 }, () => greeter.onIntroduction(NEW, ADDRESS));
    void greeter.onIntroduction('d'.repeat(64), ADDRESS);
    expect(fetched.map(({ key }) => key)).toStrictEqual([NEW, 'd'.repeat(64)]);
    ends[0]?.('unreachable');
    await Promise.all(all);
    void greeter.onIntroduction(NEW, ADDRESS);
    expect(fetched).toHaveLength(3);
  });
});
