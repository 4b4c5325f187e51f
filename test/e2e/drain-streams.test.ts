/** SIGTERM while a hundred streams run: all of them are finished, what is new goes elsewhere, and then the end. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import test, { type TestContext } from 'node:test';
import { eventually } from '../support/eventually.ts';
import { open } from '../support/http-client.ts';
import { MeshProcesses } from '../support/mesh-processes.ts';
import type { SidecarProcess } from '../support/sidecar-process.ts';

const SERVICE = 'llm-inference';
const STREAMS = 100;

/** Together much longer than it takes until new requests are refused: the start of another sidecar, and 2 s. */
const EVENTS = 80;
const EVENT_MS = 100;
const LAST = 'event: done\ndata: \n\n';

interface Stream {
  readonly message: IncomingMessage;
  /** All that was said, or the error that broke it. */
  readonly whole: Promise<string>;
}

interface Problem {
  readonly code: string;
  readonly attempts: readonly { readonly peer: string; readonly code: string; readonly stage: string }[];
}

async function stream(app: SidecarProcess, at: number): Promise<Stream> {
  const query = `id=stream-${at}&mode=sse&events=${EVENTS}&ms=${EVENT_MS}`;
  const message = await open(app.address.outbound, { target: `/service/${SERVICE}/?${query}` });
  assert.equal(message.statusCode, 200);
  return { message, whole: read(message).catch((error: Error) => error.message) };
}

async function read(message: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of message.setEncoding('utf8')) text += String(chunk);
  return text;
}

async function setUp(t: TestContext) {
  const mesh = await MeshProcesses.up(t);
  const [first, second] = await Promise.all([mesh.worker('one'), mesh.worker('two')]);
  const [one, app] = await Promise.all([
    mesh.sidecar({
      id: 'one',
      services: { [SERVICE]: { url: first.url, concurrency: 200 }, solo: first.url },
    }),
    mesh.sidecar({ id: 'app' }),
  ]);
  await app.get(SERVICE);
  const streams = await Promise.all(Array.from({ length: STREAMS }, (_, at) => stream(app, at)));
  // Later, so that all streams are at the first one; what the second one offers besides is for the first one's app.
  const two = await mesh.sidecar({
    id: 'two',
    services: { [SERVICE]: second.url, 'vision-ocr': second.url },
  });
  await Promise.all([app.knows(['two']), one.knows(['two'])]);
  return { mesh, app, one, two, streams };
}

async function allWhole(streams: readonly Stream[]): Promise<void> {
  const said = await Promise.all(streams.map(({ whole }) => whole));
  const expected =
    Array.from({ length: EVENTS }, (_, at) => `id: ${at + 1}\ndata: one ${at + 1}\n\n`).join('') + LAST;
  assert.deepEqual(
    said.filter((text) => text !== expected),
    [],
    'each stream is whole',
  );
  for (const { message } of streams) assert.equal(message.complete, true);
}

test("the worker's sidecar: 100 streams end whole, its own app is served meanwhile, new requests go elsewhere", async (t) => {
  const { app, one, streams } = await setUp(t);
  one.process.signal('SIGTERM');
  await app.knows(['one'], 'draining');
  for (let at = 0; at < 20; at++) {
    const answer = await app.call({ method: 'POST', target: `/service/${SERVICE}/`, body: 'x' });
    assert.deepEqual([answer.status, answer.headers['sidecar-worker']], [200, 'two']);
  }
  // Nobody else has this one. It is served for as long as new requests are taken, and then it says no, by its own proof:
  // a response without one would not be believed. One that crosses with the end of a kept connection is lost too, since
  // there is nobody else to send it to, and the next are not sent until a probe has seen that it lives.
  const statuses: number[] = [];
  const refused = await eventually(
    'new requests are refused, by itself',
    async () => {
      const { status, headers, body } = await app.get('solo');
      statuses.push(status);
      return { status, headers, ...(status === 200 ? null : (JSON.parse(body) as Problem)) };
    },
    ({ status, attempts }) => status === 503 && attempts?.length === 1,
  );
  const lost = statuses.filter((status) => status !== 200);
  assert.ok(lost.filter((status) => status !== 503).length <= 1, lost.join(' '));
  assert.ok(Number(refused.headers['retry-after']) > 0);
  assert.equal(refused.code, 'draining');
  assert.deepEqual(
    refused.attempts?.map((attempt) => [attempt.peer, attempt.code, attempt.stage]),
    [['one', 'draining', 'not_sent']],
  );
  assert.equal(one.process.hasEnded, false);
  const own = await one.call({ method: 'POST', target: '/service/vision-ocr/', body: 'y' });
  assert.deepEqual([own.status, own.headers['sidecar-worker']], [200, 'two']);
  assert.equal(one.process.hasEnded, false);
  await allWhole(streams);
  assert.equal(await one.process.ended, 'exit code 0');
  assert.equal((await app.stats()).failed_requests, lost.length, 'of those that had no other worker');
});

test("the app's sidecar: 100 streams end whole, and its app may still ask", async (t) => {
  const { app, streams } = await setUp(t);
  app.process.signal('SIGTERM');
  await app.logged({ signal: 'SIGTERM' });
  const ready = await app.admin('/readyz');
  assert.equal(ready.status, 503);
  for (let at = 0; at < 10; at++) {
    const answer = await app.call({ method: 'POST', target: `/service/${SERVICE}/`, body: 'x' });
    assert.equal(answer.status, 200, answer.body);
  }
  await allWhole(streams);
  assert.equal(await app.process.ended, 'exit code 0');
});

test('a second SIGTERM ends it at once, and nobody takes a cut stream for a whole one', async (t) => {
  const { one, streams } = await setUp(t);
  const cut = streams.map(({ message }) => once(message, 'error').catch(() => {}));
  one.process.signal('SIGTERM');
  await one.logged({ signal: 'SIGTERM', level: 'info' });
  one.process.signal('SIGTERM');
  await one.logged({ signal: 'SIGTERM', level: 'warn' });
  assert.equal(await one.process.ended, 'exit code 0');
  await Promise.all(cut);
  for (const { message, whole } of streams) {
    assert.ok(!(await whole).endsWith(LAST));
    assert.equal(message.complete, false);
  }
});
