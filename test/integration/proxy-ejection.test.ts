/** Peers that fail: how many requests find out, who comes back, and how many repeats all that may cost. */
import { describe, expect, test } from '@jest/globals';
import { first } from '../../sidecar/core/http/headers.ts';
import { EJECT_AFTER_FAILURES, EJECTION_MS } from '../../sidecar/core/peers/service-health.ts';
import { RetryBudget } from '../../sidecar/core/retry.ts';
import type { InboundSide } from '../support/meshes/inbound-side.ts';
import { pairFor, type SidecarPair } from '../support/meshes/sidecar-pair.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { note } from '../support/runner/note.ts';
import { answer, request } from '../support/wire/wire-messages.ts';

const GET = 'GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n\r\n';
const POST = 'POST /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

interface Got {
  readonly status: number;
  readonly worker: string | undefined;
}

async function send(pair: SidecarPair, text: string): Promise<Got> {
  const client = await pair.client();
  client.send(text);
  const { head } = await answer(client, text.slice(0, text.indexOf(' ')));
  return { status: head.status, worker: first(head.fields, 'sidecar-worker') };
}

/** Its worker resets whatever it gets; returns how often it has. */
function resets(side: InboundSide): () => number {
  let count = 0;
  void (async () => {
    for (;;) {
      const worker = await side.origin.connection();
      try {
        await request(worker);
        count++;
      } finally {
        worker.reset();
      }
    }
  })().catch(() => {}); // the test is over
  return () => count;
}

/** Ejected so long ago that the ejection is just over. */
function ejectedUntilNow(side: InboundSide): void {
  const { health } = side.standing;
  for (let n = 0; n < EJECT_AFTER_FAILURES; n++) health.failed(performance.now() - EJECTION_MS);
  expect(health.state.kind).toBe('ejected');
}

describe('a peer that keeps failing', () => {
  test('five failures in a row eject a peer: nobody is sent there any more', async () => {
    const pair = await pairFor({ peers: [{}, {}] });
    const [b, c] = pair.sides as [InboundSide, InboundSide];
    const failed = resets(b);
    c.origin.reply = OK;
    const got: Got[] = [];
    for (let n = 0; n < 40; n++) got.push(await send(pair, POST));
    expect(failed()).toBe(EJECT_AFTER_FAILURES);
    expect(got.filter(({ status }) => status === 502)).toHaveLength(EJECT_AFTER_FAILURES);
    expect(b.standing.health.state.kind).toBe('ejected');
  });

  test('after the ejection one real request finds out, however many come at once', async () => {
    const pair = await pairFor({ peers: [{}, {}] });
    const [b, c] = pair.sides as [InboundSide, InboundSide];
    c.origin.reply = OK;
    ejectedUntilNow(b);
    const many = Array.from({ length: 20 }, () => send(pair, GET));
    const trial = await b.origin.connection();
    await request(trial);
    for (let n = 0; n < 10; n++)
      expectNamed((await send(pair, GET)).worker, 'all others wait for its end').toBe('c');
    expect(b.origin.connections).toHaveLength(1);
    expect(b.standing.health.state.kind).toBe('half_open');
    trial.send(OK);
    const workers = (await Promise.all(many)).map(({ status, worker }) => `${worker} ${status}`).sort();
    expect(workers).toStrictEqual(['b 200', ...Array<string>(19).fill('c 200')]);
    expect(b.standing.health.state.kind).toBe('closed');
    const next = Promise.all([send(pair, GET), send(pair, GET)]);
    await request(trial);
    trial.send(OK);
    expectNamed((await next).map(({ worker }) => worker).sort(), 'it is one of them again').toStrictEqual([
      'b',
      'c',
    ]);
  });

  test('a trial that fails ejects for longer; one whose client leaves is given to the next', async () => {
    const pair = await pairFor({ peers: [{}, {}] });
    const [b, c] = pair.sides as [InboundSide, InboundSide];
    c.origin.reply = OK;
    ejectedUntilNow(b);
    // Round robin: the first one is for b.
    const leaving = await pair.client();
    leaving.send(GET);
    await request(await b.origin.connection());
    leaving.reset();
    expect((await pair.finished.next()).outcome).toBe('client_gone');
    expectNamed(b.standing.health.isEjected(performance.now()), 'free for another trial').toBe(false);
    const answers = Promise.all([send(pair, GET), send(pair, GET)]);
    const trial = await b.origin.connection();
    await request(trial);
    trial.reset();
    expect((await answers).map(({ status, worker }) => `${worker} ${status}`)).toStrictEqual([
      'c 200',
      'c 200',
    ]);
    const { state } = b.standing.health;
    const leftMs = state.kind === 'ejected' ? state.untilMs - performance.now() : 0;
    expectNamed(leftMs, `${leftMs} ms`).toBeGreaterThan(EJECTION_MS);
    expectNamed(leftMs, `${leftMs} ms`).toBeLessThanOrEqual(2 * EJECTION_MS);
  });

  test('the last peer is never ejected, and at most half of them are', async () => {
    for (const count of [1, 4]) {
      const pair = await pairFor({ peers: Array.from({ length: count }, () => ({})) });
      const failed = pair.sides.map(resets);
      for (let n = 0; n < count * 2 * EJECT_AFTER_FAILURES; n++)
        expect((await send(pair, POST)).status).toBe(502);
      expect(pair.sides.every(({ standing }) => standing.health.state.kind === 'ejected')).toBe(true);
      const before = failed.map((each) => each());
      for (let n = 0; n < 8; n++) await send(pair, POST);
      const used = failed.filter((each, at) => each() > (before[at] as number)).length;
      expectNamed(used, `${used} of ${count} are used`).toBeGreaterThanOrEqual(Math.max(1, count / 2));
      for (const side of pair.sides) side.origin.reply = OK;
      expectNamed((await send(pair, POST)).status, 'at once, when it is well again').toBe(200);
    }
  });

  test('a storm of failures: repeats stay within a fifth of the requests and the reserve', async () => {
    const REQUESTS = 300;
    const PER_SECOND = 10;
    const startedMs = performance.now();
    const pair = await pairFor({
      peers: [{}, {}, {}],
      outbound: { budget: new RetryBudget({ ratio: 0.2, perSecond: PER_SECOND }) },
    });
    const failed = pair.sides.map(resets);
    for (let n = 0; n < REQUESTS; n += 20) {
      const got = await Promise.all(Array.from({ length: 20 }, () => send(pair, GET)));
      for (const { status } of got) expect(status).toBe(502);
    }
    const seconds = (performance.now() - startedMs) / 1_000;
    const repeats = failed.reduce((sum, each) => sum + each(), 0) - REQUESTS;
    const allowed = 0.2 * REQUESTS + PER_SECOND * (1 + seconds);
    note(
      `${repeats} repeats of ${REQUESTS} requests in ${seconds.toFixed(1)} s, ${allowed.toFixed(0)} allowed`,
    );
    expectNamed(repeats, `${repeats} repeats, ${allowed} allowed`).toBeLessThanOrEqual(allowed);
    expectNamed(repeats, `${repeats} repeats: what is allowed is used`).toBeGreaterThanOrEqual(
      0.2 * REQUESTS,
    );
  });
});
