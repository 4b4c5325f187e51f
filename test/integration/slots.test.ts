/** What holds a slot of a worker and what does not, asked by the app beside it and by one behind another sidecar. */
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { parseSlotRule, type SlotRule } from '../../sidecar/core/worker/slot-rules.ts';
import type { InboundSetup } from '../support/meshes/inbound-side.ts';
import { InboundSide } from '../support/meshes/inbound-side.ts';
import { type Member, TestMesh } from '../support/meshes/mesh.ts';
import { pairFor, type SidecarPair } from '../support/meshes/sidecar-pair.ts';
import { startVersionMesh, WAYS } from '../support/meshes/version-mesh.ts';
import { Arrivals } from '../support/runner/arrivals.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import type { Wire } from '../support/wire/wire.ts';
import { answer, answerHead, request, requestHead } from '../support/wire/wire-messages.ts';
import { startHttpWorker } from '../support/workers/http-worker.ts';

/** Each request comes on a connection of its own, which the test can tell from the others. */
const OK = 'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok';
const STREAM =
  'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n';
const SWITCHING = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';
const UPGRADE = 'Connection: Upgrade\r\nUpgrade: websocket\r\n';

function ask(method: string, path: string, fields = ''): string {
  const body = method === 'POST' ? 'Content-Length: 2\r\n\r\nhi' : '\r\n';
  return `${method} /service/llm-inference${path} HTTP/1.1\r\nHost: a\r\n${fields}${body}`;
}

function rules(...texts: string[]): SlotRule[] {
  return texts.map((text) => parseSlotRule(text)).filter((rule) => rule !== null);
}

interface Bed {
  readonly pair: SidecarPair;
  /** The sidecar beside the worker. */
  readonly side: InboundSide;
}

/** By one sidecar or by two; the worker serves one request at a time. */
async function bed(way: 'beside' | 'behind', setup: InboundSetup = {}): Promise<Bed> {
  const one = { concurrency: 1, ...setup };
  if (way === 'behind') {
    const pair = await pairFor({ peers: [one] });
    return { pair, side: pair.b };
  }
  const side = await InboundSide.start({ name: 'a', ...one });
  onTestEnd(() => side.close());
  return { pair: await pairFor({ peers: [], local: side.service }), side };
}

interface Call {
  readonly client: Wire;
  readonly worker: Wire;
}

/** A request that has come to the worker. */
async function arrives({ pair, side }: Bed, message: string): Promise<Call> {
  const client = await pair.client();
  client.send(message);
  const worker = await side.origin.connection();
  await requestHead(worker);
  return { client, worker };
}

/** One that has to wait: its client. */
async function waits({ pair, side }: Bed, message: string): Promise<Wire> {
  const client = await pair.client();
  const before = side.service.admission.queued;
  client.send(message);
  await eventually(
    'it waits',
    () => side.service.admission.queued,
    (queued) => queued === before + 1,
  );
  return client;
}

/** The slot is free: a POST is served. */
async function postIsServed(on: Bed): Promise<void> {
  const { client, worker } = await arrives(on, ask('POST', '/prompt'));
  worker.send(OK);
  expect((await answer(client, 'POST')).head.status).toBe(200);
}

