/** A recall: what its address says, and that it is believed only when the peer promises it. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Peer } from '../../sidecar/core/peers/peer.ts';
import { RequestAuth } from '../../sidecar/mesh/membership/request-auth.ts';
import type { PeerClient } from '../../sidecar/proxy/peer/client.ts';
import { cancelQueued, parseCancelToken } from '../../sidecar/proxy/peer/recall.ts';
import { member } from '../support/members.ts';
import { recordOf } from '../support/peers.ts';

const NOW_MS = 1_800_000_000_000;
const RECALL = { nonce: 'AAAAAAAAAAAAAAAB', epoch: 7 };

test('the address of a recall is read strictly', () => {
  assert.deepEqual(parseCancelToken('/recall/AAAAAAAAAAAAAAAB/7'), RECALL);
  assert.deepEqual(parseCancelToken('/recall/AAAAAAAAAAAAAAAB'), { ...RECALL, epoch: null });
  assert.deepEqual(parseCancelToken('/recall/a/0'), { nonce: 'a', epoch: 0 });
  const bad = [
    '',
    'a/',
    'a/b',
    'a/1/',
    'a/1/2',
    '%41/1',
    '/1',
    'a?',
    'a/1?',
    'a b',
    'a.',
    'a\n',
    'a/-1',
    'a/1.5',
  ];
  const long = ['a'.repeat(65), `a/${'1'.repeat(17)}`];
  for (const end of [...bad, ...long]) assert.equal(parseCancelToken(`/recall/${end}`), null, end);
  assert.equal(parseCancelToken('/record'), null);
});

test('from a queue: no epoch in the path, and any connection will do; else one of its own', async () => {
  const peer = new Peer(recordOf(1), 0);
  const ask = async (epoch: number | null) => {
    const asked: (readonly [path: string, isFresh: boolean | undefined])[] = [];
    const client: PeerClient = {
      async get({ path, isFresh, peerKey }) {
        assert.equal(peerKey, peer.key);
        asked.push([path, isFresh]);
        return Buffer.from('{"recalled":true}');
      },
    };
    assert.equal(await cancelQueued(peer, peer.routes, { nonce: 'AAAA-_09', epoch }, client), true);
    for (const [path] of asked) assert.deepEqual(parseCancelToken(path), { nonce: 'AAAA-_09', epoch });
    return asked;
  };
  assert.deepEqual(await ask(null), [['/recall/AAAA-_09', false]]);
  assert.deepEqual(await ask(7), [['/recall/AAAA-_09/7', true]]);
  assert.deepEqual(await ask(0), [['/recall/AAAA-_09/0', true]], 'the first epoch is one');
});

test('by the first route that answers, and only a plain yes counts', async () => {
  const peer = new Peer(recordOf(1, { tunnel_url: 'https://w1.example' }), 0);
  const ask = async (answers: readonly (string | null)[]) => {
    const paths: string[] = [];
    const client: PeerClient = {
      async get({ path }) {
        const answer = answers[paths.length] ?? null;
        paths.push(path);
        if (answer === null) throw new Error('no response');
        return Buffer.from(answer);
      },
    };
    return { paths, isRecalled: await cancelQueued(peer, peer.routes, RECALL, client) };
  };
  assert.deepEqual(await ask(['{"recalled":true}']), {
    paths: ['/recall/AAAAAAAAAAAAAAAB/7'],
    isRecalled: true,
  });
  assert.equal((await ask([null, '{"recalled":true}'])).isRecalled, true);
  for (const answer of ['{"recalled":false}', '{"recalled":1}', 'null', 'nonsense', null]) {
    assert.equal((await ask([answer])).isRecalled, false, String(answer));
  }
});

test('a request is delivered or taken back, never both', () => {
  const caller = member('caller');
  const callee = member('callee');
  const out = new RequestAuth(caller);
  const inbound = new RequestAuth(callee);
  const request = { method: 'POST', target: '/service/a/x', service: 'a', nowMs: NOW_MS };
  const send = () => out.sign({ ...request, peerKey: callee.keyHex });
  const takeBack = (nonce: string) => inbound.cancel({ peerKey: caller.keyHex, nonce, nowMs: NOW_MS });
  const isAccepted = (header: string) => inbound.verify({ ...request, header }).kind === 'member';

  const [early, delivered, lost] = [send(), send(), send()];
  assert.equal(takeBack(early.nonce), false, 'of a caller that was never verified nothing is promised');
  assert.equal(isAccepted(delivered.header), true);
  assert.equal(takeBack(delivered.nonce), false);
  assert.equal(takeBack(lost.nonce), true);
  assert.equal(isAccepted(lost.header), false);
  assert.equal(takeBack(lost.nonce), false, 'once');
  for (const nonce of ['', 'short', '*'.repeat(16)]) assert.equal(takeBack(nonce), false, nonce);
  assert.equal(inbound.cancel({ peerKey: 'nobody', nonce: lost.nonce, nowMs: NOW_MS }), false);
});
