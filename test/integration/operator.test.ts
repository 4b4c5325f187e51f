/**
 * As an operator would: from the response alone, without a log, the cause of each fault is clear, and `/explain` and the
 * documentation agree with it.
 */
import { readFileSync } from 'node:fs';
import { describe, expect } from '@jest/globals';
import { requestStory } from '../../sidecar/commands/request-story.ts';
import { CODES, type Code } from '../../sidecar/core/errors.ts';
import * as faults from '../support/edges/faults.ts';
import { vpnLinkReason } from '../support/edges/vpn-link.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { testUnless } from '../support/runner/test-unless.ts';

interface Attempt {
  readonly peer: string;
  readonly route: string;
  readonly address: string;
  readonly code: string;
  readonly reason: string;
  readonly at: string;
  readonly took_ms: number;
}

interface Problem {
  readonly code: string;
  readonly detail: string;
  readonly advice: string;
  readonly attempts: readonly Attempt[];
  readonly not_asked?: readonly { readonly peer: string; readonly reason: string }[];
}

interface Row {
  readonly fault: string;
  readonly make: () => Promise<faults.Faulty>;
  readonly code: Code;
  /** The last attempt: at whom, by which route, to which address. Absent: there was none; null: there may be one. */
  readonly at?: RegExp | null;
  /** A worker that could not be asked, and why. */
  readonly notAsked?: RegExp;
  /** In `detail`. */
  readonly says: readonly RegExp[];
  readonly unless?: string | null;
}

const GET: Parameters<typeof faults.workerHangs>[1] = { target: `/service/${faults.SERVICE}/x` };
const POST = { ...GET, method: 'POST', body: 'x' };
const BY_VPN = /^gpu-1 vpn http:\/\/127\.0\.0\.\d:\d+$/;
const BY_TUNNEL = /^gpu-1 tunnel https:\/\/localhost:\d+$/;