for (const way of ['beside', 'behind'] as const) {
  describe(`the slots of a worker, asked by an app ${way} ${way === 'beside' ? 'it' : 'another sidecar'}`, () => {
    test('a WebSocket that is open holds none, and is open for load and drain', async () => {
      const on = await bed(way);
      const { client, worker } = await arrives(on, ask('GET', '/ws', UPGRADE));
      worker.send(SWITCHING);
      expect((await answerHead(client)).status).toBe(101);
      const { admission } = on.side.service;
      expect([admission.inFlight, admission.slots.open, admission.load]).toStrictEqual([0, 1, 1]);
      expectNamed(way === 'behind' ? on.side.running : on.pair.running, 'what a drain waits for').toBe(1);
      await postIsServed(on);
      worker.close();
      client.close();
      await eventually(
        'it is closed',
        () => admission.load,
        (load) => load === 0,
      );
    });

    test('a WebSocket is opened at once while a job runs', async () => {
      const on = await bed(way);
      const job = await arrives(on, ask('POST', '/generate'));
      const { client, worker } = await arrives(on, ask('GET', '/ws', UPGRADE));
      worker.send(SWITCHING);
      expect((await answerHead(client)).status).toBe(101);
      job.worker.send(OK);
      expect((await answer(job.client, 'POST')).head.status).toBe(200);
    });

    test('an event stream that a GET opened gives its slot to the next at its head, and counts on as open', async () => {
      const on = await bed(way);
      const stream = await arrives(on, ask('GET', '/sse'));
      const { admission } = on.side.service;
      const next = await waits(on, ask('POST', '/messages'));
      expect([admission.inFlight, admission.slots.open]).toStrictEqual([1, 0]);
      stream.worker.send(STREAM);
      await answerHead(stream.client);
      const worker = await on.side.origin.connection();
      await request(worker);
      worker.send(OK);
      expect((await answer(next, 'POST')).head.status).toBe(200);
      expect([admission.inFlight, admission.slots.open, admission.load]).toStrictEqual([0, 1, 1]);
      expect(on.side.outstanding).toBe(0);
      stream.worker.send('5\r\ndata:\r\n0\r\n\r\n');
      await stream.client.until('0\r\n\r\n');
      await eventually(
        'it is closed',
        () => admission.slots.open,
        (open) => open === 0,
      );
      expectNamed(on.side.outstanding, 'nothing is counted twice').toBe(0);
    });

    for (const [what, method, head] of [
      ['an event stream that answers a POST', 'POST', STREAM],
      ['an event stream that says 503', 'GET', STREAM.replace('200 OK', '503 Busy')],
      [
        'a GET of something else',
        'GET',
        'HTTP/1.1 200 OK\r\nContent-Type: text/event-streams\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n',
      ],
    ] as const) {
      test(`${what} holds its slot to its end`, async () => {
        const on = await bed(way);
        const { client, worker } = await arrives(on, ask(method, '/x'));
        worker.send(head);
        await answerHead(client);
        expect(on.side.service.admission.inFlight).toBe(1);
        await waits(on, ask('POST', '/next'));
        worker.send('0\r\n\r\n');
        await request(await on.side.origin.connection());
      });
    }

    test('what the service names as free passes a job, full queue or not', async () => {
      const on = await bed(way, { queue: 0, slotUse: { free: rules('/interrupt', 'GET /models') } });
      const job = await arrives(on, ask('POST', '/generate'));
      for (const [method, path] of [
        ['POST', '/interrupt'],
        ['GET', '/models?all'],
      ] as const) {
        const { client, worker } = await arrives(on, ask(method, path));
        worker.send(OK);
        expectNamed((await answer(client, method)).head.status, path).toBe(200);
      }
      const refused = await on.pair.client();
      refused.send(ask('POST', '/models'));
      expect(JSON.parse((await answer(refused, 'POST')).body).code).toBe('saturated');
      job.worker.send(OK);
      expect((await answer(job.client, 'POST')).head.status).toBe(200);
      expect(on.side.service.admission.slots.open).toBe(0);
    });

    test('what it names as light waits and holds a slot, and teaches no service time', async () => {
      const on = await bed(way, { slotUse: { light: rules('GET') } });
      const job = await arrives(on, ask('POST', '/generate'));
      const light = await waits(on, ask('GET', '/models'));
      job.worker.send(OK);
      expect((await answer(job.client, 'POST')).head.status).toBe(200);
      const worker = await on.side.origin.connection();
      await request(worker);
      worker.send(OK);
      await answer(light);
      on.side.origin.reply = OK.replace('Connection: close\r\n', '');
      const client = await on.pair.client();
      for (let n = 0; n < 8; n++) {
        client.send(ask('GET', '/models'));
        await answer(client);
      }
      expect(on.side.service.admission.serviceMs(performance.now())).toBe(null);
    });

    test('where channels are the work, they hold a slot', async () => {
      const on = await bed(way, { slotUse: { byChannels: true } });
      const { client, worker } = await arrives(on, ask('GET', '/ws', UPGRADE));
      worker.send(SWITCHING);
      await answerHead(client);
      expect(on.side.service.admission.inFlight).toBe(1);
      await waits(on, ask('POST', '/prompt'));
    });

    test('an upgrade with a body is none, and waits', async () => {
      const on = await bed(way);
      await arrives(on, ask('POST', '/generate'));
      await waits(on, ask('POST', '/generate', UPGRADE));
    });
  });
}

