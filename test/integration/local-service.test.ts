/** What requests teach a sidecar of the worker beside it, and whom its queue takes. */

import { describe, expect, test } from '@jest/globals';
import type { AttemptOutcome } from '../../sidecar/http/attempt-outcome.ts';
import type { Downstream } from '../../sidecar/http/exchange.ts';
import { HttpListener } from '../../sidecar/http/listener.ts';
import { RequestRelay } from '../../sidecar/http/request-relay.ts';
import { PausedSockets } from '../../sidecar/http/sockets/paused-sockets.ts';
import { CoarseTimers } from '../../sidecar/http/sockets/timers.ts';
import type { LocalAttempt } from '../../sidecar/proxy/worker/instance-tries.ts';
import { type InboundSetup, InboundSide, LIMITS } from '../support/meshes/inbound-side.ts';
import { pairFor, type SidecarPair } from '../support/meshes/sidecar-pair.ts';
import { Arrivals, within } from '../support/runner/arrivals.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed, fail, mustHold } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { Wire } from '../support/wire/wire.ts';
import { answer, answerHead, request } from '../support/wire/wire-messages.ts';

const POST = 'POST /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** As many as make a service time. */
const ENOUGH = 8;

async function workerBeside(setup: InboundSetup = {}): Promise<{ side: InboundSide; pair: SidecarPair }> {
  const side = await InboundSide.start({ name: 'a', ...setup });
  onTestEnd(() => side.close());
  return { side, pair: await pairFor({ peers: [], local: side.service }) };
}

interface Underway {
  readonly client: Wire;
  readonly worker: Wire;
}

/** A request that has come to the worker. */
async function arrived(pair: SidecarPair, side: InboundSide): Promise<Underway> {
  const client = await pair.client();
  client.send(POST);
  const worker = await side.origin.connection();
  await request(worker);
  return { client, worker };
}

/** A request whose client has left. */
async function abandoned(): Promise<Pick<LocalAttempt, 'downstream' | 'relay'>> {
  const requests = new Arrivals<Downstream>('a request');
  const listener = await HttpListener.bind({ host: '127.0.0.1', port: 0 });
  onTestEnd(() => listener.destroy());
  listener.serve({
    limits: LIMITS,
    headTimeoutMs: 5_000,
    strangers: null,
    pausedSockets: new PausedSockets(),
    keepAliveMs: 60_000,
    timers: new CoarseTimers(20),
    onInternalError: (error) => fail(String(error)),
    refuse: (code) => fail(code),
    onRequest: (downstream) => requests.push(downstream),
  });
  const client = await Wire.connect(listener.port);
  client.send(POST);
  const downstream = await requests.next();
  const relay = new RequestRelay(downstream, 0);
  const isGone = new Promise<void>((resolve) => relay.listen({ onClientDrain: () => {}, onGone: resolve }));
  client.reset();
  await within(isGone, () => 'the client to be gone');
  return { downstream, relay };
}

