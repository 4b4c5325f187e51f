/**
 * Moves where answers are streams: the head of one tells that a slot was taken, not that one is about to be free, and
 * its end is told by nobody. Who waits may not be sent behind one that begins, and is sent to where one has ended.
 */
import type http from 'node:http';
import type { ServerResponse } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import type { Peer } from '../../sidecar/core/peers/peer.ts';
import { QueueMigration } from '../../sidecar/proxy/outbound/queue-migration.ts';
import { TestMesh } from '../support/meshes/mesh.ts';
import { pairFor } from '../support/meshes/sidecar-pair.ts';
import { Arrivals } from '../support/runner/arrivals.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { open, wholeAnswer } from '../support/wire/http-client.ts';
import type { Wire } from '../support/wire/wire.ts';
import { answerHead, request } from '../support/wire/wire-messages.ts';
import { type HoldingWorker, holdingWorker, queuedAt } from '../support/workers/holding-worker.ts';

/** Only answers tell of load. */
const NO_PROBES = { SIDECAR_PROBE_FEW_INTERVAL: '10m', SIDECAR_PROBE_MANY_INTERVAL: '10m' };

interface Bed {
  /** Two requests that are being served, and one that waits. */
  readonly all: readonly Promise<http.IncomingMessage>[];
  /** Where it waits. */
  readonly there: HoldingWorker;
  readonly elsewhere: HoldingWorker;
}

async function oneWaits(): Promise<Bed> {
  const mesh = new TestMesh();
  const [a, b] = [await holdingWorker(mesh, 'a'), await holdingWorker(mesh, 'b')];
  const app = await mesh.join({ id: 'app', env: NO_PROBES });
  await app.get('infer');
  await app.knows(['a', 'b']);
  const post = (body: string) =>
    open(app.running.outbound, { method: 'POST', target: '/service/infer/', body });
  const busy = [post('1'), post('2')];
  await eventually(
    'both are busy',
    () => [a.held.length, b.held.length],
    (lengths) => lengths.join() === '1,1',
  );
  const third = post('3');
  await eventually(
    'the third waits',
    async () => (await queuedAt(a)) + (await queuedAt(b)),
    (count) => count === 1,
  );
  // Who has just come is not moved.
  await pause(100);
  const [there, elsewhere] = (await queuedAt(a)) === 1 ? [a, b] : [b, a];
  return { all: [...busy, third], there, elsewhere };
}

/** Answers the first request there with a stream that goes on. */
async function stream({ all, elsewhere }: Bed): Promise<ServerResponse> {
  const response = elsewhere.held[0]?.response as ServerResponse;
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.write('data: begun\n\n');
  const begun = await Promise.race(all);
  expect(begun.headers['sidecar-worker']).toBe(elsewhere.sidecar.id);
  return response;
}

/** Of whose streams it hears that they have ended. */
class Ends extends QueueMigration {
  readonly heard = new Arrivals<string>('the end of a stream');

  constructor() {
    super({ look: async () => {}, cancelQueued: async () => false });
  }

  override async streamEnded(peer: Peer): Promise<void> {
    this.heard.push(peer.record.worker_id);
  }
}

describe('moving a waiting request among streams', () => {
  test('a stream that broke off makes no room: nobody is asked what became of its slot', async () => {
    const ends = new Ends();
    const pair = await pairFor({ outbound: { queueMigration: ends } });
    const begin = async (): Promise<Wire> => {
      const client = await pair.client();
      client.send('GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n\r\n');
      const worker = await pair.b.origin.connection();
      await request(worker);
      worker.send('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n');
      await answerHead(client);
      return worker;
    };
    (await begin()).reset();
    expect((await pair.finished.next()).outcome).toBe('broken');
    const whole = await begin();
    whole.send('0\r\n\r\n');
    expect((await pair.finished.next()).outcome).toBe('ok');
    expect(await ends.heard.next()).toBe('b');
    expect(ends.heard.size).toBe(0);
  });

  test('who waits is not sent behind a stream that has just begun', async () => {
    const bed = await oneWaits();
    const { all, there, elsewhere } = bed;
    const streaming = await stream(bed);
    // Whoever was to be taken back would be by then: that is one of these round trips.
    for (let n = 0; n < 20; n++) {
      expectNamed(
        [await queuedAt(there), await queuedAt(elsewhere)],
        'the third is where it was',
      ).toStrictEqual([1, 0]);
    }

    there.held[0]?.response.end('done');
    await eventually(
      'the third is served by the worker that is free, while the other one streams',
      () => there.held.map(({ body }) => body),
      (bodies) => bodies.includes('3'),
    );
    there.held.at(-1)?.response.end('done');
    streaming.end();
    for (const each of all) {
      const { status, headers } = await wholeAnswer(await each);
      expectNamed([status, headers['sidecar-attempts']], 'each was sent once').toStrictEqual([200, '1']);
    }
  });

  test('who waits is sent to where a stream has just ended', async () => {
    const bed = await oneWaits();
    const { all, there, elsewhere } = bed;
    (await stream(bed)).end();
    const first = await Promise.race(all);
    expect((await wholeAnswer(first)).status).toBe(200);
    await eventually(
      'the third is served where the stream was',
      () => elsewhere.held.map(({ body }) => body),
      (bodies) => bodies.includes('3'),
    );
    for (const { held } of [there, elsewhere]) held.at(-1)?.response.end('done');
    for (const each of all) expect((await each).statusCode).toBe(200);
  });
});
