/** Workers that answer a byte at a time, or whose door is open and nobody comes: a bounded time, and the slot is free. */
import { describe, expect, test } from '@jest/globals';
import { VpnLink, vpnLinkReason } from '../support/edges/vpn-link.ts';
import { TestMesh } from '../support/meshes/mesh.ts';
import { pairFor } from '../support/meshes/sidecar-pair.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { note } from '../support/runner/note.ts';
import { testUnless } from '../support/runner/test-unless.ts';
import type { Wire } from '../support/wire/wire.ts';
import { answer, answerHead, request } from '../support/wire/wire-messages.ts';
import { startHttpWorker } from '../support/workers/http-worker.ts';

const GET = 'GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n\r\n';
const HEAD = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';
const BYTE = '1\r\nx\r\n';
const TIMES = { connectMs: 1_000, headMs: 400, idleMs: 600 };

/** Sends piece after piece until the connection is over; returns how many were taken. */
function trickle(worker: Wire, pieces: Iterable<string>, everyMs: number): Promise<number> {
  const iterator = pieces[Symbol.iterator]();
  let sent = 0;
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      const next = worker.end === null ? iterator.next() : { done: true, value: '' };
      if (next.done === true) {
        clearInterval(timer);
        resolve(sent);
      } else {
        worker.send(next.value);
        sent++;
      }
    }, everyMs);
  });
}

function* forEver(piece: string): Generator<string> {
  for (;;) yield piece;
}

describe('a worker that is neither alive nor dead', () => {
  test('a head that comes byte by byte does not move its time limit', async () => {
    const pair = await pairFor({ peers: [{ timeouts: TIMES, concurrency: 1 }] });
    const client = await pair.client();
    const startedMs = performance.now();
    client.send(GET);
    const worker = await pair.b.origin.connection();
    await request(worker);
    const sent = trickle(worker, `${HEAD.slice(0, -2)}X-Long: ${'x'.repeat(1_000)}`, 20);
    const got = await answer(client);
    const tookMs = performance.now() - startedMs;
    expect([got.head.status, JSON.parse(got.body).code]).toStrictEqual([504, 'response_timeout']);
    expectNamed(tookMs, `${tookMs} ms`).toBeLessThan(2_000);
    await worker.ended();
    expectNamed(await sent, 'it was at it until then').toBeGreaterThan(3);
    await pair.b.finished.next();
    expect(pair.b.service.admission.inFlight).toBe(0);
  });

  test('a body that comes byte by byte goes on as long as each comes in time, and is cut when one does not', async () => {
    const pair = await pairFor({ peers: [{ timeouts: TIMES, concurrency: 1 }] });
    const client = await pair.client();
    client.send(GET);
    const worker = await pair.b.origin.connection();
    await request(worker);
    worker.send(HEAD);
    await answerHead(client);
    const bytes = 40;
    await trickle(worker, Array<string>(bytes).fill(BYTE), 25); // longer than the limit in all
    await client.when('every byte', () =>
      client.bytes.filter((byte) => byte === 0x78).length === bytes ? true : null,
    );
    expect(pair.b.service.admission.inFlight).toBe(1);
    const silentMs = performance.now();
    await client.ended();
    const tookMs = performance.now() - silentMs;
    expectNamed(tookMs, `${tookMs} ms`).toBeLessThan(2_000);
    expectNamed(client.bytes.includes('0\r\n\r\n'), 'a cut answer must not look whole').toBe(false);
    await worker.ended();
    expect((await pair.finished.next()).outcome).toBe('broken');
    await pair.b.finished.next();
    expect(pair.b.service.admission.inFlight).toBe(0);
  });

  test('a body slower than the limit by its every byte is cut at the first', async () => {
    const pair = await pairFor({ peers: [{ timeouts: TIMES, concurrency: 1 }] });
    const client = await pair.client();
    client.send(GET);
    const worker = await pair.b.origin.connection();
    await request(worker);
    worker.send(`${HEAD}${BYTE}`);
    const sent = trickle(worker, forEver(BYTE), 1_500);
    await answerHead(client);
    await client.ended();
    await worker.ended();
    expectNamed(await sent, 'a byte or two at most').toBeLessThanOrEqual(2);
    await pair.b.finished.next();
    expect(pair.b.service.admission.inFlight).toBe(0);
  });

  test('slots that hang are free again for those who wait', async () => {
    const pair = await pairFor({ peers: [{ timeouts: TIMES, concurrency: 1, queue: 5 }] });
    const hanging = await pair.client();
    hanging.send(GET);
    const worker = await pair.b.origin.connection();
    await request(worker);
    const waiting = await pair.client();
    waiting.send(GET);
    expect((await answer(hanging)).head.status).toBe(504);
    const next = await pair.b.origin.connection();
    await request(next);
    next.send('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    expect((await answer(waiting)).body).toBe('ok');
  });

  testUnless(vpnLinkReason)(
    'a worker whose accept queue is full: a POST goes to the next one, once, and so do all that follow',
    async () => {
      const mesh = new TestMesh();
      const [full, well] = await Promise.all([startHttpWorker(), startHttpWorker()]);
      const to = { host: '127.0.0.1', port: Number(new URL(full.url).port) };
      const door = new VpnLink({ host: '127.0.0.3', port: to.port }, to);
      await door.carry();
      const env = { SIDECAR_TIMEOUT_WORKER_CONNECT: '300ms' };
      const url = `http://127.0.0.3:${to.port}`;
      const health = { interval: '1s', timeout: '300ms' };
      await mesh.join({ id: 'full', services: { ocr: { url, health } }, env });
      await mesh.join({ id: 'well', services: { ocr: { url: well.url } } });
      const app = await mesh.join({ id: 'app' });
      await app.knows(['full', 'well']);
      const post = async (id: number) => {
        const startedMs = performance.now();
        const sent = await app.call({ method: 'POST', target: `/service/ocr/${id}`, body: 'once' });
        expectNamed(sent.status, sent.body).toBe(200);
        const { 'sidecar-worker': worker, 'sidecar-attempts': attempts } = sent.headers;
        return { worker, attempts, tookMs: performance.now() - startedMs };
      };
      const used = new Set<unknown>();
      for (let n = 0; used.size < 2; n++) used.add((await post(n)).worker);
      const before = [full.seen.length, well.seen.length];

      await door.blackHole();
      const first = await Promise.all(Array.from({ length: 8 }, (_, n) => post(100 + n)));
      expect(new Set(first.map(({ worker }) => worker))).toStrictEqual(new Set(['well']));
      const slowestMs = Math.max(...first.map(({ tookMs }) => tookMs));
      note(`the first lost ${slowestMs.toFixed(0)} ms at most`);
      expectNamed(slowestMs, `${slowestMs} ms`).toBeLessThan(2_500);
      await app.knows(['full'], 'warming');
      for (let n = 0; n < 10; n++) {
        expectNamed((await post(200 + n)).attempts, 'at once').toBe('1');
      }
      expect([full.seen.length, well.seen.length]).toStrictEqual([before[0], (before[1] as number) + 18]);

      await door.carry();
      await eventually(
        'it is used again',
        () => post(300),
        ({ worker }) => worker === 'full',
      );
    },
  );
});
