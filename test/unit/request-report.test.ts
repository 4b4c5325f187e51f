/** What a request's report counts of its attempts: by it the search for a worker is bounded. */
import { describe, expect, test } from '@jest/globals';
import { Balancer } from '../../sidecar/core/balancing/balancer.ts';
import { first } from '../../sidecar/core/http/headers.ts';
import { fieldLines } from '../../sidecar/core/http/http1-encode.ts';
import { parseRequestHead } from '../../sidecar/core/http/http1-request-head.ts';
import { parseRequirements } from '../../sidecar/core/peers/requirements.ts';
import { Ttfb } from '../../sidecar/core/peers/ttfb.ts';
import type { Stage } from '../../sidecar/core/retry.ts';
import type { Downstream } from '../../sidecar/http/exchange.ts';
import type { Tried } from '../../sidecar/proxy/outbound/attempt-trace.ts';
import { RequestReport } from '../../sidecar/proxy/outbound/report.ts';
import { OutboundRequest } from '../../sidecar/proxy/outbound/request.ts';
import { peerOf, recordOf, SERVICE, tableOf } from '../support/meshes/peers.ts';
import { expectNamed, mustHold } from '../support/runner/expectations.ts';
import { TEST_LIMITS } from '../support/wire/whole-messages.ts';

const TIMEOUTS = { connectMs: 1_000, headMs: 1_000, idleMs: 1_000 };
const TUNNEL_LIMITS = { maxBodyBytes: 1_000_000, firstByteMs: 100_000 };

/** `answered`: what the app is answered, status and pieces of the body. */
function reportOf(answered: unknown[] = []): RequestReport {
  const bytes = Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  const parsed = parseRequestHead(bytes, 0, bytes.length, TEST_LIMITS);
  mustHold(parsed.kind === 'head');
  const answering = {
    start: (status: number) => answered.push(status),
    write: (piece: Buffer) => answered.push(piece.toString()),
    end: () => answered.push('end'),
  };
  const downstream = {
    head: parsed.head,
    version: '1.1',
    attach: () => {},
    ...answering,
  } as unknown as Downstream;
  const request = new OutboundRequest(
    downstream,
    { service: SERVICE, target: '/', prefix: '' },
    {
      replayBytes: 1_000,
      tunnelLimits: TUNNEL_LIMITS,
      ttfb: new Ttfb(),
      callPolicy: () => ({ vpn: TIMEOUTS, tunnel: TIMEOUTS, retryPost: false, retryRefused: true }),
    },
  );
  const observer = { requestRouted: () => {}, requestFinished: () => {} };
  const options = { workerId: 'a', pseudonym: 'a-outbound', tunnelLimits: TUNNEL_LIMITS, ttfb: new Ttfb() };
  return new RequestReport(request, { ...options, observer });
}

function tried(): Tried {
  const peer = peerOf(tableOf([recordOf(1)]), 1);
  const [route] = peer.routes;
  mustHold(route !== undefined);
  return { kind: 'peer', peer, route };
}

describe('the report of a request', () => {
  test('adds up the time spent on attempts that came to nobody; a turn in a queue, and work, are none', () => {
    const report = reportOf();
    const took = (
      code: 'connect_timeout' | 'saturated' | 'upstream_reset',
      stage: Stage,
      ms: number,
    ): void => {
      report.failed(tried(), { kind: 'failed', code, stage, detail: '' }, performance.now() - ms);
    };
    took('saturated', 'not_sent', 60_000);
    took('upstream_reset', 'sent', 60_000);
    expectNamed(report.searchMs, 'neither').toBe(0);
    took('connect_timeout', 'not_sent', 1_000);
    took('connect_timeout', 'not_sent', 2_000);
    expect(report.searchMs / 1_000).toBeCloseTo(3, 1);
    expect([report.sentCount, report.attempts.length]).toStrictEqual([1, 4]);
  });

  test('keeps the first attempts and the last when there are very many', () => {
    const report = reportOf();
    for (let n = 0; n < 200; n++)
      report.failed(
        tried(),
        { kind: 'failed', code: 'connect_failed', stage: 'not_sent', detail: `attempt ${n}` },
        performance.now(),
      );
    const reasons = report.attempts.map(({ reason }) => reason);
    expect([reasons.length, reasons[0], reasons.at(-1)]).toStrictEqual([32, 'attempt 0', 'attempt 199']);
  });

  test('what a member says of itself stays in the field that tells the decision', () => {
    // The low bytes of these letters are CR and LF.
    const gpu = 'T4\u010d\u010aSet-Cookie: a=b';
    const peer = peerOf(tableOf([recordOf(1, { capabilities: { gpu } })]), 1);
    const requirements = parseRequirements('gpu=A100');
    mustHold(!('fault' in requirements));
    const asked = { service: SERVICE, nowMs: performance.now(), random: () => 0, affinityKey: null };
    const { explanation: decision } = new Balancer('adaptive', { ttlMs: 30_000 }).decide([peer], {
      ...asked,
      excluded: new Set(),
      requirements,
    });
    const report = reportOf();
    const nobody = { kind: 'no_upstream', code: 'requirements_unmet', detail: '', skipped: [] } as const;
    report.selected(nobody, { view: 'hit', viewAgeMs: 0, decision, bound: null });
    const fields: string[] = [];
    report.pushResponseHeaders(fields, tried());
    const sent = Buffer.from(fieldLines(fields), 'latin1').toString('latin1');
    expect(sent.split(/[\r\n]+/).filter((line) => line.startsWith('Set-Cookie'))).toStrictEqual([]);
    const told = JSON.parse(String(first(fields, 'sidecar-decision'))) as typeof decision;
    expect(told.candidates[0]?.because).toBe('does not meet gpu=A100 (it has T4??Set-Cookie: a=b)');
  });

  test('a refusal of a worker is the answer when nobody took the request after it, and not when somebody did', () => {
    const answer = {
      status: 429,
      reason: '',
      fields: [],
      body: Buffer.alloc(0),
      trailers: [],
      firstByteMs: 1,
    };
    for (const [stages, status] of [
      [['refused'], 429],
      [['refused', 'not_sent'], 429],
      [['refused', 'not_sent', 'not_sent'], 429],
      [['sent', 'not_sent', 'refused'], 429],
      [['refused', 'sent'], 503],
      [['refused', 'not_sent', 'sent'], 503],
    ] as const) {
      const answered: unknown[] = [];
      const report = reportOf(answered);
      for (const stage of stages) {
        const held = stage === 'refused' ? { held: answer } : {};
        const failed = { kind: 'failed', code: 'saturated', stage, detail: '', ...held } as const;
        report.failed(tried(), failed, performance.now());
      }
      report.refuse('no_peers', 'nobody is left');
      expectNamed(answered[0], stages.join()).toBe(status);
    }
  });

  test('of a refusal without a body no piece is written: in chunks an empty one would be the end', () => {
    for (const [body, pieces] of [
      ['', []],
      ['no', ['no']],
    ] as const) {
      const answered: unknown[] = [];
      const report = reportOf(answered);
      const held = { status: 429, reason: '', fields: [], trailers: ['a', 'b'], firstByteMs: 1 };
      const failed = { kind: 'failed', code: 'saturated', stage: 'refused', detail: '' } as const;
      report.failed(tried(), { ...failed, held: { ...held, body: Buffer.from(body) } }, performance.now());
      report.refuse('no_peers', 'nobody is left');
      expect(answered).toStrictEqual([429, ...pieces, 'end']);
    }
  });
});
