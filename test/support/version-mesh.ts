/**
 * Two sidecars, workers of both versions behind the second, apps of both versions before the first: the four ways.
 *
 * It must not know what the tests assert.
 */
import { type Member, TestMesh } from './mesh.ts';
import { type Client, http1Client, http2Client } from './version-clients.ts';
import { startHttp1Worker, startHttp2Worker, type VersionWorker } from './version-workers.ts';

export interface Way {
  /** `h1→h2`: what the app speaks, what the worker speaks. */
  readonly name: string;
  readonly client: Client;
  readonly worker: VersionWorker;
  /** The target for a path of the worker. */
  at(path: string): string;
}

export interface VersionMesh {
  readonly ways: readonly Way[];
  readonly caller: Member;
  readonly called: Member;
}

export async function startVersionMesh(env: Readonly<Record<string, string>> = {}): Promise<VersionMesh> {
  const mesh = new TestMesh();
  const one = await startHttp1Worker();
  const two = await startHttp2Worker();
  const called = await mesh.join({ id: 'called', services: { one: one.url, two: two.url }, env });
  const caller = await mesh.join({ id: 'caller', env });
  await caller.knows(['called']);
  const { port } = caller.running.outbound;
  const clients = [http1Client(port), http2Client(port)];
  const ways = clients.flatMap((client) =>
    [one, two].map((worker) => ({
      name: `${client.version === '2.0' ? 'h2' : 'h1'}→${worker === two ? 'h2' : 'h1'}`,
      client,
      worker,
      at: (path: string) => `/service/${worker === two ? 'two' : 'one'}${path}`,
    })),
  );
  return { ways, caller, called };
}
