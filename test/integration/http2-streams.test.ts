/** What goes wrong on a stream, or on its connection, and what many streams cost: through both sidecars. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { startVersionMesh, WAYS } from '../support/meshes/version-mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { sharedByTests } from '../support/runner/on-test-end.ts';
import { type Call, http2Client } from '../support/wire/version-clients.ts';
import type { VersionWorker } from '../support/workers/version-workers.ts';

/** The design promises 300 ms; the test waits for the event and looks at the clock. */
const CANCEL_LIMIT_MS = 1_000;

/** A hop in HTTP/2 holds the window of one stream (256 KiB), and as much again in queues. */
const HTTP2_HOP_BYTES = 524_288;

/** A hop in HTTP/1.1 holds what the kernel lets two sockets grow to: 4 + 32 MiB on some hosts, if the reader is slow. */
const HTTP1_HOP_BYTES = HTTP2_HOP_BYTES + kernelBytes('tcp_wmem') + kernelBytes('tcp_rmem');

/** More than what is on the way, to see that it moves again. */
const FURTHER_BYTES = 1_048_576;

/** A thousand streams at once are a second of work each way where nobody else works. */
const CROWD_PATIENCE_MS = 60_000;

/** And a thousand connections to an HTTP/1.1 worker, all made in the process that is at that work. */
const PATIENT = { SIDECAR_TIMEOUT_VPN_CONNECT: '30s', SIDECAR_TIMEOUT_WORKER_CONNECT: '30s' };

function kernelBytes(file: string): number {
  try {
    return Number(readFileSync(`/proc/sys/net/ipv4/${file}`, 'latin1').trim().split(/\s+/)[2]);
  } catch {
    return 16_777_216; // not Linux
  }
}

/** The app's version is that of the first two hops, the worker's that of the last. */
function heldLimitBytes(name: string): number {
  const http1Hops = (name.startsWith('h1') ? 2 : 0) + (name.endsWith('h1') ? 1 : 0);
  return http1Hops * HTTP1_HOP_BYTES + (3 - http1Hops) * HTTP2_HOP_BYTES;
}

async function settled(read: () => number): Promise<number> {
  let last = -1;
  let since = performance.now();
  await eventually(
    'a number that stops growing',
    () => read(),
    (now) => {
      if (now !== last) since = performance.now();
      last = now;
      return now > 0 && performance.now() - since > 500;
    },
  );
  return last;
}

async function abortedWithin(worker: VersionWorker, path: string): Promise<void> {
  const startedMs = performance.now();
  for (;;) {
    const event = await worker.events.next();
    if (event.what !== 'aborted') continue;
    expect(event.path).toBe(path);
    break;
  }
  expect(performance.now() - startedMs).toBeLessThan(CANCEL_LIMIT_MS);
}

