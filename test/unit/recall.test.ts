/** A recall: what its address says, and that it is believed only when the peer promises it. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Peer } from '../../sidecar/core/peer.ts';
import { createRequestAuth } from '../../sidecar/mesh/request-auth.ts';
import type { PeerClient } from '../../sidecar/proxy/peer-client.ts';
import { parseRecall, recallFrom } from '../../sidecar/proxy/recall.ts';
import { member } from '../support/members.ts';
import { recordOf } from '../support/peers.ts';

const NOW_MS = 1_800_000_000_000;
const RECALL = { nonce: 'AAAAAAAAAAAAAAAB', epoch: 7 };

test('the address of a recall is read strictly', () => {
  assert.deepEqual(parseRecall('/recall/AAAAAAAAAAAAAAAB/7'), RECALL);
  for (const bad of ['/recall/', '/recall/a', '/recall/a/b', '/recall/a/1/', '/recall/%41/1', '/recall//1']) {
    assert.equal(parseRecall(bad), null, bad);
  }
});

test('by the first route that answers, and only a plain yes counts', async () => {
  const peer = new Peer(recordOf(1, { tunnel_url: 'https://w1.example' }), 0);
  const ask = async (answers: readonly (string | null)[]) => {
    const paths: string[] = [];
    const client: PeerClient = {
      async get({ path }) {
        const answer = answers[paths.length] ?? null;
        paths.push(path);
        if (answer === null) throw new Error('no answer');
        return Buffer.from(answer);
      },
    };
    return { paths, isRecalled: await recallFrom(peer, peer.routes, RECALL, client) };
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
  const out = createRequestAuth(caller);
  const inbound = createRequestAuth(callee);
  const request = { method: 'POST', target: '/service/a/x', service: 'a', nowMs: NOW_MS };
  const send = () => out.sign({ ...request, peerKey: callee.keyHex });
  const takeBack = (nonce: string) => inbound.recall({ peerKey: caller.keyHex, nonce, nowMs: NOW_MS });
  const isAccepted = (header: string) => inbound.verify({ ...request, header }).kind === 'member';

  const [early, delivered, lost] = [send(), send(), send()];
  assert.equal(takeBack(early.nonce), false, 'of a caller that was never verified nothing is promised');
  assert.equal(isAccepted(delivered.header), true);
  assert.equal(takeBack(delivered.nonce), false);
  assert.equal(takeBack(lost.nonce), true);
  assert.equal(isAccepted(lost.header), false);
  assert.equal(takeBack(lost.nonce), false, 'once');
  for (const nonce of ['', 'short', '*'.repeat(16)]) assert.equal(takeBack(nonce), false, nonce);
  assert.equal(inbound.recall({ peerKey: 'nobody', nonce: lost.nonce, nowMs: NOW_MS }), false);
});
