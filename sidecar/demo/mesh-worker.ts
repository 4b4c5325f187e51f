/**
 * One worker of the demo's mesh: what it is like, where it listens, and whether it lives.
 *
 * Apart from the mesh, as the table shows it and the plot kills it.
 */
import type { TiedProcess } from './tied-process.ts';

export interface WorkerTraits {
  readonly id: string;
  /** What the worker says of itself, 0..1. */
  readonly load: number;
  /** How long one response takes. */
  readonly workMs: number;
  readonly capabilities: Readonly<Record<string, string | boolean>>;
}

export type WorkerLife = 'starting' | 'up' | 'killed';

export class MeshWorker {
  readonly traits: WorkerTraits;
  life: WorkerLife = 'starting';
  /** 0 until it has listened once; kept over a restart. */
  port = 0;
  /** `host:port` for peers, likewise. */
  inbound = '127.0.0.1:0';
  /** Those of its present life: the worker, its sidecar. */
  processes: readonly TiedProcess[] = [];

  constructor(traits: WorkerTraits) {
    this.traits = traits;
  }
}

/** GPU workers at loads from 0.2 to 0.8; the busier, the slower. */
export function gpuWorkers(count: number): WorkerTraits[] {
  return Array.from({ length: count }, (_, at) => {
    const place = count === 1 ? 0 : at / (count - 1);
    return {
      id: `gpu-${at + 1}`,
      load: Math.round((0.2 + 0.6 * place) * 100) / 100,
      workMs: Math.round(30 + 30 * place),
      capabilities: { has_gpu: true, gpu_type: 'demo', worker_type: 'gpu' },
    };
  });
}

export const CPU_WORKER: WorkerTraits = {
  id: 'cpu-1',
  load: 0.1,
  workMs: 5,
  capabilities: { has_gpu: false, worker_type: 'cpu' },
};
