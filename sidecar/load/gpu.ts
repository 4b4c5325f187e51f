/**
 * GPU: how busy the GPUs of this container are, 0..1, from one long-lived `nvidia-smi`.
 *
 * One process that prints each second rather than one per sample, because starting nvidia-smi takes the better part of
 * a second on a machine with many GPUs. The mean of the GPUs, not the highest: the figure says how much of this worker
 * is taken.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

export interface GpuMeter {
  start(): void;
  /** Mean utilisation, 0..1; null without GPUs, and when the last figures are older than `staleMs`. */
  sample(): number | null;
  /** Resolves when the process is gone. */
  stop(): Promise<void>;
}

export interface GpuMeterOptions {
  /** Name or path of nvidia-smi; a system without it has no GPU. */
  readonly command: string;
  readonly staleMs: number;
  /** Until a process that ended by itself is started again. */
  readonly restartMs: number;
  /** Monotonic. */
  readonly nowMs: () => number;
}

const ARGUMENTS = ['--query-gpu=index,utilization.gpu', '--format=csv,noheader,nounits', '-l', '1'];

/** After SIGTERM. */
const KILL_AFTER_MS = 1_000;
const MAX_LINE = 1_024;
const MAX_GPUS = 256;

/** `"0, 37"` → index 0, 0.37. Null for `[N/A]` (MIG, some laptops), messages and anything else. */
export function parseGpuLine(line: string): { readonly index: number; readonly ratio: number } | null {
  const found = /^\s*(\d{1,3})\s*,\s*(\d{1,3})(?:\.\d{1,3})?\s*%?\s*$/.exec(line);
  if (found === null) return null;
  const index = Number(found[1]);
  const percent = Number(found[2]);
  return index < MAX_GPUS && percent <= 100 ? { index, ratio: percent / 100 } : null;
}

export class NvidiaGpuMeter implements GpuMeter {
  readonly #options: GpuMeterOptions;
  readonly #gpus = new Map<number, { readonly ratio: number; readonly atMs: number }>();
  #child: ChildProcess | null = null;
  #restart: NodeJS.Timeout | null = null;
  #state: 'idle' | 'running' | 'absent' | 'stopped' = 'idle';
  #partial = '';

  constructor(options: GpuMeterOptions) {
    this.#options = options;
  }

  start(): void {
    if (this.#state !== 'idle') return;
    this.#state = 'running';
    this.#spawn();
  }

  sample(): number | null {
    const oldestMs = this.#options.nowMs() - this.#options.staleMs;
    let sum = 0;
    let count = 0;
    for (const [index, gpu] of this.#gpus) {
      if (gpu.atMs < oldestMs) this.#gpus.delete(index);
      else {
        sum += gpu.ratio;
        count += 1;
      }
    }
    return count === 0 ? null : sum / count;
  }

  /** Of the running process; null without one. */
  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  async stop(): Promise<void> {
    this.#state = 'stopped';
    if (this.#restart !== null) clearTimeout(this.#restart);
    this.#gpus.clear();
    const child = this.#child;
    if (child === null || child.pid === undefined || child.exitCode !== null || child.signalCode !== null)
      return;
    const gone = once(child, 'exit');
    child.kill('SIGTERM');
    const force = setTimeout(() => child.kill('SIGKILL'), KILL_AFTER_MS);
    await gone;
    clearTimeout(force);
  }

  #spawn(): void {
    // Only what it needs: the environment of a sidecar holds the mesh key.
    const env = {
      PATH: process.env.PATH ?? '',
      LD_LIBRARY_PATH: process.env.LD_LIBRARY_PATH ?? '',
      LC_ALL: 'C',
    };
    let child: ChildProcess;
    try {
      child = spawn(this.#options.command, ARGUMENTS, { stdio: ['ignore', 'pipe', 'ignore'], env });
    } catch {
      // Some failures of spawn are thrown rather than emitted (EPERM, E2BIG).
      this.#ended();
      return;
    }
    this.#child = child;
    this.#partial = '';
    child.on('error', (err: NodeJS.ErrnoException) => {
      if (err.code === 'ENOENT' || err.code === 'EACCES')
        this.#state = this.#state === 'stopped' ? 'stopped' : 'absent';
      this.#ended();
    });
    child.on('exit', () => this.#ended());
    child.stdout?.setEncoding('utf8');
    child.stdout?.on('data', (text: string) => this.#read(text));
    child.stdout?.on('error', () => {});
  }

  #ended(): void {
    this.#gpus.clear();
    if (this.#state !== 'running' || this.#restart !== null) return;
    this.#restart = setTimeout(() => {
      this.#restart = null;
      if (this.#state === 'running') this.#spawn();
    }, this.#options.restartMs);
    this.#restart.unref();
  }

  #read(text: string): void {
    const lines = (this.#partial + text).split('\n');
    this.#partial = (lines.pop() ?? '').slice(-MAX_LINE);
    const atMs = this.#options.nowMs();
    for (const line of lines) {
      const gpu = parseGpuLine(line);
      if (gpu !== null) this.#gpus.set(gpu.index, { ratio: gpu.ratio, atMs });
    }
  }
}
