/** Real gRPC, both ends by @grpc/grpc-js, through both sidecars: nothing of it is changed, and failures speak gRPC. */

import { once } from 'node:events';
import { type ClientReadableStream, type ServiceError, status } from '@grpc/grpc-js';
import { describe, expect, test } from '@jest/globals';
import { TestMesh } from '../support/meshes/mesh.ts';
import { within } from '../support/runner/arrivals.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { sharedByTests } from '../support/runner/on-test-end.ts';
import { GrpcApp, startGrpcWorker } from '../support/workers/grpc-echo.ts';
import { startHttp1Worker } from '../support/workers/version-workers.ts';

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

describe('gRPC', () => {
  describe('through two sidecars', () => {
    const bed = sharedByTests(async () => {
      const mesh = new TestMesh();
      const worker = await startGrpcWorker();
      const plain = await startHttp1Worker();
      await mesh.join({ id: 'called', services: { echo: worker.url, plain: plain.url } });
      const caller = await mesh.join({ id: 'caller' });
      await caller.knows(['called']);
      const { port } = caller.running.outbound;
      // Two ways to name the service: the authority, or a field.
      const app = new GrpcApp(port, { 'grpc.default_authority': 'echo.mesh' });
      return { port, worker, plain, app };
    });

    test('a unary call is answered, with metadata before and after', async () => {
      const { app } = bed();
      const { value, error, head, end } = await app.unary('One', 'hello', { 'x-app': 'me' });
      expect([error, value]).toStrictEqual([null, 'echo hello']);
      expect(head?.get('x-saw')).toStrictEqual(['me']);
      expect(head?.get('sidecar-worker')).toStrictEqual(['called']);
      expect(end?.get('x-end')).toStrictEqual(['trailing']);
      expect(end?.get('x-bin-bin')).toStrictEqual([Buffer.from([0, 255, 1])]);
    });

    test('a service that is named by a field is reached', async () => {
      const { port } = bed();
      const other = new GrpcApp(port, {});
      const { value } = await other.unary('One', 'hello', { 'sidecar-service': 'echo' });
      expect(value).toBe('echo hello');
    });

    test('a message of 2 MiB passes there and back', async () => {
      const { app } = bed();
      const text = 'm'.repeat(2_097_152);
      expect((await app.unary('One', text)).value?.length).toBe(text.length + 5);
    });

    test("a server's stream of a thousand messages arrives whole", async () => {
      const { app } = bed();
      const all = await collected(app.serverStream('Count', '1000'));
      expect(all).toStrictEqual(Array.from({ length: 1_000 }, (_, n) => String(n)));
    });

    test("a client's stream of a hundred messages arrives whole", async () => {
      const { app } = bed();
      const joined = await new Promise<string | undefined>((resolve) => {
        const stream = app.clientStream((_error, value) => resolve(value));
        for (let n = 0; n < 100; n++) stream.write(`${n},`);
        stream.end();
      });
      expect(joined).toBe(Array.from({ length: 100 }, (_, n) => `${n},`).join(''));
    });

    test('both directions stream at once, each response before the next question', async () => {
      const { app } = bed();
      const talk = app.bidi();
      for (let n = 0; n < 50; n++) {
        talk.write(`question ${n}`);
        const [answer] = await once(talk, 'data');
        expect(answer).toBe(`re: question ${n}`);
      }
      talk.end();
      const [{ code }] = await once(talk.resume(), 'status');
      expect(code).toBe(status.OK);
    });

    test('200 calls at once are each answered with their own', async () => {
      const { app } = bed();
      const all = await Promise.all(Array.from({ length: 200 }, (_, n) => app.unary('One', String(n))));
      expect(all.map(({ value }) => value)).toStrictEqual(all.map((_, n) => `echo ${n}`));
    });

    test('an error keeps its status, text and metadata', async () => {
      const { app } = bed();
      const { error, end } = await app.unary('Fail', 'x');
      expect([error?.code, error?.details]).toStrictEqual([status.FAILED_PRECONDITION, 'nö, 100% not']);
      expect(end?.get('x-why')).toStrictEqual(['because']);
    });

    test('a deadline, and a cancel, reach the worker', async () => {
      const { app, worker } = bed();
      const late = app.serverStream('Hang', 'x', 150);
      expect((await failed(late.resume())).code).toBe(status.DEADLINE_EXCEEDED);
      expect(await worker.cancelled.next()).toBe('Hang');
      const given = app.serverStream('Hang', 'x');
      await once(given, 'data');
      given.cancel();
      expect((await failed(given)).code).toBe(status.CANCELLED);
      expect(await worker.cancelled.next()).toBe('Hang');
    });

    test('failures of the mesh are gRPC statuses with a reason', async () => {
      const { plain, port } = bed();
      const cases = [
        ['nobody', status.UNAVAILABLE, /^no_peers: /],
        ['Not A Name', status.INTERNAL, /^bad_request: /],
        ['plain', status.UNIMPLEMENTED, /^grpc_not_carried: .*h2c:\/\//],
      ] as const;
      const other = new GrpcApp(port, {});
      for (const [service, code, reason] of cases) {
        const { error } = await other.unary('One', 'x', { 'sidecar-service': service });
        expectNamed(error?.code, service).toBe(code);
        expect(error?.details ?? '').toMatch(reason);
      }
      const { error } = await other.unary('One', 'x');
      expect(error?.code).toBe(status.UNIMPLEMENTED);
      expect(error?.details ?? '').toMatch(/^unknown_service: /);
      expect(plain.events.size).toBe(0);
    });

    test('a worker that crashes in the middle is an error, never an end', async () => {
      const { app, worker } = bed();
      const running = app.serverStream('Hang', 'x');
      await once(running, 'data');
      const error = failed(running);
      worker.crash();
      expect([status.INTERNAL, status.UNAVAILABLE, status.CANCELLED]).toContain((await error).code);
      const after = await app.unary('One', 'x');
      expect(after.error?.code).toBe(status.UNAVAILABLE);
    });
  });

  test('a worker beside the app is called without the mesh', async () => {
    const worker = await startGrpcWorker();
    const member = await new TestMesh().join({ id: 'alone', services: { echo: worker.url } });
    const app = new GrpcApp(member.running.outbound.port, { 'grpc.default_authority': 'echo.mesh' });
    const { value, head } = await app.unary('One', 'hello');
    expect(value).toBe('echo hello');
    expect(head?.get('sidecar-route')).toStrictEqual(['local']);
  });
});
