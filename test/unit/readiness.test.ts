/**
 * Readiness: no peers is never ready, and every "no" comes with a reason and what to do.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { assessReadiness, type ReadinessFacts } from '../../sidecar/observe/readiness.ts';

const facts = (change: Partial<ReadinessFacts>): ReadinessFacts => ({
  peersKnown: 3,
  peersUsable: 2,
  dht: { kind: 'connected', nodes: 4, hint: '4 other nodes known.' },
  draining: false,
  ...change,
});
const codes = (change: Partial<ReadinessFacts>) =>
  assessReadiness(facts(change)).reasons.map(({ code }) => code);

test('with peers it is ready and nothing is wrong', () => {
  assert.deepEqual(assessReadiness(facts({})), {
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
    assert.equal(readiness.ready, false);
    assert.deepEqual(
      readiness.reasons.map(({ code }) => code),
      [expected[kind]],
    );
    for (const { detail, hint } of readiness.reasons) assert.ok(detail !== '' && hint !== '');
  }
});

test('the view outlives the DHT: still ready, and it says what is wrong', () => {
  const dht = { kind: 'unreachable', nodes: 0, hint: 'is UDP let through?' } as const;
  const readiness = assessReadiness(facts({ dht }));
  assert.equal(readiness.ready, true);
  assert.equal(readiness.reasons[0]?.hint, 'is UDP let through?');
});

test('peers of which none is usable are tried all the same, and it says so', () => {
  assert.equal(assessReadiness(facts({ peersUsable: 0 })).ready, true);
  assert.deepEqual(codes({ peersUsable: 0 }), ['no_usable_peers']);
});

test('a sidecar that drains is not ready', () => {
  assert.equal(assessReadiness(facts({ draining: true })).ready, false);
  assert.deepEqual(codes({ draining: true }), ['draining']);
});
