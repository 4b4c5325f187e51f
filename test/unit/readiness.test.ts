/**
 * Readiness: no peers is never ready, and every "no" comes with a reason and what to do.
 */
import { describe, expect, test } from '@jest/globals';
import { assessReadiness, type ReadinessFacts } from '../../sidecar/observe/readiness.ts';

const facts = (change: Partial<ReadinessFacts>): ReadinessFacts => ({
  peersKnown: 3,
  peersUsable: 2,
  dht: { kind: 'connected', nodes: 4, hint: '4 other nodes known.' },
  draining: false,
  vpnAwaited: null,
  ...change,
});
const codes = (change: Partial<ReadinessFacts>) =>
  assessReadiness(facts(change)).reasons.map(({ code }) => code);

describe('readiness', () => {
  test('with peers it is ready and nothing is wrong', () => {
    expect(assessReadiness(facts({}))).toStrictEqual({
      ready: true,
      status: 'ready',
      peers_known: 3,
      peers_usable: 2,
      dht: { status: 'connected', nodes: 4, hint: '4 other nodes known.' },
      reasons: [],
    });
  });

  test('without peers it is never ready, whatever the DHT says', () => {
    const expected = {
      alone: 'no_other_member',
      connected: 'no_peers',
      unreachable: 'dht_unreachable',
    } as const;
    for (const kind of ['alone', 'connected', 'unreachable'] as const) {
      const readiness = assessReadiness(
        facts({ peersKnown: 0, peersUsable: 0, dht: { kind, nodes: 1, hint: 'do it' } }),
      );
      expect(readiness.ready).toBe(false);
      expect(readiness.reasons.map(({ code }) => code)).toStrictEqual([expected[kind]]);
      for (const { detail, hint } of readiness.reasons) expect(detail !== '' && hint !== '').toBe(true);
    }
  });

  test('the view outlives the DHT: still ready, and it says what is wrong', () => {
    const dht = { kind: 'unreachable', nodes: 0, hint: 'is UDP let through?' } as const;
    const readiness = assessReadiness(facts({ dht }));
    expect(readiness.ready).toBe(true);
    expect(readiness.reasons[0]?.hint).toBe('is UDP let through?');
  });

  test('peers of which none is usable are tried all the same, and it says so', () => {
    expect(assessReadiness(facts({ peersUsable: 0 })).ready).toBe(true);
    expect(codes({ peersUsable: 0 })).toStrictEqual(['no_usable_peers']);
  });

  test('a sidecar that drains is not ready', () => {
    expect(assessReadiness(facts({ draining: true })).ready).toBe(false);
    expect(codes({ draining: true })).toStrictEqual(['draining']);
  });
});