describe('an event stream that a GET opened, in each version of HTTP', () => {
  for (const name of WAYS) {
    test(`${name}: it holds no slot`, async () => {
      const { ways, called } = await startVersionMesh({ SIDECAR_CONCURRENCY: '1', SIDECAR_QUEUE: '0' });
      const { client, at } = ways[name];
      const stream = client.call({ path: at('/events') });
      await stream.bytes(1);
      const post = await client.call({ method: 'POST', path: at('/body'), body: 'hi' }).done;
      expect([post.status, post.body]).toStrictEqual([200, 'POST 2']);
      const local = await called.call({ method: 'POST', target: at('/body'), body: 'hi' });
      expect([local.status, local.body]).toStrictEqual([200, 'POST 2']);
      stream.cancel();
    });
  }
});

describe('services that share the slots of one GPU', () => {
  test('a job of one has those of the other wait, whoever asks, and each is reported as a request meets it', async () => {
    const mesh = new TestMesh();
    const jobs = new Arrivals<ServerResponse>('a job');
    const worker = await startHttpWorker({ answer: (_seen, response) => jobs.push(response) });
    const slots = { group: 'gpu0' };
    const called = await mesh.join({
      id: 'called',
      services: { llm: { url: worker.url, slots, concurrency: 1 }, ocr: { url: worker.url, slots } },
    });
    const caller = await mesh.join({ id: 'caller', env: { SIDECAR_PROBE_FEW_INTERVAL: '100ms' } });
    await caller.knows(['called']);
    const post = (by: Member, service: string) =>
      by.call({ method: 'POST', target: `/service/${service}/`, body: 'hi' });
    const first = post(caller, 'llm');
    const job = await jobs.next();
    const [second, third] = [post(caller, 'ocr'), post(called, 'ocr')];
    const figuresOf = async (service: string) => {
      const [peer] = (JSON.parse((await caller.admin('/peers')).body) as { peers: Figures[] }).peers;
      const { in_flight, queued, concurrency, service_ms } = peer?.figures[service] ?? {};
      return { in_flight, queued, concurrency, service_ms };
    };
    for (const service of ['llm', 'ocr']) {
      const met = await eventually(
        `${service} is reported`,
        () => figuresOf(service),
        ({ queued }) => queued === 2,
      );
      expect(met).toStrictEqual({ in_flight: 1, queued: 2, concurrency: 1, service_ms: null });
    }
    expect(worker.seen).toHaveLength(1);
    job.end('done');
    for (const each of [first, second, third]) {
      if (each !== first) (await jobs.next()).end('done');
    }
    for (const each of await Promise.all([first, second, third])) expect(each.status).toBe(200);
  });
});

describe('two services of one program that does one thing at a time', () => {
  test('a job of one is no reason for the other to be warming, and its health is asked once for both', async () => {
    const mesh = new TestMesh();
    const jobs = new Arrivals<ServerResponse>('a job');
    let isBusy = false;
    const checks: ServerResponse[] = [];
    const server = createServer((request, response) => {
      if (request.method === 'POST') {
        isBusy = true;
        jobs.push(response);
      } else if (isBusy) checks.push(response);
      else response.end('well');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestEnd(() => {
      server.close();
      server.closeAllConnections();
    });
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const health = { path: '/health', interval: '50ms', timeout: '20ms', unhealthyAfter: 1 };
    const member = await mesh.join({ id: 'gpu', services: { llm: { url, health }, ocr: { url, health } } });
    const answered = member.call({ method: 'POST', target: '/service/llm/', body: 'hi' });
    const job = await jobs.next();
    const idle = await startHttpWorker();
    const twin = await mesh.join({ id: 'twin', services: { idle: { url: idle.url, health } } });
    await eventually(
      'it is asked',
      () => checks.length,
      (count) => count > 0,
    );
    idle.isHealthy = false;
    await eventually(
      'another worker is withdrawn meanwhile',
      () => twin.get('idle'),
      ({ status }) => status === 503,
    );
    expect(checks).toHaveLength(1);
    const { body } = await member.admin('/explain?service=ocr');
    expect((JSON.parse(body) as { local: { state: string } }).local.state).toBe('ready');
    job.end('done');
    expect((await answered).status).toBe(200);
    for (const check of checks) check.end('well');
  });
});

interface Figures {
  readonly figures: Readonly<Record<string, Readonly<Record<string, number | null>>>>;
}
