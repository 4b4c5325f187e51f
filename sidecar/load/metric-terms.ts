/**
 * Metrics → load: which metrics of a worker say how full it is, and at which value it is full. Pure.
 *
 * The highest of its terms, as everywhere: a vLLM whose KV cache is full is full, however few requests run. A term none
 * of whose metrics is there says nothing, and no term at all is null, never 0.
 */
import type { Sample } from './prometheus-text.ts';

export interface LoadTerm {
  /** Their values are added. */
  readonly names: readonly string[];
  /** The value at which the worker is full. */
  readonly limit: number;
}

/**
 * What vLLM says of itself (docs.vllm.ai, "Production metrics"): requests running and waiting against its slots, and
 * the part of the KV cache in use, 0..1, under its present and its former name.
 */
export function vllmTerms(slots: number): readonly LoadTerm[] {
  return [
    { names: ['vllm:num_requests_running', 'vllm:num_requests_waiting'], limit: slots },
    { names: ['vllm:kv_cache_usage_perc'], limit: 1 },
    { names: ['vllm:gpu_cache_usage_perc'], limit: 1 },
  ];
}

/** One term for each metric → limit of a configuration. */
export function namedTerms(limits: ReadonlyMap<string, number>): readonly LoadTerm[] {
  return [...limits].map(([name, limit]) => ({ names: [name], limit }));
}

/**
 * 0..1, or null when no term is there. Several series of a metric (engines, models) are added; where the limit is 1
 * or less the metric is itself a ratio, and the highest counts.
 */
export function loadOfTerms(samples: readonly Sample[], terms: readonly LoadTerm[]): number | null {
  let load: number | null = null;
  for (const { names, limit } of terms) {
    const values = samples.filter(({ name }) => names.includes(name)).map(({ value }) => Math.max(0, value));
    if (values.length === 0) continue;
    const amount = limit <= 1 ? Math.max(...values) : values.reduce((sum, value) => sum + value, 0);
    load = Math.max(load ?? 0, Math.min(1, amount / limit));
  }
  return load;
}
