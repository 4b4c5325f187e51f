/**
 * GPU: how busy the GPUs of this container are, 0..1, from one long-lived `nvidia-smi`.
 *
 * One process that prints each second rather than one per sample, because starting nvidia-smi takes the better part of
 * a second on a machine with many GPUs. The mean of the GPUs, not the highest: the figure says how much of this worker
 * is taken.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Capabilities } from '../core/peers/requirements.ts';

export interface GpuMeter {
  start(): void;
  /** Mean utilisation, 0..1; null without GPUs, and when the last figures are older than `staleMs`. */
  sample(): number | null;
  /** What is known of the GPUs by now; empty where nothing is. */
  readonly capabilities: Capabilities;
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

const ARGUMENTS = [
  '--query-gpu=index,utilization.gpu,memory.total,name',
  '--format=csv,noheader,nounits',
  '-l',
  '1',
];

/** After SIGTERM. */
const KILL_AFTER_MS = 1_000;
const MAX_LINE = 1_024;
const MAX_GPUS = 256;
const MIB_PER_GIB = 1_024;

export interface GpuLine {
  readonly index: number;
  /** 0..1; null for `[N/A]` (MIG, some laptops). */
  readonly ratio: number | null;
  readonly memoryMib: number | null;
  readonly model: string | null;
}

/** `"0, 37, 24564, NVIDIA GeForce RTX 4090"`; what is not told is null. Null for messages and anything else. */
export function parseGpuLine(line: string): GpuLine | null {
  const [index = '', percent = '', memory = '', ...name] = line.split(',').map((part) => part.trim());
  if (!/^\d{1,3}$/.test(index) || Number(index) >= MAX_GPUS || percent === '') return null;
  const ratio = /^(\d{1,3})(?:\.\d{1,3})?\s*%?$/.exec(percent)?.[1];
  const model = name.join(', ');
  const found = {
    index: Number(index),
    ratio: ratio !== undefined && Number(ratio) <= 100 ? Number(ratio) / 100 : null,
    memoryMib: /^\d{1,9}$/.test(memory) && Number(memory) > 0 ? Number(memory) : null,
    model: /^[\x20-\x7e]{1,128}$/.test(model) && !model.startsWith('[') ? model : null,
  };
  return found.ratio === null && found.memoryMib === null && found.model === null ? null : found;
}

export class NvidiaGpuMeter implements GpuMeter {
  readonly #options: GpuMeterOptions;
  readonly #gpus = new Map<number, { readonly ratio: number; readonly atMs: number }>();
  /** By index, of the present process or one before it. */
  readonly #facts = new Map<number, GpuLine>();
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

  /** The memory is that of the smallest, in GiB as it is sold: 24564 MiB are 24. */
  get capabilities(): Capabilities {
    const gpus = [...this.#facts.values()];
    const models = gpus.flatMap(({ model }) => model ?? []);
    const memories = gpus.flatMap(({ memoryMib }) => memoryMib ?? []);
    return {
      ...(gpus.length > 0 && { gpu_count: gpus.length }),
      ...(models[0] !== undefined && { gpu_type: models[0] }),
      ...(memories.length > 0 && { vram_gb: Math.round(Math.min(...memories) / MIB_PER_GIB) }),
    };
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
      if (gpu === null) continue;
      this.#facts.set(gpu.index, gpu);
      if (gpu.ratio !== null) this.#gpus.set(gpu.index, { ratio: gpu.ratio, atMs });
    }
  }
}
