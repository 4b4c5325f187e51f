/** A recall: what its address says, and that it is believed only when the peer promises it. */
import { describe, expect, test } from '@jest/globals';
import { Peer } from '../../sidecar/core/peers/peer.ts';
import { RequestAuth } from '../../sidecar/mesh/membership/request-auth.ts';
import type { PeerClient } from '../../sidecar/proxy/peer/client.ts';
import { cancelQueued, parseCancelToken } from '../../sidecar/proxy/peer/recall.ts';
import { member } from '../support/meshes/members.ts';
import { recordOf } from '../support/meshes/peers.ts';
import { expectNamed } from '../support/runner/expectations.ts';

const NOW_MS = 1_800_000_000_000;
const RECALL = { nonce: 'AAAAAAAAAAAAAAAB', epoch: 7 };

describe('recalling a request', () => {
  test('the address of a recall is read strictly', () => {
    expect(parseCancelToken('/recall/AAAAAAAAAAAAAAAB/7')).toStrictEqual(RECALL);
    expect(parseCancelToken('/recall/AAAAAAAAAAAAAAAB')).toStrictEqual({ ...RECALL, epoch: null });
    expect(parseCancelToken('/recall/a/0')).toStrictEqual({ nonce: 'a', epoch: 0 });
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
    for (const end of [...bad, ...long]) expectNamed(parseCancelToken(`/recall/${end}`), end).toBe(null);
    expect(parseCancelToken('/record')).toBe(null);
  });

  test('from a queue: no epoch in the path, and any connection will do; else one of its own', async () => {
    const peer = new Peer(recordOf(1), 0);
    const ask = async (epoch: number | null) => {
      const asked: (readonly [path: string, isFresh: boolean | undefined])[] = [];
      const client: PeerClient = {
        async get({ path, isFresh, peerKey }) {
          expect(peerKey).toBe(peer.key);
          asked.push([path, isFresh]);
          return Buffer.from('{"recalled":true}');
        },
      };
      expect(await cancelQueued(peer, peer.routes, { nonce: 'AAAA-_09', epoch }, client)).toBe(true);
      for (const [path] of asked) expect(parseCancelToken(path)).toStrictEqual({ nonce: 'AAAA-_09', epoch });
      return asked;
    };
    expect(await ask(null)).toStrictEqual([['/recall/AAAA-_09', false]]);
    expect(await ask(7)).toStrictEqual([['/recall/AAAA-_09/7', true]]);
    expectNamed(await ask(0), 'the first epoch is one').toStrictEqual([['/recall/AAAA-_09/0', true]]);
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
    expect(await ask(['{"recalled":true}'])).toStrictEqual({
      paths: ['/recall/AAAAAAAAAAAAAAAB/7'],
      isRecalled: true,
    });
    expect((await ask([null, '{"recalled":true}'])).isRecalled).toBe(true);
    for (const answer of ['{"recalled":false}', '{"recalled":1}', 'null', 'nonsense', null]) {
      expectNamed((await ask([answer])).isRecalled, String(answer)).toBe(false);
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
    expectNamed(takeBack(early.nonce), 'of a caller that was never verified nothing is promised').toBe(false);
    expect(isAccepted(delivered.header)).toBe(true);
    expect(takeBack(delivered.nonce)).toBe(false);
    expect(takeBack(lost.nonce)).toBe(true);
    expect(isAccepted(lost.header)).toBe(false);
    expectNamed(takeBack(lost.nonce), 'once').toBe(false);
    for (const nonce of ['', 'short', '*'.repeat(16)]) expectNamed(takeBack(nonce), nonce).toBe(false);
    expect(inbound.cancel({ peerKey: 'nobody', nonce: lost.nonce, nowMs: NOW_MS })).toBe(false);
  });
});
