/** Metrics → load: vLLM's own, any by name, and the exporter of the GPUs. */
import { describe, expect, test } from '@jest/globals';
import { gpuLoadOf } from '../../sidecar/load/dcgm.ts';
import { loadOfTerms, namedTerms, vllmTerms } from '../../sidecar/load/metric-terms.ts';
import { parseSamples } from '../../sidecar/load/prometheus-text.ts';

function samplesOf(page: string, names: readonly string[]) {
  return parseSamples(page, new Set(names));
}

function vllm(page: string, slots = 16): number | null {
  const terms = vllmTerms(slots);
  return loadOfTerms(
    samplesOf(
      page,
      terms.flatMap(({ names }) => names),
    ),
    terms,
  );
}

describe('load from a metrics page', () => {
  test('vLLM: running and waiting against the slots, or the KV cache, whichever is higher', () => {
    const page = (running: number, waiting: number, cache: number) =>
      `vllm:num_requests_running{engine="0"} ${running}\nvllm:num_requests_waiting{engine="0"} ${waiting}\n` +
      `vllm:kv_cache_usage_perc{engine="0"} ${cache}\n`;
    expect(vllm(page(4, 0, 0.1))).toBe(0.25);
    expect(vllm(page(4, 4, 0.1))).toBe(0.5);
    expect(vllm(page(4, 4, 0.75))).toBe(0.75);
    expect(vllm(page(400, 40, 0.75))).toBe(1);
    expect(vllm(page(0, 0, 0))).toBe(0);
  });

  test('vLLM: engines are added, their caches are not', () => {
    const page =
      'vllm:num_requests_running{engine="0"} 4\nvllm:num_requests_running{engine="1"} 8\n' +
      'vllm:gpu_cache_usage_perc{engine="0"} 0.1\nvllm:gpu_cache_usage_perc{engine="1"} 0.7\n';
    expect(vllm(page)).toBe(0.75);
    expect(vllm(page, 32)).toBe(0.7);
  });

  test('a page without any of them is unknown and not idle', () => {
    expect(vllm('vllm:other 1\n')).toBe(null);
    expect(loadOfTerms([], namedTerms(new Map([['a', 1]])))).toBe(null);
  });

  test('any metric by name and limit; the highest wins, below 0 is 0', () => {
    const terms = namedTerms(
      new Map([
        ['queue_depth', 40],
        ['busy_ratio', 1],
      ]),
    );
    const load = (page: string) => loadOfTerms(samplesOf(page, ['queue_depth', 'busy_ratio']), terms);
    expect(load('queue_depth 10\nbusy_ratio 0.2\n')).toBe(0.25);
    expect(load('queue_depth{q="a"} 10\nqueue_depth{q="b"} 20\n')).toBe(0.75);
    expect(load('busy_ratio{gpu="0"} 0.4\nbusy_ratio{gpu="1"} 0.6\n')).toBe(0.6);
    expect(load('queue_depth -10\n')).toBe(0);
  });

  test('DCGM: the mean of the GPUs that are this worker’s', () => {
    const page = [0, 1, 2]
      .map((i) => `DCGM_FI_DEV_GPU_UTIL{gpu="${i}",UUID="GPU-${i}${i}",device="nvidia${i}"} ${i * 40}`)
      .join('\n');
    const samples = samplesOf(page, ['DCGM_FI_DEV_GPU_UTIL']);
    const load = (devices: string[] | null) => Math.round((gpuLoadOf(samples, devices) ?? -1) * 1000) / 1000;
    expect(load(null)).toBe(0.4);
    expect(load(['1'])).toBe(0.4);
    expect(load(['GPU-22', 'nvidia1'])).toBe(0.6);
    expect(gpuLoadOf(samples, ['7'])).toBe(null);
    expect(gpuLoadOf([], null)).toBe(null);
  });

  test('DCGM: the profiling metric where the other is not exported', () => {
    const names = ['DCGM_FI_DEV_GPU_UTIL', 'DCGM_FI_PROF_GR_ENGINE_ACTIVE'];
    const profiled = 'DCGM_FI_PROF_GR_ENGINE_ACTIVE{gpu="0"} 0.3\n';
    expect(gpuLoadOf(samplesOf(profiled, names), null)).toBe(0.3);
    expect(gpuLoadOf(samplesOf(`${profiled}DCGM_FI_DEV_GPU_UTIL{gpu="0"} 50\n`, names), null)).toBe(0.5);
  });
});
