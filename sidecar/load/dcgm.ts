/**
 * GPU by NVIDIA's DCGM exporter: how busy the GPUs of this container are, 0..1, from its metrics page.
 *
 * Instead of nvidia-smi where the container has no such program, or the fleet runs the exporter anyway. The exporter
 * shows all GPUs of its host, so those of this worker can be named.
 */
import type { GpuMeter } from './gpu.ts';
import { MetricsPage, type PageNews } from './metrics-page.ts';
import type { Sample } from './prometheus-text.ts';

/** Percent of time in which a kernel ran, as nvidia-smi's `utilization.gpu`; NVIDIA's default set of metrics. */
const UTILISATION = 'DCGM_FI_DEV_GPU_UTIL';

/** The same as a ratio, where only the profiling metrics are exported (MIG). */
const ENGINE_ACTIVE = 'DCGM_FI_PROF_GR_ENGINE_ACTIVE';
const NAMES = new Set([UTILISATION, ENGINE_ACTIVE]);

export interface DcgmOptions {
  readonly url: string;
  readonly intervalMs: number;
  /** Index (`0`), UUID (`GPU-…`) or device (`nvidia0`) of each GPU that counts; null = all on the page. */
  readonly devices: readonly string[] | null;
}

/** Mean use, 0..1; null when none of the devices is there. */
export function gpuLoadOf(samples: readonly Sample[], devices: readonly string[] | null): number | null {
  const counted = samples.filter(
    ({ labels }) =>
      devices === null ||
      ['gpu', 'UUID', 'device'].some((label) => devices.includes(labels.get(label) ?? '\n')),
  );
  const utilisation = counted.filter(({ name }) => name === UTILISATION);
  const [named, full] = utilisation.length > 0 ? [utilisation, 100] : [counted, 1];
  if (named.length === 0) return null;
  const ratios = named.map(({ value }) => Math.min(1, Math.max(0, value / full)));
  return ratios.reduce((sum, ratio) => sum + ratio, 0) / ratios.length;
}

export class DcgmGpuMeter implements GpuMeter {
  /** The exporter tells how busy GPUs are, not what they are. */
  readonly capabilities = {};
  readonly #page: MetricsPage;
  readonly #devices: readonly string[] | null;
  #news: PageNews | null = null;

  constructor({ url, intervalMs, devices }: DcgmOptions) {
    this.#devices = devices;
    this.#page = new MetricsPage({
      url,
      intervalMs,
      names: NAMES,
      onNews: (news) => {
        this.#news = news;
      },
    });
  }

  start(): void {
    this.#page.start();
  }

  /** Throws the fault when the page could not be had, so that whoever asked for it is told. */
  sample(): number | null {
    const news = this.#news;
    if (news === null) return null;
    if (news.kind === 'failed') throw news.fault;
    const ratio = gpuLoadOf(news.samples, this.#devices);
    if (ratio === null) throw new Error(`none of the GPUs ${this.#devices?.join(', ')} is on the page`);
    return ratio;
  }

  stop(): Promise<void> {
    this.#page.stop();
    return Promise.resolve();
  }
}
