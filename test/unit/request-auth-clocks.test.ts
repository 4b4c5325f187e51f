/** Callers whose clock is off: what they are told spoils nothing for others, nor for themselves once they know. */
import { describe, expect, test } from '@jest/globals';
import { RequestAuth } from '../../sidecar/mesh/membership/request-auth.ts';
import { member, NOW_MS } from '../support/meshes/members.ts';
import { expectNamed } from '../support/runner/expectations.ts';

const OFF_MS = 600_000;

const caller = member('worker-cpu-001');
const callee = member('worker-gpu-001');
const request = { method: 'POST', target: '/service/llm-inference/', service: 'llm-inference' };

/** Whether the callee takes what was signed at one time and comes at another. */
function ask(out: RequestAuth, inbound: RequestAuth, signedMs: number, nowMs: number): string {
  const { header } = out.sign({ ...request, peerKey: callee.keyHex, nowMs: signedMs });
  return inbound.verify({ ...request, nowMs, header }).kind;
}

describe('the replay memory and clocks that are off', () => {
  for (const offMs of [OFF_MS, -OFF_MS]) {
    test(`a caller that restarts ever so often with its clock ${offMs / 1000} s off is taken once that is right`, () => {
      const inbound = new RequestAuth(callee);
      for (let life = 0; life < 10; life += 1) {
        const out = new RequestAuth(caller);
        expect(ask(out, inbound, NOW_MS + offMs + life, NOW_MS + life)).toBe('refused');
      }
      expect(ask(new RequestAuth(caller), inbound, NOW_MS + 100, NOW_MS + 100)).toBe('member');
    });

    test(`a caller whose clock is ${offMs / 1000} s off is forgotten: all others are taken as before`, () => {
      const inbound = new RequestAuth(callee, { maxPeers: 4 });
      expect(ask(new RequestAuth(caller), inbound, NOW_MS + offMs, NOW_MS)).toBe('refused');
      for (let n = 1; n <= 20; n += 1) {
        const nowMs = NOW_MS + n;
        const other = new RequestAuth(member(`worker-${n}`));
        expectNamed(ask(other, inbound, nowMs, nowMs), `worker ${n}`).toBe('member');
      }
    });
  }

  test('what was refused for its time is not taken later, when its time has come', () => {
    const inbound = new RequestAuth(callee);
    const { header } = new RequestAuth(caller).sign({
      ...request,
      peerKey: callee.keyHex,
      nowMs: NOW_MS + OFF_MS,
    });
    for (const nowMs of [NOW_MS, NOW_MS + OFF_MS]) {
      expect(inbound.verify({ ...request, nowMs, header }).kind).toBe('refused');
    }
  });

  test('a header that comes again later, when its caller is forgotten, is not taken again', () => {
    const inbound = new RequestAuth(callee, { maxPeers: 4 });
    const { header } = new RequestAuth(caller).sign({ ...request, peerKey: callee.keyHex, nowMs: NOW_MS });
    expect(inbound.verify({ ...request, nowMs: NOW_MS, header }).kind).toBe('member');
    for (let n = 1; n <= 10; n += 1) {
      const other = new RequestAuth(member(`worker-${n}`));
      expect(ask(other, inbound, NOW_MS + n, NOW_MS + n)).toBe('member');
    }
    expect(inbound.verify({ ...request, nowMs: NOW_MS + 10_000, header }).kind).toBe('refused');
  });
});

describe('the clock of a worker that answered', () => {
  /** The callee answers at `calleeMs` by its own clock; returns the time by which the caller signs next. */
  function signedAfter(out: RequestAuth, calleeMs: number): number {
    const { nonce } = out.sign({ ...request, peerKey: callee.keyHex, nowMs: NOW_MS });
    const answer = { nonce, status: 200 };
    const told = new RequestAuth(callee).signResponse({ ...answer, peerKey: caller.keyHex, nowMs: calleeMs });
    const isTrue = out.verifyResponse({ ...answer, peerKey: callee.keyHex, nowMs: NOW_MS, header: told });
    expect(isTrue).toBe(true);
    const { header } = out.sign({ ...request, peerKey: callee.keyHex, nowMs: NOW_MS });
    return Number(header.split('.')[2]);
  }

  test('less than 2 s may be the time of the way, and is not corrected; more is', () => {
    for (const [offsetMs, correctedMs] of [
      [1_999, 0],
      [-1_999, 0],
      [2_000, 2_000],
      [-2_000, -2_000],
    ] as const) {
      const out = new RequestAuth(caller);
      expect(signedAfter(out, NOW_MS + offsetMs) - NOW_MS).toBe(correctedMs);
      expect(out.clockOffsetMs(callee.keyHex)).toBe(offsetMs);
    }
  });

  test('one that is off by more than a day is taken at its word for nothing', () => {
    const DAY_MS = 86_400_000;
    for (const [offsetMs, knownMs] of [
      [DAY_MS, DAY_MS],
      [-DAY_MS, -DAY_MS],
      [DAY_MS + 1, null],
      [-DAY_MS - 1, null],
    ] as const) {
      const out = new RequestAuth(caller);
      expect(signedAfter(out, NOW_MS + offsetMs) - NOW_MS).toBe(knownMs ?? 0);
      expect(out.clockOffsetMs(callee.keyHex)).toBe(knownMs);
    }
  });

  test('it is news when it is more than 30 s off and was not before, or has changed by as much', () => {
    const news: number[] = [];
    const out = new RequestAuth(caller, { onClock: (_peer, offsetMs) => news.push(offsetMs) });
    for (const offsetMs of [30_000, 60_001, 61_000, 91_000, 0, 20_000, -30_001]) {
      signedAfter(out, NOW_MS + offsetMs);
    }
    expect(news).toStrictEqual([60_001, -30_001]);
  });
});

describe('a request that is taken back', () => {
  const back = (inbound: RequestAuth, nonce: string, peerKey = caller.keyHex): boolean =>
    inbound.cancel({ peerKey, nonce, nowMs: NOW_MS });

  test('it is never accepted, once that was promised; one that was accepted cannot be taken back', () => {
    const [out, inbound] = [new RequestAuth(caller), new RequestAuth(callee)];
    const sign = () => out.sign({ ...request, peerKey: callee.keyHex, nowMs: NOW_MS });
    const [first, second] = [sign(), sign()];
    expect(inbound.verify({ ...request, nowMs: NOW_MS, header: first.header }).kind).toBe('member');
    expect(back(inbound, first.nonce)).toBe(false);
    expect(back(inbound, second.nonce)).toBe(true);
    expect(inbound.verify({ ...request, nowMs: NOW_MS, header: second.header }).kind).toBe('refused');
  });

  test('nothing is promised to a caller that was never seen, nor of what is no nonce', () => {
    const [out, inbound] = [new RequestAuth(caller), new RequestAuth(callee)];
    const { header, nonce } = out.sign({ ...request, peerKey: callee.keyHex, nowMs: NOW_MS });
    expect(back(inbound, nonce)).toBe(false);
    expect(inbound.verify({ ...request, nowMs: NOW_MS, header }).kind).toBe('member');
    for (const text of [
      '',
      'AAAAAAAA',
      '!'.repeat(16),
      'AAAAAAAA!!!!!!!!',
      nonce.slice(0, 15),
      `${nonce}A`,
    ]) {
      expectNamed(back(inbound, text), text).toBe(false);
    }
    expect(back(inbound, nonce, 'ab'.repeat(32))).toBe(false);
  });
});
