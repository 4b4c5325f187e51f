import { Buffer } from 'node:buffer';
import { describe, expect, test } from '@jest/globals';
import type { Verdict } from '../../sidecar/mesh/membership/auth-verdict.ts';
import { openIdentity } from '../../sidecar/mesh/membership/identity.ts';
import { RequestAuth } from '../../sidecar/mesh/membership/request-auth.ts';
import { certified, MESH_KEY, member, NOW_MS, OTHER_MESH_KEY } from '../support/meshes/members.ts';
import { expectNamed, mustHold } from '../support/runner/expectations.ts';

const caller = member('worker-cpu-001');
const callee = member('worker-gpu-001');
const third = member('worker-gpu-002');
const request = {
  method: 'POST',
  target: '/service/llm-inference/v1/chat/completions?stream=true',
  service: 'llm-inference',
  nowMs: NOW_MS,
};

/** Fresh replay memory and counters for each test. */
function sidecars(): { out: RequestAuth; inbound: RequestAuth } {
  return { out: new RequestAuth(caller), inbound: new RequestAuth(callee) };
}

function refusedBecause(verdict: Verdict, why: RegExp, code = 'not_a_member'): void {
  expect(verdict.kind).toBe('refused');
  if (verdict.kind !== 'refused') return;
  expect(verdict.code).toBe(code);
  expect(verdict.detail).toMatch(why);
}

