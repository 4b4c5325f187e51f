/** Peers that fail: how many requests find out, who comes back, and how many repeats all that may cost. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { first } from '../../sidecar/core/http/headers.ts';
import { EJECT_AFTER_FAILURES, EJECTION_MS } from '../../sidecar/core/peers/peer-health.ts';
import { RetryBudget } from '../../sidecar/core/retry.ts';
import type { InboundSide } from '../support/inbound-side.ts';
import { pairFor, type SidecarPair } from '../support/sidecar-pair.ts';
import { answer, request } from '../support/wire-messages.ts';

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
  const { health } = side.peer;
  for (let n = 0; n < EJECT_AFTER_FAILURES; n++) health.failed(performance.now() - EJECTION_MS);
  assert.equal(health.state.kind, 'ejected');
}

test('five failures in a row eject a peer: nobody is sent there any more', async (t) => {
  const pair = await pairFor(t, { peers: [{}, {}] });
  const [b, c] = pair.sides as [InboundSide, InboundSide];
  const failed = resets(b);
  c.origin.reply = OK;
  const got: Got[] = [];
  for (let n = 0; n < 40; n++) got.push(await send(pair, POST));
  assert.equal(failed(), EJECT_AFTER_FAILURES);
  assert.equal(got.filter(({ status }) => status === 502).length, EJECT_AFTER_FAILURES);
  assert.equal(b.peer.health.state.kind, 'ejected');
});

test('after the ejection one real request finds out, however many come at once', async (t) => {
  const pair = await pairFor(t, { peers: [{}, {}] });
  const [b, c] = pair.sides as [InboundSide, InboundSide];
  c.origin.reply = OK;
  ejectedUntilNow(b);
  const many = Array.from({ length: 20 }, () => send(pair, GET));
  const trial = await b.origin.connection();
  await request(trial);
  for (let n = 0; n < 10; n++)
    assert.equal((await send(pair, GET)).worker, 'c', 'all others wait for its end');
  assert.equal(b.origin.connections.length, 1);
  assert.equal(b.peer.health.state.kind, 'half_open');
  trial.send(OK);
  const workers = (await Promise.all(many)).map(({ status, worker }) => `${worker} ${status}`).sort();
  assert.deepEqual(workers, ['b 200', ...Array<string>(19).fill('c 200')]);
  assert.equal(b.peer.health.state.kind, 'closed');
  const next = Promise.all([send(pair, GET), send(pair, GET)]);
  await request(trial);
  trial.send(OK);
  assert.deepEqual((await next).map(({ worker }) => worker).sort(), ['b', 'c'], 'it is one of them again');
});

test('a trial that fails ejects for longer; one whose client leaves is given to the next', async (t) => {
  const pair = await pairFor(t, { peers: [{}, {}] });
  const [b, c] = pair.sides as [InboundSide, InboundSide];
  c.origin.reply = OK;
  ejectedUntilNow(b);
  // Round robin: the first one is for b.
  const leaving = await pair.client();
  leaving.send(GET);
  await request(await b.origin.connection());
  leaving.reset();
  assert.equal((await pair.finished.next()).outcome, 'client_gone');
  assert.equal(b.peer.health.isEjected(performance.now()), false, 'free for another trial');
  const answers = Promise.all([send(pair, GET), send(pair, GET)]);
  const trial = await b.origin.connection();
  await request(trial);
  trial.reset();
  assert.deepEqual(
    (await answers).map(({ status, worker }) => `${worker} ${status}`),
    ['c 200', 'c 200'],
  );
  const { state } = b.peer.health;
  const leftMs = state.kind === 'ejected' ? state.untilMs - performance.now() : 0;
  assert.ok(leftMs > EJECTION_MS && leftMs <= 2 * EJECTION_MS, `${leftMs} ms`);
});

test('the last peer is never ejected, and at most half of them are', async (t) => {
  for (const count of [1, 4]) {
    const pair = await pairFor(t, { peers: Array.from({ length: count }, () => ({})) });
    const failed = pair.sides.map(resets);
    for (let n = 0; n < count * 2 * EJECT_AFTER_FAILURES; n++)
      assert.equal((await send(pair, POST)).status, 502);
    assert.ok(pair.sides.every(({ peer }) => peer.health.state.kind === 'ejected'));
    const before = failed.map((each) => each());
    for (let n = 0; n < 8; n++) await send(pair, POST);
    const used = failed.filter((each, at) => each() > (before[at] as number)).length;
    assert.ok(used >= Math.max(1, count / 2), `${used} of ${count} are used`);
    for (const side of pair.sides) side.origin.reply = OK;
    assert.equal((await send(pair, POST)).status, 200, 'at once, when it is well again');
  }
});

test('a storm of failures: repeats stay within a fifth of the requests and the reserve', async (t) => {
  const REQUESTS = 300;
  const PER_SECOND = 10;
  const startedMs = performance.now();
  const pair = await pairFor(t, {
    peers: [{}, {}, {}],
    outbound: { budget: new RetryBudget({ ratio: 0.2, perSecond: PER_SECOND }) },
  });
  const failed = pair.sides.map(resets);
  for (let n = 0; n < REQUESTS; n += 20) {
    const got = await Promise.all(Array.from({ length: 20 }, () => send(pair, GET)));
    for (const { status } of got) assert.equal(status, 502);
  }
  const seconds = (performance.now() - startedMs) / 1_000;
  const repeats = failed.reduce((sum, each) => sum + each(), 0) - REQUESTS;
  const allowed = 0.2 * REQUESTS + PER_SECOND * (1 + seconds);
  t.diagnostic(
    `${repeats} repeats of ${REQUESTS} requests in ${seconds.toFixed(1)} s, ${allowed.toFixed(0)} allowed`,
  );
  assert.ok(repeats <= allowed, `${repeats} repeats, ${allowed} allowed`);
  assert.ok(repeats >= 0.2 * REQUESTS, `${repeats} repeats: what is allowed is used`);
});
