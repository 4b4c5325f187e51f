/**
 * The app leaves while its upload stands still, and nobody reads its connection: noticed all the same, through both
 * sidecars to the worker, long before anything is read again.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import type { View } from '../../sidecar/proxy/outbound/directory.ts';
import { assertCountsAreZero } from '../support/meshes/counts.ts';
import { type PairSetup, pairFor, type SidecarPair } from '../support/meshes/sidecar-pair.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { note } from '../support/runner/note.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { fillUp } from '../support/wire/fill-up.ts';
import type { Wire } from '../support/wire/wire.ts';
import { request, requestHead } from '../support/wire/wire-messages.ts';
import { ScriptedOrigin } from '../support/workers/scripted-origin.ts';

/** More than all buffers on the way hold. */
const UPLOAD = 'PUT /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nContent-Length: 200000000\r\n\r\n';

/** Usually some 100 ms, more on a host with thousands of connections. Not noticed, it would take for ever. */
const NOTICED_MS = 2_000;

/** The end of a client in another network namespace cannot be seen behind bytes that were not read. */
const isLinux = process.platform === 'linux';

/** Both ways to leave. */
const LEAVE: Readonly<Record<string, (client: Wire) => void>> = {
  'a reset': (client) => client.reset(),
  ...(isLinux ? { 'a clean close': (client: Wire) => client.close() } : {}),
};

async function held(setup: PairSetup = {}): Promise<{ pair: SidecarPair; client: Wire }> {
  const pair = await pairFor(setup);
  const client = await pair.client();
  return { pair, client };
}

/** Resolves when all of these have; tells how long it took. */
async function noticed(what: readonly Promise<unknown>[]): Promise<void> {
  const startedMs = performance.now();
  await Promise.all(what);
  const tookMs = performance.now() - startedMs;
  note(`noticed after ${tookMs.toFixed(0)} ms`);
  expectNamed(tookMs, `noticed after ${tookMs} ms`).toBeLessThan(NOTICED_MS);
}

describe('an app that leaves while its upload stands still', () => {
  for (const [how, leave] of Object.entries(LEAVE)) {
    test(`${how} while the worker does not read: noticed at once`, async () => {
      const { pair, client } = await held();
      client.send(UPLOAD);
      const worker = await pair.b.origin.connection();
      await requestHead(worker);
      worker.socket.pause();
      await fillUp(client);
      leave(client);
      const [here, there] = [pair.finished.next(), pair.b.finished.next()];
      await noticed([here, there]);
      expect([(await here).outcome, (await there).outcome]).toStrictEqual(['client_gone', 'client_gone']);
      assertCountsAreZero(pair);
      worker.socket.resume();
      expectNamed(await worker.ended(), 'without the bytes that nobody had read').toBe('reset');
    });

    test(`${how} while it is queued at the peer: noticed at once`, async () => {
      const { pair, client } = await held({ peers: [{ concurrency: 1 }] });
      const first = await pair.client();
      first.send('GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n\r\n');
      const worker = await pair.b.origin.connection();
      await request(worker);
      client.send(UPLOAD);
      await fillUp(client);
      expect(pair.b.service.admission.queued).toBe(1);
      leave(client);
      const [here, there] = [pair.finished.next(), pair.b.finished.next()];
      await noticed([here, there]);
      expect([(await here).outcome, (await there).outcome]).toStrictEqual(['client_gone', 'client_gone']);
      expect(pair.b.service.admission.queued).toBe(0);
      worker.send('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      await first.until('ok');
      await pair.finished.next();
      await pair.b.finished.next();
      assertCountsAreZero(pair);
    });

    test(`${how} while it waits for the directory: noticed at once`, async () => {
      const { pair, client } = await held();
      pair.lookup = new Promise<View>(() => {});
      client.send(UPLOAD);
      await fillUp(client);
      leave(client);
      const here = pair.finished.next();
      await noticed([here]);
      expect((await here).outcome).toBe('client_gone');
      assertCountsAreZero(pair);
    });

    test(`${how} while the connection is made: noticed at once`, async () => {
      const silent = await ScriptedOrigin.start(); // takes TCP, and never says a word of TLS
      onTestEnd(() => silent.close());
      const times = { connectMs: 30_000, headMs: 30_000, idleMs: 30_000 };
      const { pair, client } = await held({
        peers: [{ tunnelUrl: `https://localhost:${silent.port}`, hasVpn: false }],
        outbound: { callPolicy: () => ({ vpn: times, tunnel: times, retryPost: false, retryRefused: true }) },
      });
      client.send(UPLOAD);
      const dialled = await silent.connection();
      await fillUp(client);
      leave(client);
      const here = pair.finished.next();
      await noticed([here, dialled.ended()]);
      expect((await here).outcome).toBe('client_gone');
      assertCountsAreZero(pair);
    });
  }

  test('an upload that stands still for long, and whose client stays, goes on', async () => {
    const { pair, client } = await held();
    client.send(UPLOAD);
    const worker = await pair.b.origin.connection();
    await requestHead(worker);
    worker.socket.pause();
    const written = await fillUp(client);
    await pause(500);
    expect(pair.running).toBe(1);
    const before = worker.receivedBytes;
    worker.socket.resume();
    await worker.when('all that was written', () =>
      worker.receivedBytes - before >= written - 65_536 ? true : null,
    );
  });
});