describe('the worker beside a sidecar', () => {
  test('that it takes no more than it said is over once it served one beside as many, and not before', async () => {
    const { side, pair } = await workerBeside();
    const { standing } = side.service;
    const limit = (): number | null => standing.fullAt(performance.now());
    standing.refusedAt(1, performance.now(), 30_000);
    const alone = await arrived(pair, side);
    alone.worker.send(OK);
    await answer(alone.client, 'POST');
    expectNamed(limit(), 'it served one alone').toBe(1);
    alone.client.send(POST);
    await request(alone.worker);
    const beside = await arrived(pair, side);
    beside.worker.send('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n');
    await answer(beside.client, 'POST');
    expectNamed(limit(), 'it turned one down beside another').toBe(1);
    beside.client.send(POST);
    await request(beside.worker);
    beside.worker.send(OK);
    await answer(beside.client, 'POST');
    expectNamed(limit(), 'it served one beside another').toBe(null);
    alone.worker.send(OK);
    await answer(alone.client, 'POST');
  });

  test('its base path comes before the path of an app, and not before the * of the whole server', async () => {
    const { side, pair } = await workerBeside({ basePath: '/base' });
    const client = await pair.client();
    client.send('GET /x?y HTTP/1.1\r\nHost: llm-inference.mesh\r\n\r\n');
    const worker = await side.origin.connection();
    expect((await request(worker)).head.target).toBe('/base/x?y');
    worker.send(OK);
    await answer(client);
    client.send('OPTIONS * HTTP/1.1\r\nHost: llm-inference.mesh\r\n\r\n');
    expect((await request(worker)).head.target).toBe('*');
    worker.send(OK);
    expect((await answer(client, 'OPTIONS')).head.status).toBe(200);
  });

  test('only requests that it served tell how long it takes', async () => {
    const { side, pair } = await workerBeside();
    const serviceMs = (): number | null => side.service.admission.serviceMs(performance.now());
    const cutShort = async ({ client, worker }: Underway): Promise<void> => {
      worker.send('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n');
      await answerHead(client);
      worker.reset();
    };
    const ends: readonly (readonly [outcome: string, end: (underway: Underway) => unknown])[] = [
      ['failed', ({ worker }) => worker.reset()],
      ['broken', cutShort],
      ['client_gone', ({ client }) => client.reset()],
    ];
    for (const [outcome, end] of ends) {
      for (let n = 0; n < ENOUGH; n++) {
        await end(await arrived(pair, side));
        expect((await pair.finished.next()).outcome).toBe(outcome);
      }
      expectNamed(serviceMs(), outcome).toBe(null);
    }
    side.origin.reply = OK;
    const client = await pair.client();
    for (let n = 0; n < ENOUGH; n++) {
      client.send(POST);
      expect((await answer(client, 'POST')).head.status).toBe(200);
    }
    expect(serviceMs()).not.toBe(null);
  });

  test('a request that it breaks says nothing of its health; one that finds nobody there does', async () => {
    const { side, pair } = await workerBeside({ unhealthyAfter: 1 });
    const { client, worker } = await arrived(pair, side);
    worker.reset();
    expect((await answer(client, 'POST')).head.status).toBe(502);
    expect([side.service.state, side.readiness]).toStrictEqual(['ready', [true]]);

    await side.origin.close();
    client.send(POST);
    expect(JSON.parse((await answer(client, 'POST')).body).code).toBe('connect_failed');
    expect([side.service.state, side.readiness]).toStrictEqual(['warming', [true, false]]);
  });

  test('it is at work while it has requests, and moves while a response is coming', async () => {
    const { side, pair } = await workerBeside();
    const { service } = side;
    expect(service.atWork()).toBe('no');
    const first = await arrived(pair, side);
    const second = await arrived(pair, side);
    expect(service.atWork()).toBe('waits');
    first.worker.send('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n');
    await answerHead(first.client);
    expect(service.atWork()).toBe('moves');
    first.worker.send('ok');
    await pair.finished.next();
    expect(service.atWork()).toBe('waits');
    second.client.reset();
    await pair.finished.next();
    expect(service.atWork()).toBe('no');
  });

  test('one that has been silent about all that it has for as long as an answer may take is not at work', async () => {
    const headMs = 400;
    const { side, pair } = await workerBeside({ timeouts: { connectMs: 1_000, headMs, idleMs: 8_000 } });
    const first = await arrived(pair, side);
    // Those that come later do not make it a worker that answers.
    await eventually(
      'half of the time has passed',
      () => performance.now(),
      (
        (startedMs) => (nowMs: number) =>
          nowMs > startedMs + headMs / 2
      )(performance.now()),
    );
    await arrived(pair, side);
    expect((await answer(first.client, 'POST')).head.status).toBe(504);
    await eventually(
      'it is not at work',
      () => side.service.atWork(),
      (atWork) => atWork === 'no',
    );
    expect(side.service.admission.inFlight).toBe(1);
  });

  test('a request whose client has left before takes no place in its queue', async () => {
    const { service } = (await workerBeside({ concurrency: 1 })).side;
    const slot = service.admission.acquire({ expectedQueue: null, sinceMs: 0, onGranted: () => {} });
    mustHold(slot.kind === 'granted');
    const ended = Promise.withResolvers<AttemptOutcome>();
    service.attempt({
      ...(await abandoned()),
      head: {
        method: 'POST',
        target: '/',
        host: 'a',
        fields: [],
        body: { kind: 'length', bytes: 2 },
        upgrade: null,
      },
      headFor: null,
      callerKey: '',
      expectedQueue: null,
      sinceMs: performance.now(),
      judge: () => ({ kind: 'forward', fields: [] }),
      informational: (fields) => fields,
      trailers: (fields) => fields,
      deadline: null,
      ended: ended.resolve,
      faulted: ended.reject,
    });
    expect(service.admission.queued).toBe(0);
    expect((await within(ended.promise, () => 'the outcome')).kind).toBe('client_gone');
  });
});
