/** A path that dies without a sign: when it is looked at, and what becomes of a request that waits on it. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Peer } from '../../sidecar/core/peers/peer.ts';
import type { Route } from '../../sidecar/core/peers/route.ts';
import { StallWatch, type WatchedRequest } from '../../sidecar/proxy/outbound/stall-watch.ts';
import { recordOf } from '../support/peers.ts';

interface Lost {
  readonly stage: string;
  readonly detail: string;
}

function setUp(answers: () => boolean, request: Partial<WatchedRequest> = {}) {
  const peer = new Peer(recordOf(1), 0);
  const route = peer.routes[0] as Route;
  const asked: Route[] = [];
  const watch = new StallWatch({
    responds: async (_peer, over) => {
      asked.push(over);
      return answers();
    },
    cancelQueued: async () => false,
  });
  const attempt = watch.watch({
    peer,
    route,
    others: [],
    mayGoElsewhere: () => true,
    cancelQueued: async () => false,
    ...request,
  });
  const lost = new Promise<Lost>((resolve) =>
    attempt.begins({ pathLost: (stage, detail) => resolve({ stage, detail }) }),
  );
  attempt.awaitsResponse();
  return { asked, attempt, lost, route };
}

test('a request that may go elsewhere is lost as soon as its path does not answer', async (t) => {
  const { asked, attempt, lost } = setUp(() => false);
  t.after(() => attempt.ends());
  const startedMs = performance.now();
  assert.equal((await lost).stage, 'sent');
  assert.ok(performance.now() - startedMs >= 95, 'not before it has waited');
  assert.equal(asked.length, 1);
});

test('one that may not is taken back first, and then was not sent', async (t) => {
  let isRecalled = false;
  const { attempt, lost } = setUp(() => false, {
    mayGoElsewhere: () => false,
    cancelQueued: async () => {
      isRecalled = true;
      return true;
    },
  });
  t.after(() => attempt.ends());
  const { stage, detail } = await lost;
  assert.deepEqual([stage, isRecalled], ['not_sent', true]);
  assert.match(detail, /vpn/);
});

test('one that cannot be taken back waits on, and is asked about again', async (t) => {
  let looks = 0;
  const { attempt, lost } = setUp(() => ++looks < 0, {
    mayGoElsewhere: () => looks >= 2,
    cancelQueued: async () => false,
  });
  t.after(() => attempt.ends());
  assert.equal((await lost).stage, 'sent');
  assert.equal(looks, 2);
});

test('nobody is asked while answers come over the route, nor after the response', async () => {
  const { asked, attempt, route } = setUp(() => false);
  const busy = setInterval(() => route.health.succeeded(performance.now()), 20);
  await new Promise((resolve) => setTimeout(resolve, 400));
  clearInterval(busy);
  attempt.ends();
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.equal(asked.length, 0);
});

test('an answer to another request in the meantime shows that the path lives', async (t) => {
  let looks = 0;
  const { attempt, lost, route } = setUp(() => {
    looks += 1;
    if (looks === 1) route.health.succeeded(performance.now());
    return false;
  });
  t.after(() => attempt.ends());
  await lost;
  assert.equal(looks, 2);
});
