/**
 * Two sidecars, workers of both versions behind the second, apps of both versions before the first: the four ways.
 *
 *
 */

import { type Client, http1Client, http2Client } from '../wire/version-clients.ts';
import { startHttp1Worker, startHttp2Worker, type VersionWorker } from '../workers/version-workers.ts';
import { type Member, TestMesh } from './mesh.ts';

/** `h1→h2`: what the app speaks, what the worker speaks. */
export interface Way {
  readonly client: Client;
  readonly worker: VersionWorker;
  /** The target for a path of the worker. */
  at(path: string): string;
}

/** All of them, known before a mesh is. */
export const WAYS = ['h1→h1', 'h1→h2', 'h2→h1', 'h2→h2'] as const;

export interface VersionMesh {
  readonly ways: Readonly<Record<(typeof WAYS)[number], Way>>;
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
  const [client1, client2] = [http1Client(port), http2Client(port)];
  const to = (client: Client, worker: VersionWorker): Way => ({
    client,
    worker,
    at: (path: string) => `/service/${worker === two ? 'two' : 'one'}${path}`,
  });
  const ways = {
    'h1→h1': to(client1, one),
    'h1→h2': to(client1, two),
    'h2→h1': to(client2, one),
    'h2→h2': to(client2, two),
  };
  return { ways, caller, called };
}
