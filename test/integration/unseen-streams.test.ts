/** Streams that an HTTP/2 worker says it has not looked at: none is lost, whatever its method, and each is done once. */
import http2 from 'node:http2';
import type net from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { TestMesh } from '../support/meshes/mesh.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { GrpcApp, startGrpcWorker } from '../support/workers/grpc-echo.ts';

const CALLS = 800;
const AT_ONCE = 50;

interface Refuser {
  readonly url: string;
  /** So many streams are still refused. */
  left: number;
  /** Bodies of those that were served. */
  readonly served: string[];
}

/** Refuses streams once their body is there, as a worker of HTTP/2 that has no room does. */
async function startRefuser(left: number): Promise<Refuser> {
  const server = http2.createServer();
  const refuser: Refuser & { url: string } = { url: '', left, served: [] };
  server.on('session', (session) => onTestEnd(() => session.destroy()));
  server.on('stream', (stream) => {
    let body = '';
    stream.on('error', () => {});
    stream.on('data', (chunk: Buffer) => {
      body += String(chunk);
    });
    stream.on('end', () => {
      if (refuser.left-- > 0) {
        stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
        return;
      }
      refuser.served.push(body);
      stream.respond({ ':status': 200 });
      stream.end('served');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestEnd(() => void server.close());
  refuser.url = `h2c://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
  return refuser;
}

const post = { target: '/service/work/', method: 'POST', body: 'the job' };

describe('a stream that its worker has not looked at', () => {
  test('calls to a gRPC worker that ends its connections by age: none is lost, beside the app and by a peer', async () => {
    const mesh = new TestMesh();
    const worker = await startGrpcWorker({
      'grpc.max_connection_age_ms': 100,
      'grpc.max_connection_age_grace_ms': 5_000,
    });
    const called = await mesh.join({ id: 'called', services: { echo: worker.url } });
    const caller = await mesh.join({ id: 'caller' });
    await caller.knows(['called']);
    for (const { id, running } of [called, caller]) {
      const app = new GrpcApp(running.outbound.port, { 'grpc.default_authority': 'echo.mesh' });
      const errors: string[] = [];
      let left = CALLS;
      const call = async (): Promise<void> => {
        while (left-- > 0) {
          const { error } = await app.unary('One', 'hello');
          if (error !== null) errors.push(`${error.code} ${error.details}`);
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, call));
      expectNamed(errors, id).toStrictEqual([]);
    }
  });

  test('it is sent to the same worker again, with its body, and done once', async () => {
    const mesh = new TestMesh();
    const worker = await startRefuser(2);
    const called = await mesh.join({
      id: 'called',
      services: { work: { url: worker.url, health: { path: 'none' } } },
    });
    const caller = await mesh.join({ id: 'caller' });
    await caller.knows(['called']);
    for (const member of [called, caller]) {
      worker.left = 2;
      expectNamed((await member.call(post)).body, member.id).toBe('served');
    }
    expect(worker.served).toStrictEqual(['the job', 'the job']);
  });

  test('a worker that refuses all of them: another one serves it', async () => {
    const mesh = new TestMesh();
    const [full, well] = [await startRefuser(Number.POSITIVE_INFINITY), await startRefuser(0)];
    const called = await mesh.join({
      id: 'full',
      services: { work: { url: full.url, health: { path: 'none' } } },
    });
    await mesh.join({ id: 'well', services: { work: { url: well.url, health: { path: 'none' } } } });
    const caller = await mesh.join({ id: 'caller' });
    await caller.knows(['full', 'well']);
    await called.knows(['well']);
    for (const member of [called, caller])
      for (let n = 0; n < 5; n++) expectNamed((await member.call(post)).body, member.id).toBe('served');
    expect([full.served.length, well.served.length]).toStrictEqual([0, 10]);
  });
});