const ROWS: readonly Row[] = [
  {
    fault: 'no worker offers the service',
    make: () => faults.nobodyOffers('vision-ocr'),
    code: 'no_peers',
    says: [/No worker announces this service/, /Services known here: llm-inference\./],
  },
  {
    fault: 'a slip in the name of the service',
    make: () => faults.nobodyOffers('llm-inferense'),
    code: 'no_peers',
    says: [/Did you mean llm-inference\?/],
  },
  {
    fault: 'a path that names no service',
    make: faults.noServiceNamed,
    code: 'unknown_service',
    says: [/\/service\/<name>\/<path>/],
  },
  { fault: 'a loop', make: faults.loop, code: 'loop_detected', says: [/came back to where it came from/] },
  {
    fault: 'the worker is dead behind its living sidecar',
    make: faults.workerDead,
    code: 'connect_failed',
    at: BY_VPN,
    says: [/its sidecar says: its worker \(http:\/\/127\.0\.0\.1:\d+\): connection refused/],
  },
  {
    fault: 'the same, and everybody knows by now',
    make: faults.workerDeadForAWhile,
    code: 'warming',
    notAsked: /^gpu-1: warming.*ECONNREFUSED/,
    says: [/1 worker offers llm-inference, and none can take the request/],
  },
  {
    fault: 'the worker loads its model',
    make: faults.workerWarming,
    code: 'warming',
    notAsked: /^gpu-1: warming.*: GET \/health gave 503/,
    says: [/1 worker offers llm-inference, and none can take the request/],
  },
  {
    fault: 'the worker accepts and never answers',
    make: () => faults.workerHangs(GET, { SIDECAR_TIMEOUT_HEAD: '1200ms' }),
    code: 'response_timeout',
    at: BY_VPN,
    says: [
      /no response within 1200 ms, the limit of timeouts\.head; its sidecar answers meanwhile, its worker does not/,
    ],
  },
  {
    fault: "the caller's deadline passes",
    make: () => faults.workerHangs({ ...GET, headers: { 'sidecar-deadline-ms': '1200' } }),
    code: 'deadline',
    at: BY_VPN,
    says: [/the deadline of the caller passed; its sidecar answers meanwhile/],
  },
  {
    fault: "the worker's sidecar is stopped",
    make: faults.sidecarHangs,
    code: 'response_timeout',
    at: BY_VPN,
    says: [/no response within 2000 ms.*; its sidecar does not answer by vpn either/],
    unless: vpnLinkReason,
  },
  {
    fault: "the worker's sidecar is gone",
    make: faults.sidecarGone,
    code: 'connect_failed',
    at: BY_VPN,
    says: [/connection refused: its host is there, and nothing listens.*ECONNREFUSED/],
  },
  {
    fault: 'the VPN drops all packets, and there is no tunnel',
    make: faults.vpnBlackHoled,
    code: 'connect_timeout',
    at: BY_VPN,
    says: [/no answer to a connection within 1000 ms: its host is down, or packets are dropped/],
    unless: vpnLinkReason,
  },
  {
    fault: 'the VPN refuses, and there is no tunnel',
    make: faults.vpnRefused,
    code: 'connect_failed',
    at: BY_VPN,
    says: [/connection refused/, /nobody else is left to try/],
    unless: vpnLinkReason,
  },
  {
    fault: 'no cloudflared at the tunnel',
    make: () => faults.tunnelFails(530),
    code: 'connect_failed',
    at: BY_TUNNEL,
    says: [/the tunnel has no connector \(530\): cloudflared does not run there/],
  },
  {
    fault: "the tunnel's edge answers 502",
    make: () => faults.tunnelFails(502),
    code: 'upstream_protocol',
    at: BY_TUNNEL,
    says: [/answered with 502, not signed.*the tunnel's edge/],
  },
  {
    fault: 'the certificate of the tunnel is for another name',
    make: () => faults.tunnelFails('wrong_name'),
    code: 'connect_failed',
    at: BY_TUNNEL,
    says: [/its TLS certificate is for another name/],
  },
  {
    fault: 'nobody listens at the name of the tunnel',
    make: () => faults.tunnelFails('refuses'),
    code: 'connect_failed',
    at: BY_TUNNEL,
    says: [/connection refused/],
  },
  {
    fault: 'no route leads there from here',
    make: faults.noRouteFromHere,
    code: 'all_ejected',
    notAsked: /^gpu-1: no route from here: it has the VPN address 127\.0\.0\.1 and no tunnel/,
    says: [/this sidecar has no VPN/],
  },
  {
    fault: 'every slot and the queue are taken',
    make: faults.saturated,
    code: 'saturated',
    at: BY_VPN,
    says: [/1 of 1 slots are taken and 0 requests wait: the queue is full/],
  },
  {
    fault: 'the only worker shuts down',
    make: faults.draining,
    code: 'draining',
    // It refused this one, or has told so by an earlier one.
    at: null,
    says: [/gpu-1 is shutting down|gpu-1: draining: it shuts down and takes no new requests/],
  },
  {
    fault: 'the certificate of the caller does not allow it',
    make: faults.notAllowed,
    code: 'not_allowed',
    at: BY_VPN,
    says: [/The certificate of app-2 does not allow it to call llm-inference/],
  },
  {
    fault: 'another mesh key',
    make: faults.otherMeshKey,
    code: 'discovery_unavailable',
    says: [/UDP to 127\.0\.0\.1:\d+ got no response yet.*has it the same mesh key\?/],
  },
  {
    fault: 'the bootstrap node is dead',
    make: faults.bootstrapDead,
    code: 'discovery_unavailable',
    says: [/UDP to 127\.0\.0\.1:1 got no response yet: is it running/],
  },
  {
    fault: 'UDP is blocked',
    make: faults.udpBlocked,
    code: 'discovery_unavailable',
    says: [/does a firewall let UDP through both ways, is the VPN up/],
  },
  {
    fault: 'the worker crashes at a POST',
    make: () => faults.workerCrashes(POST),
    code: 'upstream_reset',
    at: BY_VPN,
    says: [
      /the connection closed before a response began/,
      /may have been done: a POST needs Idempotency-Key/,
    ],
  },
  {
    fault: 'the retry budget is used up',
    make: () =>
      faults.workerCrashes(GET ?? {}, { SIDECAR_RETRY_BUDGET_RATIO: '0', SIDECAR_RETRY_PER_SECOND: '0' }),
    code: 'upstream_reset',
    at: BY_VPN,
    says: [/not sent again, since the retry budget is used up \(retries\.budgetRatio/],
  },
  {
    fault: 'all are ejected: the least bad is tried, and its own fault is told',
    make: faults.workerKeepsCrashing,
    code: 'upstream_reset',
    at: BY_VPN,
    says: [/its worker \(http:\/\/127\.0\.0\.1:\d+\): the connection closed before a response began/],
  },
];

const PAGE = readFileSync(new URL('../../docs/troubleshooting.md', import.meta.url), 'utf8');

describe('what an operator learns of a fault', () => {
  for (const row of ROWS) {
    testUnless(row.unless ?? null)(`${row.fault}: the response alone says why, with ${row.code}`, () =>
      check(row),
    );
  }

  testUnless(vpnLinkReason)('a request that was saved tells which route failed, and why', async () => {
    const { app } = await faults.vpnBlackHoledWithTunnel();
    const answer = await app.call(GET ?? {});
    expectNamed([answer.status, answer.headers['sidecar-route']], answer.body).toStrictEqual([200, 'tunnel']);
    const { body } = await app.admin(`/explain?request=${String(answer.headers['sidecar-request-id'])}`);
    const { failed_attempts: attempts } = JSON.parse(body) as { failed_attempts: readonly Attempt[] };
    expectNamed(attempts, body).toHaveLength(1);
    expect(`${attempts[0]?.peer} ${attempts[0]?.route} ${attempts[0]?.address}`).toMatch(BY_VPN);
    expect(attempts[0]?.reason ?? '').toMatch(/^no answer/);
  });
});

async function check(row: Row): Promise<void> {
  const { app, sent = GET } = await row.make();
  const answer = await app.call(sent ?? {});
  const { status, retryAfterSeconds, advice } = CODES[row.code];
  expectNamed(answer.headers['content-type'], answer.body).toBe('application/problem+json');
  const problem = JSON.parse(answer.body) as Problem;
  const told = JSON.stringify(problem, null, 1);
  expectNamed([answer.status, problem.code, problem.advice], told).toStrictEqual([status, row.code, advice]);
  expect(answer.headers['retry-after']).toBe(retryAfterSeconds?.toString());
  for (const text of row.says) expectNamed(problem.detail, told).toMatch(text);
  for (const { address, reason, at, took_ms } of problem.attempts) {
    expect(address).toMatch(/^https?:\/\/[^/]+$/);
    expectNamed(reason.length, told).toBeGreaterThan(10);
    expectNamed(took_ms, told).toBeGreaterThanOrEqual(0);
    expectNamed(Math.abs(Date.parse(at) - Date.now()), told).toBeLessThan(60_000);
  }
  const last = problem.attempts.at(-1);
  if (row.at === undefined) expectNamed(last, told).toBe(undefined);
  else if (row.at !== null)
    expectNamed(`${last?.peer} ${last?.route} ${last?.address}`, told).toMatch(row.at);
  if (row.notAsked !== undefined) {
    const notAsked = (problem.not_asked ?? []).map(({ peer, reason }) => `${peer}: ${reason}`);
    expectNamed(notAsked.join('\n'), told).toMatch(row.notAsked);
  }

  const explained = await app.admin(`/explain?request=${String(answer.headers['sidecar-request-id'])}`);
  const logged = JSON.parse(explained.body) as Record<string, unknown>;
  expect([logged.code, logged.status, logged.detail, logged.failed_attempts, logged.not_asked]).toStrictEqual(
    [row.code, status, problem.detail, problem.attempts, problem.not_asked ?? []],
  );
  const story = requestStory(logged);
  expectNamed(story, story).toContain(problem.detail);
  expectNamed(story, story).toContain(advice);
  expectNamed(PAGE, 'it is documented').toContain(`\`${row.code}\``);
}
