/** A path that dies without a sign: when it is looked at, and what becomes of a request that waits on it. */
import { describe, expect, jest, test } from '@jest/globals';
import { Peer } from '../../sidecar/core/peers/peer.ts';
import type { Route } from '../../sidecar/core/peers/route.ts';
import { StallWatch, type WatchedRequest } from '../../sidecar/proxy/outbound/stall-watch.ts';
import { recordOf } from '../support/meshes/peers.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

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

describe('a path that falls silent', () => {
  test('a request that may go elsewhere is lost as soon as its path does not answer', async () => {
    const { asked, attempt, lost } = setUp(() => false);
    onTestEnd(() => attempt.ends());
    const startedMs = performance.now();
    expect((await lost).stage).toBe('sent');
    expectNamed(performance.now() - startedMs, 'not before it has waited').toBeGreaterThanOrEqual(95);
    expect(asked).toHaveLength(1);
  });

  test('one that may not is taken back first, and then was not sent', async () => {
    let isRecalled = false;
    const { attempt, lost } = setUp(() => false, {
      mayGoElsewhere: () => false,
      cancelQueued: async () => {
        isRecalled = true;
        return true;
      },
    });
    onTestEnd(() => attempt.ends());
    const { stage, detail } = await lost;
    expect([stage, isRecalled]).toStrictEqual(['not_sent', true]);
    expect(detail).toMatch(/vpn/);
  });

  test('one that cannot be taken back waits on, and is asked about again', async () => {
    let looks = 0;
    const { attempt, lost } = setUp(() => ++looks < 0, {
      mayGoElsewhere: () => looks >= 2,
      cancelQueued: async () => false,
    });
    onTestEnd(() => attempt.ends());
    expect((await lost).stage).toBe('sent');
    expect(looks).toBe(2);
  });

  test('nobody is asked while answers come over the route, nor after the response', async () => {
    jest.useFakeTimers();
    onTestEnd(() => jest.useRealTimers());
    const { asked, attempt, route } = setUp(() => true);
    for (let busyMs = 0; busyMs < 10_000; busyMs += 50) {
      await jest.advanceTimersByTimeAsync(50);
      route.health.succeeded(performance.now());
    }
    expect(asked).toHaveLength(0);
    await jest.advanceTimersByTimeAsync(150);
    expectNamed(asked, 'no answer came since').toHaveLength(1);
    attempt.ends();
    await jest.advanceTimersByTimeAsync(60_000);
    expect(asked).toHaveLength(1);
    expectNamed(jest.getTimerCount(), 'nobody is watched any more').toBe(0);
  });

  test('an answer to another request in the meantime shows that the path lives', async () => {
    let looks = 0;
    const { attempt, lost, route } = setUp(() => {
      looks += 1;
      if (looks === 1) route.health.succeeded(performance.now());
      return false;
    });
    onTestEnd(() => attempt.ends());
    await lost;
    expect(looks).toBe(2);
  });

  test('so does one in the very moment in which it is asked', async () => {
    jest.useFakeTimers();
    onTestEnd(() => jest.useRealTimers());
    let isLost = false;
    let looks = 0;
    const { attempt, lost, route } = setUp(() => {
      looks += 1;
      route.health.succeeded(performance.now());
      return false;
    });
    void lost.then(() => {
      isLost = true;
    });
    await jest.advanceTimersByTimeAsync(3_000);
    expect([looks > 1, isLost]).toStrictEqual([true, false]);
    attempt.ends();
  });
});
