/** Real gRPC, both ends by @grpc/grpc-js, through both sidecars: nothing of it is changed, and failures speak gRPC. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import test from 'node:test';
import { type ClientReadableStream, type ServiceError, status } from '@grpc/grpc-js';
import { within } from '../support/arrivals.ts';
import { GrpcApp, startGrpcWorker } from '../support/grpc-echo.ts';
import { TestMesh } from '../support/mesh.ts';
import { startHttp1Worker } from '../support/version-workers.ts';

async function collected(stream: ClientReadableStream<string>): Promise<string[]> {
  const all: string[] = [];
  for await (const text of stream) all.push(text as string);
  return all;
}

function failed(stream: ClientReadableStream<string>): Promise<ServiceError> {
  return within(
    once(stream, 'error').then(([error]) => error as ServiceError),
    () => 'an error',
  );
}

test('gRPC through two sidecars', async (t) => {
  const mesh = new TestMesh(t);
  const worker = await startGrpcWorker(t);
  const plain = await startHttp1Worker(t);
  await mesh.join({ id: 'called', services: { echo: worker.url, plain: plain.url } });
  const caller = await mesh.join({ id: 'caller' });
  await caller.knows(['called']);
  const { port } = caller.running.outbound;
  // Two ways to name the service: the authority, or a field.
  const app = new GrpcApp(t, port, { 'grpc.default_authority': 'echo.mesh' });

  await t.test('unary, with metadata before and after', async () => {
    const { value, error, head, end } = await app.unary('One', 'hello', { 'x-app': 'me' });
    assert.deepEqual([error, value], [null, 'echo hello']);
    assert.deepEqual(head?.get('x-saw'), ['me']);
    assert.deepEqual(head?.get('sidecar-worker'), ['called']);
    assert.deepEqual(end?.get('x-end'), ['trailing']);
    assert.deepEqual(end?.get('x-bin-bin'), [Buffer.from([0, 255, 1])]);
  });

  await t.test('the service named by a field', async () => {
    const other = new GrpcApp(t, port, {});
    const { value } = await other.unary('One', 'hello', { 'sidecar-service': 'echo' });
    assert.equal(value, 'echo hello');
  });

  await t.test('a message of 2 MiB there and back', async () => {
    const text = 'm'.repeat(2_097_152);
    assert.equal((await app.unary('One', text)).value?.length, text.length + 5);
  });

  await t.test('server streaming', async () => {
    const all = await collected(app.serverStream('Count', '1000'));
    assert.deepEqual(
      all,
      Array.from({ length: 1_000 }, (_, n) => String(n)),
    );
  });

  await t.test('client streaming', async () => {
    const joined = await new Promise<string | undefined>((resolve) => {
      const stream = app.clientStream((_error, value) => resolve(value));
      for (let n = 0; n < 100; n++) stream.write(`${n},`);
      stream.end();
    });
    assert.equal(joined, Array.from({ length: 100 }, (_, n) => `${n},`).join(''));
  });

  await t.test('both directions, each response before the next question', async () => {
    const talk = app.bidi();
    for (let n = 0; n < 50; n++) {
      talk.write(`question ${n}`);
      const [answer] = await once(talk, 'data');
      assert.equal(answer, `re: question ${n}`);
    }
    talk.end();
    const [{ code }] = await once(talk.resume(), 'status');
    assert.equal(code, status.OK);
  });

  await t.test('200 calls at once', async () => {
    const all = await Promise.all(Array.from({ length: 200 }, (_, n) => app.unary('One', String(n))));
    assert.deepEqual(
      all.map(({ value }) => value),
      all.map((_, n) => `echo ${n}`),
    );
  });

  await t.test('the status of an error, its text and its metadata', async () => {
    const { error, end } = await app.unary('Fail', 'x');
    assert.deepEqual([error?.code, error?.details], [status.FAILED_PRECONDITION, 'nö, 100% not']);
    assert.deepEqual(end?.get('x-why'), ['because']);
  });

  await t.test('a deadline, and a cancel, reach the worker', async () => {
    const late = app.serverStream('Hang', 'x', 150);
    assert.equal((await failed(late.resume())).code, status.DEADLINE_EXCEEDED);
    assert.equal(await worker.cancelled.next(), 'Hang');
    const given = app.serverStream('Hang', 'x');
    await once(given, 'data');
    given.cancel();
    assert.equal((await failed(given)).code, status.CANCELLED);
    assert.equal(await worker.cancelled.next(), 'Hang');
  });

  await t.test('failures of the mesh are gRPC statuses with a reason', async () => {
    const cases = [
      ['nobody', status.UNAVAILABLE, /^no_peers: /],
      ['Not A Name', status.INTERNAL, /^bad_request: /],
      ['plain', status.UNIMPLEMENTED, /^grpc_not_carried: .*h2c:\/\//],
    ] as const;
    const other = new GrpcApp(t, port, {});
    for (const [service, code, reason] of cases) {
      const { error } = await other.unary('One', 'x', { 'sidecar-service': service });
      assert.equal(error?.code, code, service);
      assert.match(error?.details ?? '', reason);
    }
    const { error } = await other.unary('One', 'x');
    assert.equal(error?.code, status.UNIMPLEMENTED);
    assert.match(error?.details ?? '', /^unknown_service: /);
    assert.equal(plain.events.size, 0);
  });

  await t.test('a worker that crashes in the middle is an error, never an end', async () => {
    const running = app.serverStream('Hang', 'x');
    await once(running, 'data');
    const error = failed(running);
    worker.crash();
    assert.ok([status.INTERNAL, status.UNAVAILABLE, status.CANCELLED].includes((await error).code));
    const after = await app.unary('One', 'x');
    assert.equal(after.error?.code, status.UNAVAILABLE);
  });
});

test('gRPC to the worker beside the app', async (t) => {
  const worker = await startGrpcWorker(t);
  const member = await new TestMesh(t).join({ id: 'alone', services: { echo: worker.url } });
  const app = new GrpcApp(t, member.running.outbound.port, { 'grpc.default_authority': 'echo.mesh' });
  const { value, head } = await app.unary('One', 'hello');
  assert.equal(value, 'echo hello');
  assert.deepEqual(head?.get('sidecar-route'), ['local']);
});
