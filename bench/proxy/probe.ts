/**
 * The other end of `gc-probe.mjs`: puts the probe into the processes of a sidecar, and asks it.
 */
import { mkdtempSync, readdirSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { Workbench } from './workbench.ts';

/** Of the time that was watched. */
export interface HeapUse {
  readonly allocatedBytes: number;
  readonly scavenges: number;
  readonly longestScavengeMs: number;
  readonly collectingMs: number;
}

export interface HeapWatch {
  readonly pid: number;
  end(): Promise<HeapUse>;
}

export class Probes {
  readonly #folder: string;
  /** For the sidecars. */
  readonly env: Record<string, string>;

  constructor(bench: Workbench) {
    this.#folder = mkdtempSync(join(bench.folder, 'gc-'));
    const module = new URL('./gc-probe.mjs', import.meta.url).href;
    this.env = { NODE_OPTIONS: `--import=${module}`, BENCH_GC_FOLDER: this.#folder };
  }

  /** From now on, in each process that has one. */
  begin(): HeapWatch[] {
    return readdirSync(this.#folder).map((file) => {
      const socket = net.connect({ path: join(this.#folder, file), allowHalfOpen: true });
      const told = text(socket);
      told.catch(() => {});
      return {
        pid: Number.parseInt(file, 10),
        async end() {
          socket.end();
          return JSON.parse(await told) as HeapUse;
        },
      };
    });
  }
}
