/**
 * Puts the machine's sources of load together: CPU, its pressure, and GPU by nvidia-smi or a DCGM exporter.
 *
 * Composition only.
 */
import type { Config } from '../config/config.ts';
import type { Log } from '../core/log.ts';
import { createCpuMeter, systemCpu } from '../load/cpu.ts';
import { PressureMeter } from '../load/cpu-pressure.ts';
import { DcgmGpuMeter } from '../load/dcgm.ts';
import { type GpuMeter, NvidiaGpuMeter } from '../load/gpu.ts';
import { LoadSampler } from '../load/sampler.ts';
import type { Lifecycle } from './lifecycle.ts';

const LOAD_INTERVAL_MS = 1_000;
const GPU_STALE_MS = 5_000;
const GPU_RESTART_MS = 30_000;

export interface MachineLoad {
  readonly sampler: LoadSampler;
  readonly gpu: Pick<GpuMeter, 'capabilities'>;
}

/** The sampling begins, and ends with the lifecycle. */
export function startSampler(config: Config, log: Log, lifecycle: Lifecycle): MachineLoad {
  const system = systemCpu();
  const cpu = createCpuMeter(system);
  const pressure = PressureMeter.open(system);
  const gpu = gpuMeter(config.gpu);
  gpu.start();
  lifecycle.onStop('gpu meter', () => gpu.stop());
  const sampler = new LoadSampler({
    intervalMs: LOAD_INTERVAL_MS,
    cpu: cpu.source === null ? null : () => cpu.sample(),
    pressure: pressure === null ? null : () => pressure.sample(),
    gpu: () => gpu.sample(),
    log,
  });
  sampler.start();
  lifecycle.onStop('load sampler', () => sampler.stop());
  return { sampler, gpu };
}

function gpuMeter({ metricsUrl, devices }: Config['gpu']): GpuMeter {
  if (metricsUrl !== null) {
    return new DcgmGpuMeter({ url: metricsUrl, intervalMs: LOAD_INTERVAL_MS, devices });
  }
  return new NvidiaGpuMeter({
    command: 'nvidia-smi',
    staleMs: GPU_STALE_MS,
    restartMs: GPU_RESTART_MS,
    nowMs: () => performance.now(),
  });
}
