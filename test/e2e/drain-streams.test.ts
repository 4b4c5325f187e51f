/** SIGTERM while a hundred streams run: all of them are finished, what is new goes elsewhere, and then the end. */
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { describe, expect, test } from '@jest/globals';
import { MeshProcesses } from '../support/meshes/mesh-processes.ts';
import type { SidecarProcess } from '../support/meshes/sidecar-process.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { open } from '../support/wire/http-client.ts';

const SERVICE = 'llm-inference';
const STREAMS = 100;

/** Together much longer than it takes until new requests are refused: the start of another sidecar on a busy machine, and 2 s. */
const EVENTS = 200;
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
  expect(message.statusCode).toBe(200);
  return { message, whole: read(message).catch((error: Error) => error.message) };
}

async function read(message: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of message.setEncoding('utf8')) text += String(chunk);
  return text;
}

async function setUp() {
  const mesh = await MeshProcesses.up();
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
  expectNamed(
    said.filter((text) => text !== expected),
    'each stream is whole',
  ).toStrictEqual([]);
  for (const { message } of streams) expect(message.complete).toBe(true);
}

describe('SIGTERM while a hundred streams run', () => {
  test("the worker's sidecar: 100 streams end whole, its own app is served meanwhile, new requests go elsewhere", async () => {
    const { app, one, streams } = await setUp();
    one.process.signal('SIGTERM');
    await app.knows(['one'], 'draining');
    for (let at = 0; at < 20; at++) {
      const answer = await app.call({ method: 'POST', target: `/service/${SERVICE}/`, body: 'x' });
      expect([answer.status, answer.headers['sidecar-worker']]).toStrictEqual([200, 'two']);
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
    expectNamed(lost.filter((status) => status !== 503).length, lost.join(' ')).toBeLessThanOrEqual(1);
    expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
    expect(refused.code).toBe('draining');
    expect(refused.attempts?.map((attempt) => [attempt.peer, attempt.code, attempt.stage])).toStrictEqual([
      ['one', 'draining', 'not_sent'],
    ]);
    expect(one.process.hasEnded).toBe(false);
    const own = await one.call({ method: 'POST', target: '/service/vision-ocr/', body: 'y' });
    expect([own.status, own.headers['sidecar-worker']]).toStrictEqual([200, 'two']);
    expect(one.process.hasEnded).toBe(false);
    await allWhole(streams);
    expect(await one.process.ended).toBe('exit code 0');
    expectNamed((await app.stats()).failed_requests, 'of those that had no other worker').toBe(lost.length);
  });

  test("the app's sidecar: 100 streams end whole, and its app may still ask", async () => {
    const { app, streams } = await setUp();
    app.process.signal('SIGTERM');
    await app.logged({ signal: 'SIGTERM' });
    const ready = await app.admin('/readyz');
    expect(ready.status).toBe(503);
    for (let at = 0; at < 10; at++) {
      const answer = await app.call({ method: 'POST', target: `/service/${SERVICE}/`, body: 'x' });
      expectNamed(answer.status, answer.body).toBe(200);
    }
    await allWhole(streams);
    expect(await app.process.ended).toBe('exit code 0');
  });

  test('a second SIGTERM ends it at once, and nobody takes a cut stream for a whole one', async () => {
    const { one, streams } = await setUp();
    const cut = streams.map(({ message }) => once(message, 'error').catch(() => {}));
    one.process.signal('SIGTERM');
    await one.logged({ signal: 'SIGTERM', level: 'info' });
    one.process.signal('SIGTERM');
    await one.logged({ signal: 'SIGTERM', level: 'warn' });
    expect(await one.process.ended).toBe('exit code 0');
    await Promise.all(cut);
    for (const { message, whole } of streams) {
      expect((await whole).endsWith(LAST)).toBe(false);
      expect(message.complete).toBe(false);
    }
  });
});
