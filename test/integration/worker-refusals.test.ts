/** A worker that says "not now": who gets the request then, what is learnt of it, and what the app is told in the end. */
import { status } from '@grpc/grpc-js';
import { describe, expect, test } from '@jest/globals';
import { first } from '../../sidecar/core/http/headers.ts';
import { startTunnelEdge } from '../support/edges/tunnel-edge.ts';
import { InboundSide, TIMEOUTS } from '../support/meshes/inbound-side.ts';
import { TestMesh } from '../support/meshes/mesh.ts';
import { pairFor, type SidecarPair } from '../support/meshes/sidecar-pair.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { answer, answerHead, type ReceivedAnswer, request } from '../support/wire/wire-messages.ts';
import { GrpcApp, startGrpcWorker } from '../support/workers/grpc-echo.ts';

const POST = 'POST /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi';
const GET = 'GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n\r\n';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

function refusal(line: string, fields = '', body = 'busy'): string {
  return `HTTP/1.1 ${line}\r\n${fields}X-Quota: 7\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

const BUSY = refusal('429 Slow Down', 'Retry-After: 20\r\n');

async function post(pair: SidecarPair, message = POST): Promise<ReceivedAnswer> {
  const client = await pair.client();
  client.send(message);
  return answer(client, message.split(' ')[0] as string);
}

/** Who answered, and after how many attempts. */
function by({ head }: ReceivedAnswer): string {
  const [worker, attempts] = ['sidecar-worker', 'sidecar-attempts'].map((name) => first(head.fields, name));
  return `${head.status} ${worker ?? '-'} ${attempts}`;
}

/** Peers whose workers answer so, in the order in which they are asked. */
async function workers(...replies: readonly string[]): Promise<SidecarPair> {
  const pair = await pairFor({ peers: replies.map(() => ({})) });
  for (const [at, side] of pair.sides.entries()) side.origin.reply = replies[at] as string;
  return pair;
}

async function localWorker(reply: string): Promise<InboundSide> {
  const side = await InboundSide.start({ name: 'x' });
  side.origin.reply = reply;
  onTestEnd(() => side.close());
  return side;
}

describe('a request that a worker refuses', () => {
  test('goes to another worker, whatever its method, with its body', async () => {
    for (const refused of [
      BUSY,
      refusal('429 Too Many Requests'),
      refusal('503 Busy', 'Retry-After: Wed, 21 Oct 2099 07:28:00 GMT\r\n'),
      'HTTP/1.1 429 Slow\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbusy\r\n0\r\n\r\n',
      'HTTP/1.1 429 Slow\r\n\r\n',
    ]) {
      const pair = await pairFor({ peers: [{}, {}] });
      if (refused.endsWith('\r\n\r\n') && refused.includes('Slow\r\n\r\n')) {
        const client = await pair.client();
        client.send(POST);
        const worker = await pair.b.origin.connection();
        await request(worker);
        worker.send(refused);
        worker.close();
        const next = await (pair.sides[1] as InboundSide).origin.connection();
        expect((await request(next)).body).toBe('hi');
        next.send(OK);
        expectNamed(by(await answer(client, 'POST')), refused).toBe('200 c 2');
      } else {
        pair.b.origin.reply = refused;
        const client = await pair.client();
        client.send(POST);
        const next = await (pair.sides[1] as InboundSide).origin.connection();
        expect((await request(next)).body).toBe('hi');
        next.send(OK);
        expectNamed(by(await answer(client, 'POST')), refused).toBe('200 c 2');
      }
      expectNamed(pair.b.standing.health.consecutiveFailures, 'a refusal is no fault').toBe(0);
      expect(pair.retried).toStrictEqual(['worker_refused']);
    }
  });

  test('is answered with the last refusal as its worker gave it, when all refuse', async () => {
    const pair = await workers(BUSY, refusal('503 Full', 'Retry-After: 3\r\n', 'come back'));
    const got = await post(pair);
    expect([by(got), got.head.reason, got.body]).toStrictEqual(['503 c 2', 'Full', 'come back']);
    expect(first(got.head.fields, 'retry-after')).toBe('3');
    expect(first(got.head.fields, 'x-quota')).toBe('7');
    const { outcome, attempts } = await pair.finished.next();
    expect([outcome, attempts.map(({ peer, code, stage }) => `${peer} ${code} ${stage}`)]).toStrictEqual([
      'worker_error',
      ['b worker_refused refused'],
    ]);
  });

  test('is answered with the refusal, too, when the others cannot be reached', async () => {
    const pair = await workers(BUSY, OK);
    await (pair.sides[1] as InboundSide).listener.destroy();
    const got = await post(pair);
    expect([by(got), got.body, first(got.head.fields, 'retry-after')]).toStrictEqual([
      '429 b 2',
      'busy',
      '20',
    ]);
  });

  test('is told the fault, not the refusal, when the next worker may have done it', async () => {
    const pair = await workers(BUSY, '');
    (pair.sides[1] as InboundSide).origin.reply = null;
    const client = await pair.client();
    client.send(POST);
    const worker = await (pair.sides[1] as InboundSide).origin.connection();
    await request(worker);
    worker.reset();
    expect((await answer(client, 'POST')).head.status).toBe(502);
  });

  test('stays where it is: switched off, or with a body that cannot be sent again', async () => {
    const policy = { vpn: TIMEOUTS, tunnel: TIMEOUTS, retryPost: false };
    const off = await pairFor({
      peers: [{}, {}],
      outbound: { callPolicy: () => ({ ...policy, retryRefused: false }) },
    });
    off.b.origin.reply = BUSY;
    expect(by(await post(off))).toBe('429 b 1');

    const pair = await workers(BUSY, OK);
    const long = `POST /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n${'x'.repeat(70_000)}`;
    expect(by(await post(pair, long))).toBe('429 b 1');
  });

  test('is a failure where no time is named with a 503, and comes to the app', async () => {
    const pair = await workers(refusal('503 Broken'), OK);
    expect(by(await post(pair))).toBe('503 b 1');
    expect(pair.b.standing.health.consecutiveFailures).toBe(1);
  });

  test('gets a refusal at once that is too long or too slow to be kept', async () => {
    const long = 'y'.repeat(100_000);
    const pair = await workers(refusal('429 Slow', '', long), OK);
    const got = await post(pair);
    expect([by(got), got.body.length]).toStrictEqual(['429 b 1', 100_000]);

    const slow = await pairFor({ peers: [{}, {}] });
    const client = await slow.client();
    client.send(POST);
    const worker = await slow.b.origin.connection();
    await request(worker);
    worker.send('HTTP/1.1 429 Slow\r\nContent-Length: 4\r\n\r\nbu');
    const head = await answerHead(client);
    expect([head.status, first(head.fields, 'sidecar-worker')]).toStrictEqual([429, 'b']);
    worker.send('sy');
    await client.until('busy');
  });

  test('goes on when the body of the refusal breaks', async () => {
    const pair = await workers('', OK);
    pair.b.origin.reply = null;
    const client = await pair.client();
    client.send(POST);
    const worker = await pair.b.origin.connection();
    await request(worker);
    worker.send('HTTP/1.1 429 Slow\r\nContent-Length: 4\r\n\r\nbu');
    worker.close();
    expect(by(await answer(client, 'POST'))).toBe('200 c 2');
  });

  test('goes elsewhere from a tunnel as well', async () => {
    const pair = await pairFor({ peers: [{ hasVpn: false }, {}] });
    const edge = await startTunnelEdge(pair.b.listener.port);
    onTestEnd(() => edge.close());
    const { record } = pair.b.peer;
    pair.b.peer.adopt({ ...record, seq: record.seq + 1, tunnel_url: edge.url }, 0);
    pair.b.origin.reply = BUSY;
    (pair.sides[1] as InboundSide).origin.reply = OK;
    expect(by(await post(pair))).toBe('200 c 2');
  });
});

describe('a worker that has refused', () => {
  test('is not asked for its Retry-After while others are there, and then again', async () => {
    const pair = await workers(BUSY, OK);
    for (const expected of ['200 c 2', '200 c 1', '200 c 1', '200 c 1'])
      expect(by(await post(pair))).toBe(expected);
    pair.b.origin.reply = OK;
    pair.b.standing.hasRoom();
    expect([by(await post(pair)), by(await post(pair))].sort()).toStrictEqual(['200 b 1', '200 c 1']);
  });

  test('is full at what it had then, and takes as many still', async () => {
    const pair = await workers('', OK);
    pair.b.origin.reply = null;
    const clients = await Promise.all(Array.from({ length: 2 }, () => pair.client()));
    for (const client of clients) client.send(GET);
    const worker = await pair.b.origin.connection();
    await request(worker);
    expect(pair.b.service.admission.inFlight).toBe(1);
    (await pair.client()).send(GET);
    const second = await pair.b.origin.connection();
    await request(second);
    second.send(BUSY);
    second.finish();
    await pair.finished.next();
    await pair.finished.next();
    expect(pair.b.service.standing.fullAt(performance.now())).toBe(1);
    expectNamed(by(await post(pair)), 'it has one').toBe('200 c 1');
    worker.send(OK);
    worker.finish();
    await pair.finished.next();
    await worker.ended();
    pair.b.origin.reply = OK;
    const got = [by(await post(pair)), by(await post(pair))];
    expectNamed(got.sort(), 'it has none').toStrictEqual(['200 b 1', '200 c 1']);
  });

  test('is asked when all have refused: once for a request, so that a storm is no larger for it', async () => {
    const pair = await workers(BUSY, BUSY, BUSY);
    expect(by(await post(pair))).toMatch(/^429 [cd] 3$/);
    for (let n = 0; n < 3; n++) expect(by(await post(pair))).toMatch(/^429 [bcd] 1$/);
  });

  test('beside the app does not keep its requests', async () => {
    const local = await localWorker(BUSY);
    const pair = await pairFor({ peers: [{}], local: local.service });
    pair.b.origin.reply = OK;
    const got = [by(await post(pair)), by(await post(pair)), by(await post(pair))];
    expect(got).toStrictEqual(['200 b 2', '200 b 1', '200 b 1']);
    pair.b.origin.reply = BUSY;
    expectNamed(by(await post(pair)), 'the one beside is known to be full').toBe('429 b 1');
    local.service.standing.hasRoom();
    local.origin.reply = OK;
    expectNamed(by(await post(pair)), 'its time is over').toBe('200 a 1');
  });

  test('beside the app and alone: the app gets its answer, each time', async () => {
    const local = await localWorker(BUSY);
    const pair = await pairFor({ peers: [], local: local.service });
    for (let n = 0; n < 3; n++) {
      const got = await post(pair);
      expect([by(got), got.body]).toStrictEqual(['429 a 1', 'busy']);
    }
  });

  test('teaches nothing of how long its worker takes; nor does any other error', async () => {
    for (const line of ['429 Slow', '401 Who', '404 Gone', '500 Broken', '503 Full']) {
      const pair = await workers(refusal(line));
      for (let n = 0; n < 6; n++) await post(pair);
      expectNamed(pair.b.service.admission.serviceMs(performance.now()), line).toBe(null);
    }
    const pair = await workers(refusal('302 Elsewhere'));
    for (let n = 0; n < 6; n++) await post(pair);
    expect(pair.b.service.admission.serviceMs(performance.now())).not.toBe(null);
  });
});

describe('a gRPC call that a worker refuses before any message', () => {
  for (const code of [status.UNAVAILABLE, status.RESOURCE_EXHAUSTED]) {
    test(`${status[code]}: another worker serves it; when all refuse, the app gets that status`, async () => {
      const mesh = new TestMesh();
      const [full, well] = [await startGrpcWorker(), await startGrpcWorker()];
      full.refuse({ code, details: 'no room' });
      await mesh.join({ id: 'full', services: { echo: full.url } });
      await mesh.join({ id: 'well', services: { echo: well.url } });
      const caller = await mesh.join({ id: 'caller' });
      await caller.knows(['full', 'well']);
      const app = new GrpcApp(caller.running.outbound.port, { 'grpc.default_authority': 'echo.mesh' });
      for (let n = 0; n < 20; n++) expect((await app.unary('One', 'hello')).value).toBe('echo hello');
      well.refuse({ code, details: 'no room either' });
      const { error } = await app.unary('One', 'hello');
      expect([error?.code, error?.details.startsWith('no room')]).toStrictEqual([code, true]);
    });
  }
});
