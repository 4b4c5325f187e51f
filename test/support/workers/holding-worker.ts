/**
 * A worker of one slot that holds POSTs until the test answers them, with its sidecar: to fill queues and empty them.
 *
 *
 */
import type { ServerResponse } from 'node:http';
import type { Member, TestMesh } from '../meshes/mesh.ts';
import { type HttpWorker, startHttpWorker } from './http-worker.ts';

export interface HoldingWorker {
  readonly worker: HttpWorker;
  /** POSTs that the test has not answered yet, if it takes out those that it has. */
  readonly held: { readonly body: string; readonly response: ServerResponse }[];
  /** Offers it as `infer`. */
  readonly sidecar: Member;
}

export async function holdingWorker(mesh: TestMesh, id: string): Promise<HoldingWorker> {
  const held: HoldingWorker['held'] = [];
  const worker = await startHttpWorker({
    answer: ({ method, body }, response) => {
      if (method === 'POST') held.push({ body, response });
      else response.end('ok');
    },
  });
  const infer = { url: worker.url, concurrency: 1, queue: 10 };
  return { worker, held, sidecar: await mesh.join({ id, services: { infer } }) };
}

/** Requests that wait for its slot. */
export async function queuedAt({ sidecar }: Pick<HoldingWorker, 'sidecar'>): Promise<number> {
  const { body } = await sidecar.admin('/metrics');
  return Number(/^sidecar_worker_queued{[^}]*} (\d+)$/m.exec(body)?.[1]);
}