describe('streams that end before their time', () => {
  const bed = sharedByTests(() => startVersionMesh(PATIENT));

  for (const name of WAYS) {
    describe(name, () => {
      test('a stream that is cancelled while it waits, streams or uploads is aborted at the worker', async () => {
        const { client, worker, at } = bed().ways[name];
        const waiting = client.call({ path: at('/hang') });
        expect((await worker.events.next()).what).toBe('began');
        waiting.cancel();
        await abortedWithin(worker, '/hang');

        const streaming = client.call({ path: at('/drip') });
        await streaming.bytes(6);
        streaming.cancel();
        await abortedWithin(worker, '/drip');

        const uploading = client.call({ method: 'POST', path: at('/hang'), body: true });
        uploading.write('half of it');
        expect((await worker.events.next()).what).toBe('began');
        uploading.cancel();
        await abortedWithin(worker, '/hang');
      });

      test('a slow reader stops the worker', async () => {
        const { client, worker, at } = bed().ways[name];
        worker.floodBytes = 0;
        const call = client.call({ path: at('/flood') });
        await call.head;
        await call.bytes(1);
        call.pause();
        const held = (await settled(() => worker.floodBytes)) - call.receivedBytes();
        expectNamed(held, `${held} bytes are on the way`).toBeLessThan(heldLimitBytes(name));
        call.resume();
        await call.bytes(worker.floodBytes + FURTHER_BYTES); // and it goes on
        call.cancel();
        await abortedWithin(worker, '/flood');
      });

      test('a slow worker stops the upload', async () => {
        const { client, worker, at } = bed().ways[name];
        worker.sunkBytes = 0;
        const call = client.call({ method: 'POST', path: at('/sink'), body: true });
        const piece = Buffer.alloc(65_536);
        let sent = 0;
        let isBlocked = false;
        let until = Number.POSITIVE_INFINITY;
        const pour = async (): Promise<void> => {
          while (sent < until) {
            sent += piece.length;
            if (call.write(piece)) continue;
            isBlocked = true;
            await call.drained();
            isBlocked = false;
          }
        };
        const all = pour();
        await settled(() => sent);
        expectNamed(isBlocked, `${sent} bytes were taken of a worker that reads nothing`).toBe(true);
        expectNamed(sent, `${sent} bytes were taken of a worker that reads nothing`).toBeLessThan(
          heldLimitBytes(name),
        );
        until = sent + FURTHER_BYTES;
        worker.readSink();
        await all;
        call.end();
        expect((await call.done).body).toBe(String(sent));
      });

      test('a worker that crashes in the middle cuts the response, and serves again', async () => {
        const { client, worker, at } = bed().ways[name];
        const call = client.call({ path: at('/drip') });
        await call.bytes(6);
        worker.crash();
        const { status, outcome } = await call.done;
        expect([status, outcome]).toStrictEqual([200, 'cut']);
        await abortedWithin(worker, '/drip');
        await eventually(
          'the worker serves again',
          () => client.call({ path: at('/hello') }).done,
          ({ status: now }) => now === 200,
        );
        while (worker.events.size > 0) await worker.events.next();
      });
    });
  }

  test('a goodbye of the worker lets running streams end', async () => {
    const { ways } = bed();
    for (const { client, worker, at } of [ways['h1→h2'], ways['h2→h2']]) {
      const running = client.call({ method: 'POST', path: at('/echo'), body: true });
      running.write('before ');
      await running.bytes(7);
      worker.sayGoodbye();
      const next = await client.call({ path: at('/hello') }).done;
      expect([next.status, next.body]).toStrictEqual([200, 'hello']); // on a new connection
      running.write('after');
      running.end();
      const { body, outcome } = await running.done;
      expect([body, outcome]).toStrictEqual(['before after', 'whole']);
    }
  });

  test('1,000 streams at once on one connection pass in each direction', async () => {
    const { ways, caller } = bed();
    const busy = http2Client(caller.running.outbound.port);
    for (const { at, worker } of [ways['h2→h1'], ways['h2→h2']]) {
      const calls: Call[] = [];
      for (let n = 0; n < 1_000; n++) {
        const call = busy.call({
          method: 'POST',
          path: at('/echo'),
          body: true,
          patienceMs: CROWD_PATIENCE_MS,
        });
        call.write(`stream ${n};`);
        calls.push(call);
      }
      await Promise.all(calls.map((call, n) => call.bytes(`stream ${n};`.length)));
      for (const call of calls) call.end();
      const received = await Promise.all(calls.map((call) => call.done));
      expect(received.filter(({ outcome }) => outcome === 'whole')).toHaveLength(1_000);
      expect(received.map(({ body }) => body)).toStrictEqual(calls.map((_, n) => `stream ${n};`));
      if (worker.url.startsWith('h2c')) expect(worker.openConnections()).toBe(1);
    }
  });

  test('1,000 streams cancelled at once do not end their connection', async () => {
    const { ways, caller } = bed();
    const busy = http2Client(caller.running.outbound.port);
    const way = ways['h2→h2'];
    const sending = { path: way.at('/drip'), patienceMs: CROWD_PATIENCE_MS };
    const calls = Array.from({ length: 1_000 }, () => busy.call(sending));
    await Promise.all(calls.map((call) => call.bytes(6)));
    for (const call of calls) call.cancel();
    for (let aborted = 0; aborted < 1_000; ) {
      if ((await way.worker.events.next()).what === 'aborted') aborted++;
    }
    expect((await busy.call({ path: way.at('/hello') }).done).status).toBe(200);
    expect(busy.session.destroyed).toBe(false);
  });
});