describe('the proof of membership in a request', () => {
  test('a member is recognised by key, name and what it may call', () => {
    const { out, inbound } = sidecars();
    const { header, nonce } = out.sign({ ...request, peerKey: callee.keyHex });
    expect(header).toMatch(/^v1\.[A-Za-z0-9_-]+\.\d{13}\.[A-Za-z0-9_-]{16}\.[A-Za-z0-9_-]{24}$/);
    const verdict = inbound.verify({ ...request, header });
    mustHold(verdict.kind === 'member');
    expect(verdict.key).toBe(caller.keyHex);
    expect(verdict.workerId).toBe('worker-cpu-001');
    expect(verdict.nonce).toBe(nonce);
    expect(verdict.mayCall('anything')).toBe(true);
  });

  test('many requests, in both directions at once', () => {
    const { out: a, inbound: b } = sidecars();
    for (let i = 0; i < 200; i++) {
      const there = { ...request, target: `/service/llm-inference/${i}`, nowMs: NOW_MS + i };
      expect(b.verify({ ...there, header: a.sign({ ...there, peerKey: callee.keyHex }).header }).kind).toBe(
        'member',
      );
      expect(a.verify({ ...there, header: b.sign({ ...there, peerKey: caller.keyHex }).header }).kind).toBe(
        'member',
      );
    }
  });

  test('the same header is taken once', () => {
    const { out, inbound } = sidecars();
    const { header } = out.sign({ ...request, peerKey: callee.keyHex });
    expect(inbound.verify({ ...request, header }).kind).toBe('member');
    refusedBecause(inbound.verify({ ...request, header }), /received before/);
    refusedBecause(inbound.verify({ ...request, header, nowMs: NOW_MS + 20_000 }), /received before/);
  });

  test('a header is good for its request alone', () => {
    const changes = [
      { method: 'GET' },
      { method: 'post' },
      { target: `${request.target}&x=1` },
      { target: '/service/llm-inference' },
      { target: request.target.toUpperCase() },
      { service: 'vision-ocr' },
      { service: '' },
      { method: 'POS', target: `T${request.target}` },
    ];
    for (const change of changes) {
      const { out, inbound } = sidecars();
      const { header } = out.sign({ ...request, peerKey: callee.keyHex });
      refusedBecause(inbound.verify({ ...request, ...change, header }), /MAC/);
      expectNamed(inbound.verify({ ...request, header }).kind, 'a refusal uses nothing up').toBe('member');
    }
  });

  test('a header is good for one worker alone, and not for its own sender', () => {
    const { out } = sidecars();
    const { header } = out.sign({ ...request, peerKey: callee.keyHex });
    refusedBecause(new RequestAuth(third).verify({ ...request, header }), /MAC/);
    refusedBecause(out.verify({ ...request, header }), /MAC/);
  });

  test('the clocks may differ by 30 s and no more', () => {
    const at = (nowMs: number) => {
      const { out, inbound } = sidecars();
      return inbound.verify({
        ...request,
        nowMs,
        header: out.sign({ ...request, peerKey: callee.keyHex }).header,
      });
    };
    for (const skewMs of [-30_000, 0, 30_000]) expect(at(NOW_MS + skewMs).kind).toBe('member');
    refusedBecause(at(NOW_MS + 31_000), /signed 31\.0 s ago.*clocks/);
    refusedBecause(at(NOW_MS - 31_000), /signed 31\.0 s in the future/);
    refusedBecause(at(NOW_MS + 30_001), /clocks/);
    refusedBecause(at(Number.NaN), /clocks/);
  });

  test('no header, and any broken header, is no member and no exception', () => {
    const { out, inbound } = sidecars();
    const { header } = out.sign({ ...request, peerKey: callee.keyHex });
    refusedBecause(inbound.verify({ ...request, header: undefined }), /no sidecar-auth/);
    for (let length = 0; length < header.length; length++) {
      expectNamed(inbound.verify({ ...request, header: header.slice(0, length) }).kind, `${length}`).toBe(
        'refused',
      );
    }
    for (let i = 0; i < header.length; i++) {
      for (const char of ['A', '.', '=', ' ', '\u0000', '\u0141', '0']) {
        if (char === header[i]) continue;
        const changed = header.slice(0, i) + char + header.slice(i + 1);
        expectNamed(inbound.verify({ ...request, header: changed }).kind, `${char} at ${i}`).toBe('refused');
      }
    }
    const [version, cert, time, nonce, mac] = header.split('.');
    const widened = [...String(mac)].map((char) => String.fromCharCode(char.charCodeAt(0) + 0x100)).join('');
    const hostile = [
      `${version}.${cert}.${time}.${nonce}.${widened}`,
      'v1....',
      'v1',
      '.'.repeat(500),
      `v2.${cert}.${time}.${nonce}.${mac}`,
      `${version}.${cert}.${time}.${nonce}`,
      `${version}..${time}.${nonce}.${mac}`,
      `${version}.${'A'.repeat(100_000)}.${time}.${nonce}.${mac}`,
      `${version}.${cert}.${time}.${nonce}.${mac}.${mac}`,
      `${version}.${cert}.${time}.${nonce}.${mac} `,
      ` ${header}`,
      `${header}, ${header}`,
      `${version}.${cert}==.${time}.${nonce}.${mac}`,
      `${version}.${cert}\n.${time}.${nonce}.${mac}`,
      `${version}.${cert}.${'9'.repeat(13)}.${nonce}.${mac}`,
      `${version}.${cert}.-${time?.slice(1)}.${nonce}.${mac}`,
      `${version}.${cert}.${time?.slice(0, 9)}e+10.${nonce}.${mac}`,
      `${version}.${cert}.${time}.${nonce?.replace(/./g, '+')}.${mac}`,
      `${version}.${caller.certBytes.toString('hex')}.${time}.${nonce}.${mac}`,
    ];
    for (const text of hostile) {
      expectNamed(inbound.verify({ ...request, header: text }).kind, text.slice(0, 60)).toBe('refused');
    }
    expectNamed(inbound.verify({ ...request, header }).kind, 'none of them used the nonce up').toBe('member');
  });

  test('a worker of another mesh is a stranger, also with the name and certificate text of a member', () => {
    const { inbound } = sidecars();
    const stranger = member('worker-cpu-001', { meshKey: OTHER_MESH_KEY });
    const { header } = new RequestAuth(stranger).sign({ ...request, peerKey: callee.keyHex });
    refusedBecause(inbound.verify({ ...request, header }), /not signed by this mesh/);
    const stolen = header.replace(
      stranger.certBytes.toString('base64url'),
      caller.certBytes.toString('base64url'),
    );
    refusedBecause(inbound.verify({ ...request, header: stolen }), /MAC/);
  });

  test('another certificate of the same worker does not fit the header', () => {
    // The same key, with narrower rights: a caller's wider certificate must not be swapped in, nor the reverse.
    const { out, inbound } = sidecars();
    const later = openIdentity({
      meshKey: MESH_KEY,
      certBundle: null,
      workerId: 'worker-cpu-001',
      services: ['llm-inference'],
      stateDir: null,
      nowMs: NOW_MS,
    });
    const { header } = out.sign({ ...request, peerKey: callee.keyHex });
    const first = caller.certBytes.toString('base64url');
    refusedBecause(
      inbound.verify({ ...request, header: header.replace(first, later.certBytes.toString('base64url')) }),
      /MAC/,
    );
  });

  test('a certificate limits what may be called; the addresses of the sidecar itself are for every member', () => {
    const limited = certified('worker-cpu-002', { calls: ['vision-ocr'] });
    const out = new RequestAuth(limited);
    const inbound = new RequestAuth(callee);
    const ask = (service: string) => {
      const asked = { ...request, service };
      return inbound.verify({ ...asked, header: out.sign({ ...asked, peerKey: callee.keyHex }).header });
    };
    refusedBecause(
      ask('llm-inference'),
      /worker-cpu-002 does not allow it to call llm-inference/,
      'not_allowed',
    );
    const verdict = ask('vision-ocr');
    mustHold(verdict.kind === 'member' && verdict.mayCall('vision-ocr') && !verdict.mayCall('llm-inference'));
    expect(ask('').kind).toBe('member');
  });

  test('a certificate that ends while it is in use ends', () => {
    const brief = certified('worker-cpu-002', { days: 1 });
    const out = new RequestAuth(brief);
    const inbound = new RequestAuth(callee);
    const ask = (nowMs: number) =>
      inbound.verify({
        ...request,
        nowMs,
        header: out.sign({ ...request, nowMs, peerKey: callee.keyHex }).header,
      });
    expect(ask(NOW_MS).kind).toBe('member');
    expect(ask(brief.certificate.notAfter * 1000).kind).toBe('member');
    refusedBecause(ask(brief.certificate.notAfter * 1000 + 1001), /does not hold now/);
  });

  test("one's own certificate is renewed without a pause, whoever renewed it", () => {
    const me = member('worker-cpu-003');
    const out = new RequestAuth(me);
    const inbound = new RequestAuth(callee);
    for (let day = 0; day < 40; day++) {
      const nowMs = NOW_MS + day * 86_400_000;
      if (day % 2 === 1) me.renew(nowMs);
      const { header } = out.sign({ ...request, nowMs, peerKey: callee.keyHex });
      expectNamed(inbound.verify({ ...request, nowMs, header }).kind, `day ${day}`).toBe('member');
    }
  });

  test('a response is bound to its request, status and worker', () => {
    const { out, inbound } = sidecars();
    const ask = () => {
      const { header, nonce } = out.sign({ ...request, peerKey: callee.keyHex });
      expect(inbound.verify({ ...request, header }).kind).toBe('member');
      return nonce;
    };
    const [nonce, otherNonce] = [ask(), ask()];
    const answer = { peerKey: callee.keyHex, nonce, status: 200, nowMs: NOW_MS };
    const header = inbound.signResponse({ peerKey: caller.keyHex, nonce, status: 200, nowMs: NOW_MS });
    expect(out.verifyResponse({ ...answer, header })).toBe(true);
    expectNamed(out.verifyResponse({ ...answer, header, nonce: otherNonce }), 'other request').toBe(false);
    expectNamed(out.verifyResponse({ ...answer, header, status: 503 }), 'other status').toBe(false);
    expectNamed(out.verifyResponse({ ...answer, header, peerKey: third.keyHex }), 'a peer never called').toBe(
      false,
    );
    out.sign({ ...request, peerKey: third.keyHex });
    expectNamed(out.verifyResponse({ ...answer, header, peerKey: third.keyHex }), 'another peer').toBe(false);
    const byThird = new RequestAuth(third).signResponse({
      peerKey: caller.keyHex,
      nonce,
      status: 200,
      nowMs: NOW_MS,
    });
    expectNamed(out.verifyResponse({ ...answer, header: byThird }), 'a re-used address').toBe(false);
    const reflected = new RequestAuth(caller).signResponse({
      peerKey: callee.keyHex,
      nonce,
      status: 200,
      nowMs: NOW_MS,
    });
    expectNamed(out.verifyResponse({ ...answer, header: reflected }), 'the direction is part of it').toBe(
      false,
    );
    const own = out.sign({ ...request, peerKey: callee.keyHex }).header;
    for (const text of [
      undefined,
      '',
      'v1.',
      header.slice(0, -1),
      `${header}A`,
      `v2${header.slice(2)}`,
      own,
    ]) {
      expectNamed(out.verifyResponse({ ...answer, header: text }), `${text}`).toBe(false);
    }
    expect(out.verifyResponse({ ...answer, header, nonce: '' })).toBe(false);
    expect(out.verifyResponse({ ...answer, header, status: Number.NaN })).toBe(false);
  });

  test('a restarted caller is taken at once', () => {
    const inbound = new RequestAuth(callee);
    for (let life = 0; life < 10; life++) {
      const nowMs = NOW_MS + life;
      const { header } = new RequestAuth(caller).sign({ ...request, nowMs, peerKey: callee.keyHex });
      expect(inbound.verify({ ...request, nowMs, header }).kind).toBe('member');
      refusedBecause(inbound.verify({ ...request, nowMs, header }), /received before/);
    }
  });

  test('targets of any length and content are carried', () => {
    const { out, inbound } = sidecars();
    for (const target of ['/', `/${'a'.repeat(100_000)}`, '/%00%ff', '/caf\u00e9\u00ff', '/a b"<>', '*']) {
      const asked = { ...request, target };
      const { header } = out.sign({ ...asked, peerKey: callee.keyHex });
      refusedBecause(inbound.verify({ ...asked, target: `${target}x`, header }), /MAC/);
      expect(inbound.verify({ ...asked, header }).kind).toBe('member');
    }
  });

  test('a peer key that is none is an error of the program, said as such', () => {
    const { out } = sidecars();
    for (const peerKey of ['', 'zz', 'ab'.repeat(31), '00'.repeat(32), 'ff'.repeat(32)]) {
      expect(() => out.sign({ ...request, peerKey })).toThrow();
    }
    expect(() => out.sign({ ...request, peerKey: callee.keyHex, nowMs: 0 })).toThrow(/clock/);
  });

  test('more members than are remembered: none of their headers is taken twice, later ones are taken', () => {
    const inbound = new RequestAuth(callee, { maxPeers: 8 });
    const members = Array.from({ length: 60 }, (_, i) => new RequestAuth(member(`worker-${i}`)));
    const signed = members.map((auth, i) => {
      const nowMs = NOW_MS + i;
      return { auth, nowMs, header: auth.sign({ ...request, peerKey: callee.keyHex, nowMs }).header };
    });
    for (const { header, nowMs } of signed) {
      expect(inbound.verify({ ...request, nowMs, header }).kind).toBe('member');
    }
    for (const { header, nowMs } of signed)
      refusedBecause(inbound.verify({ ...request, nowMs, header }), /received before/);
    for (const { auth, nowMs: firstMs } of signed) {
      const nowMs = firstMs + 1000;
      const { header } = auth.sign({ ...request, peerKey: callee.keyHex, nowMs });
      expect(inbound.verify({ ...request, nowMs, header }).kind).toBe('member');
    }
  });

  test('a header of an ordinary worker is under 300 bytes', () => {
    const { header } = new RequestAuth(caller).sign({ ...request, peerKey: callee.keyHex });
    expectNamed(Buffer.byteLength(header), `${header.length}`).toBeLessThan(300);
  });

  test('a caller whose clock is off is refused with the right time, and signs by that from then on', () => {
    for (const aheadMs of [600_000, -600_000]) {
      const news: number[] = [];
      const out = new RequestAuth(caller, { onClock: (_peer, offsetMs) => news.push(offsetMs) });
      const inbound = new RequestAuth(callee);
      const here = NOW_MS + aheadMs;
      const call = (nowMs: number) => out.sign({ ...request, nowMs, peerKey: callee.keyHex });
      expect(out.clockOffsetMs(callee.keyHex)).toBe(null);

      const first = call(here);
      const refused = inbound.verify({ ...request, header: first.header });
      refusedBecause(refused, /600\.0 s .*clocks/);
      mustHold(refused.kind === 'refused' && refused.caller !== null);
      expect(refused.caller).toMatchObject({ key: caller.keyHex, nonce: first.nonce });
      const header = inbound.signResponse({
        peerKey: refused.caller.key,
        nonce: refused.caller.nonce,
        status: 401,
        nowMs: NOW_MS,
      });
      const answer = { peerKey: callee.keyHex, nonce: first.nonce, status: 401, nowMs: here };
      const forged = header.replace(String(NOW_MS), String(NOW_MS + 1));
      expect(forged).not.toBe(header);
      expectNamed(out.verifyResponse({ ...answer, header: forged }), 'the time is part of the proof').toBe(
        false,
      );
      expect(out.clockOffsetMs(callee.keyHex)).toBe(null);
      expect(out.verifyResponse({ ...answer, header })).toBe(true);
      expect(out.clockOffsetMs(callee.keyHex)).toBe(-aheadMs);
      expect(news).toStrictEqual([-aheadMs]);

      const second = call(here + 50);
      const taken = inbound.verify({ ...request, nowMs: NOW_MS + 50, header: second.header });
      expect(taken.kind).toBe('member');
      refusedBecause(inbound.verify({ ...request, header: first.header }), /clocks/);
      const again = inbound.verify({ ...request, header: first.header });
      mustHold(again.kind === 'refused' && again.caller === null, 'what was refused stays so, and unsigned');
    }
  });

  test('a request that was accepted is not refused in the name of its callee when it is replayed later', () => {
    const { out, inbound } = sidecars();
    const { header } = out.sign({ ...request, peerKey: callee.keyHex });
    expect(inbound.verify({ ...request, header }).kind).toBe('member');
    const replayed = inbound.verify({ ...request, header, nowMs: NOW_MS + 60_000 });
    mustHold(replayed.kind === 'refused' && replayed.caller === null);
  });

  test('a clock that no header can tell, and one a day off, teach nothing', () => {
    const { out, inbound } = sidecars();
    const { header, nonce } = out.sign({ ...request, peerKey: callee.keyHex });
    expect(inbound.verify({ ...request, header }).kind).toBe('member');
    const answer = { peerKey: callee.keyHex, nonce, status: 200, nowMs: NOW_MS };
    for (const nowMs of [Number.NaN, -1, 5, NOW_MS + 2 * 86_400_000]) {
      const told = inbound.signResponse({ peerKey: caller.keyHex, nonce, status: 200, nowMs });
      expect(out.verifyResponse({ ...answer, header: told })).toBe(true);
      expect(out.clockOffsetMs(callee.keyHex)).toBe(null);
    }
    const far = out.sign({ ...request, nowMs: NOW_MS + 2 * 86_400_000, peerKey: callee.keyHex });
    const refused = inbound.verify({ ...request, header: far.header });
    mustHold(refused.kind === 'refused' && refused.caller === null);
  });
});
