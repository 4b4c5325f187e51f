/**
 * A pool of sleeping workers, from outside: their ports, and their mishaps.
 *
 * Each system that is compared gets one of its own with the same workers. It must not know what is in front of it.
 */
import { fileURLToPath } from 'node:url';
import { TiedProcess } from '../../sidecar/demo/tied-process.ts';
import type { WorkerSpec } from '../../sim/demand.ts';
import type { Mishap } from './scenarios.ts';

export interface Pool {
  readonly ports: readonly number[];
  befall(mishap: Mishap): Promise<void>;
  stop(): Promise<void>;
}

const MODULE = fileURLToPath(new URL('./worker-pool.ts', import.meta.url));

/** `refuses`: answers 429 to what it has no slot for. */
export type SleepingSpec = Pick<WorkerSpec, 'slots' | 'speed'> & { readonly refuses: boolean };

export async function startPool(specs: readonly SleepingSpec[]): Promise<Pool> {
  const process = new TiedProcess({
    name: 'workers',
    module: MODULE,
    args: [JSON.stringify(specs)],
    env: {},
  });
  const { ports, control } = await process.line((line) =>
    Array.isArray(line.ports) ? (line as { ports: number[]; control: number }) : null,
  );
  return {
    ports,
    async befall(mishap) {
      const what = mishap.kind === 'dies' ? 'dies=1' : `factor=${mishap.factor}`;
      await fetch(`http://127.0.0.1:${control}/?worker=${mishap.worker}&${what}`);
    },
    stop: () => process.kill(),
  };
}
