/** A worker that is asked by `grpc.health.v1`: real gRPC servers that serve, do not yet, or do not know it. */

import grpc from '@grpc/grpc-js';
import { describe, expect, test } from '@jest/globals';
import { TestMesh } from '../support/meshes/mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { startHttp2Worker } from '../support/workers/version-workers.ts';

const raw = {
  requestSerialize: (bytes: Buffer) => bytes,
  requestDeserialize: (bytes: Buffer) => bytes,
  responseSerialize: (bytes: Buffer) => bytes,
  responseDeserialize: (bytes: Buffer) => bytes,
  requestStream: false as const,
  responseStream: false as const,
};

interface GrpcWorker {
  readonly url: string;
  /** By service; '' = the server. */
  readonly serving: Map<string, boolean>;
  readonly asked: string[];
}

async function grpcWorker(hasHealth = true): Promise<GrpcWorker> {
  const serving = new Map([['', true]]);
  const asked: string[] = [];
  const server = new grpc.Server();
  const definition = { Check: { path: '/grpc.health.v1.Health/Check', ...raw } };
  if (hasHealth)
    server.addService(definition, {
      Check: ({ request }: { request: Buffer }, reply: (error: object | null, response?: Buffer) => void) => {
        const service = request.subarray(2).toString();
        asked.push(service);
        const isServing = serving.get(service);
        if (isServing === undefined) reply({ code: 5, details: 'unknown service' });
        else reply(null, Buffer.from([8, isServing ? 1 : 2]));
      },
    });
  const port = await new Promise<number>((resolve, reject) => {
    const credentials = grpc.ServerCredentials.createInsecure();
    server.bindAsync('127.0.0.1:0', credentials, (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  onTestEnd(() => server.forceShutdown());
  return { url: `h2c://127.0.0.1:${port}`, serving, asked };
}

async function stateOf(url: string, path?: string) {
  const health = { interval: '50ms', ...(path === undefined ? {} : { path }) };
  const member = await new TestMesh().start({ id: 'gpu', services: { triton: { url, health } } });
  const local = async () =>
    (
      JSON.parse((await member.admin('/explain?service=triton')).body) as {
        local: { state: string; reason: string };
      }
    ).local;
  const becomes = (state: string) => eventually(`it is ${state}`, local, (each) => each.state === state);
  const says = (reason: RegExp) => eventually(`it says ${reason}`, local, (each) => reason.test(each.reason));
  return { becomes, says };
}

describe('a worker of h2c that serves grpc.health.v1', () => {
  test('is warming while it says NOT_SERVING, ready when it says SERVING, and withdrawn again', async () => {
    const worker = await grpcWorker();
    worker.serving.set('', false);
    const { becomes, says } = await stateOf(worker.url);
    expect((await says(/NOT_SERVING/)).state).toBe('warming');
    worker.serving.set('', true);
    await becomes('ready');
    worker.serving.set('', false);
    expect((await becomes('warming')).reason).toBe('grpc.health.v1 says NOT_SERVING');
  });

  test('is asked for the service that is named, and one that it does not know is not ready', async () => {
    const worker = await grpcWorker();
    const { becomes, says } = await stateOf(worker.url, 'grpc:inference.S');
    expect((await says(/grpc\.health\.v1 for inference\.S says grpc-status 5/)).state).toBe('warming');
    worker.serving.set('inference.S', true);
    await becomes('ready');
    expect(new Set(worker.asked)).toStrictEqual(new Set(['inference.S']));
  });
});

describe('a worker of h2c that does not serve grpc.health.v1', () => {
  for (const [what, start] of [
    ['speaks gRPC', () => grpcWorker(false)],
    ['does not', () => startHttp2Worker()],
  ] as const) {
    test(`one that ${what} is ready because it answers, unless it is required`, async () => {
      const { url } = await start();
      await (await stateOf(url)).becomes('ready');
      await (await stateOf(url, 'none')).becomes('ready');
      const required = await (await stateOf(url, 'grpc')).says(/grpc\.health\.v1 is not served there/);
      expect(required.state).toBe('warming');
    });
  }
});
