/**
 * As an operator would: from the response alone, without a log, the cause of each fault is clear, and `/explain` and the
 * documentation agree with it.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test, { type TestContext } from 'node:test';
import { requestStory } from '../../sidecar/commands/request-story.ts';
import { CODES, type Code } from '../../sidecar/core/errors.ts';
import * as faults from '../support/faults.ts';
import { skipVpnLink } from '../support/vpn-link.ts';

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
  readonly make: (t: TestContext) => Promise<faults.Faulty>;
  readonly code: Code;
  /** The last attempt: at whom, by which route, to which address. Absent: there was none; null: there may be one. */
  readonly at?: RegExp | null;
  /** A worker that could not be asked, and why. */
  readonly notAsked?: RegExp;
  /** In `detail`. */
  readonly says: readonly RegExp[];
  readonly skip?: string | false;
}

const GET: Parameters<typeof faults.workerHangs>[1] = { target: `/service/${faults.SERVICE}/x` };
const POST = { ...GET, method: 'POST', body: 'x' };
const BY_VPN = /^gpu-1 vpn http:\/\/127\.0\.0\.\d:\d+$/;
const BY_TUNNEL = /^gpu-1 tunnel https:\/\/localhost:\d+$/;

const ROWS: readonly Row[] = [
  {
    fault: 'no worker offers the service',
    make: (t) => faults.nobodyOffers(t, 'vision-ocr'),
    code: 'no_peers',
    says: [/No worker announces this service/, /Services known here: llm-inference\./],
  },
  {
    fault: 'a slip in the name of the service',
    make: (t) => faults.nobodyOffers(t, 'llm-inferense'),
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
    make: (t) => faults.workerHangs(t, GET, { SIDECAR_TIMEOUT_HEAD: '1200ms' }),
    code: 'response_timeout',
    at: BY_VPN,
    says: [
      /no response within 1200 ms, the limit of timeouts\.head; its sidecar answers meanwhile, its worker does not/,
    ],
  },
  {
    fault: "the caller's deadline passes",
    make: (t) => faults.workerHangs(t, { ...GET, headers: { 'sidecar-deadline-ms': '1200' } }),
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
    skip: skipVpnLink,
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
    skip: skipVpnLink,
  },
  {
    fault: 'the VPN refuses, and there is no tunnel',
    make: faults.vpnRefused,
    code: 'connect_failed',
    at: BY_VPN,
    says: [/connection refused/, /nobody else is left to try/],
    skip: skipVpnLink,
  },
  {
    fault: 'no cloudflared at the tunnel',
    make: (t) => faults.tunnelFails(t, 530),
    code: 'connect_failed',
    at: BY_TUNNEL,
    says: [/the tunnel has no connector \(530\): cloudflared does not run there/],
  },
  {
    fault: "the tunnel's edge answers 502",
    make: (t) => faults.tunnelFails(t, 502),
    code: 'upstream_protocol',
    at: BY_TUNNEL,
    says: [/answered with 502, not signed.*the tunnel's edge/],
  },
  {
    fault: 'the certificate of the tunnel is for another name',
    make: (t) => faults.tunnelFails(t, 'wrong_name'),
    code: 'connect_failed',
    at: BY_TUNNEL,
    says: [/its TLS certificate is for another name/],
  },
  {
    fault: 'nobody listens at the name of the tunnel',
    make: (t) => faults.tunnelFails(t, 'refuses'),
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
    make: (t) => faults.workerCrashes(t, POST),
    code: 'upstream_reset',
    at: BY_VPN,
    says: [
      /the connection closed before a response began/,
      /may have been done: a POST needs Idempotency-Key/,
    ],
  },
  {
    fault: 'the retry budget is used up',
    make: (t) =>
      faults.workerCrashes(t, GET ?? {}, { SIDECAR_RETRY_BUDGET_RATIO: '0', SIDECAR_RETRY_PER_SECOND: '0' }),
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

test('from the response alone the cause is clear', { concurrency: 4 }, async (t) => {
  await Promise.all(
    ROWS.map((row) => t.test(`${row.fault}: ${row.code}`, { skip: row.skip ?? false }, (t) => check(t, row))),
  );
});

test('a request that was saved tells which route failed, and why', { skip: skipVpnLink }, async (t) => {
  const { app } = await faults.vpnBlackHoledWithTunnel(t);
  const answer = await app.call(GET ?? {});
  assert.deepEqual([answer.status, answer.headers['sidecar-route']], [200, 'tunnel'], answer.body);
  const { body } = await app.admin(`/explain?request=${String(answer.headers['sidecar-request-id'])}`);
  const { failed_attempts: attempts } = JSON.parse(body) as { failed_attempts: readonly Attempt[] };
  assert.equal(attempts.length, 1, body);
  assert.match(`${attempts[0]?.peer} ${attempts[0]?.route} ${attempts[0]?.address}`, BY_VPN);
  assert.match(attempts[0]?.reason ?? '', /^no answer/);
});

async function check(t: TestContext, row: Row): Promise<void> {
  const { app, sent = GET } = await row.make(t);
  const answer = await app.call(sent ?? {});
  const { status, retryAfterSeconds, advice } = CODES[row.code];
  assert.equal(answer.headers['content-type'], 'application/problem+json', answer.body);
  const problem = JSON.parse(answer.body) as Problem;
  const told = JSON.stringify(problem, null, 1);
  assert.deepEqual([answer.status, problem.code, problem.advice], [status, row.code, advice], told);
  assert.equal(answer.headers['retry-after'], retryAfterSeconds?.toString());
  for (const text of row.says) assert.match(problem.detail, text, told);
  for (const { address, reason, at, took_ms } of problem.attempts) {
    assert.match(address, /^https?:\/\/[^/]+$/);
    assert.ok(reason.length > 10 && took_ms >= 0, told);
    assert.ok(Math.abs(Date.parse(at) - Date.now()) < 60_000, told);
  }
  const last = problem.attempts.at(-1);
  if (row.at === undefined) assert.equal(last, undefined, told);
  else if (row.at !== null) assert.match(`${last?.peer} ${last?.route} ${last?.address}`, row.at, told);
  if (row.notAsked !== undefined) {
    const notAsked = (problem.not_asked ?? []).map(({ peer, reason }) => `${peer}: ${reason}`);
    assert.match(notAsked.join('\n'), row.notAsked, told);
  }

  const explained = await app.admin(`/explain?request=${String(answer.headers['sidecar-request-id'])}`);
  const logged = JSON.parse(explained.body) as Record<string, unknown>;
  assert.deepEqual(
    [logged.code, logged.status, logged.detail, logged.failed_attempts, logged.not_asked],
    [row.code, status, problem.detail, problem.attempts, problem.not_asked ?? []],
  );
  const story = requestStory(logged);
  assert.ok(story.includes(problem.detail) && story.includes(advice), story);
  assert.ok(PAGE.includes(`\`${row.code}\``), 'it is documented');
}
