/** A worker's own word of its load, in ORCA's two text forms. */
import { describe, expect, test } from '@jest/globals';
import { loadInOrca } from '../../sidecar/core/worker/orca.ts';
import { expectNamed } from '../support/runner/expectations.ts';

describe("a worker's endpoint-load-metrics", () => {
  test("its load is its utilization, or vLLM's and Envoy's words for it, in TEXT and JSON", () => {
    expect(loadInOrca('TEXT application_utilization=0.35,cpu_utilization=0.9')).toBe(0.35);
    expect(
      loadInOrca('TEXT named_metrics.kv_cache_usage_perc=0.4,named_metrics.num_requests_waiting=2'),
    ).toBe(0.4);
    expect(loadInOrca('cpu_utilization=0.3, mem_utilization=0.9, eps=1')).toBe(0.3);
    expect(loadInOrca('JSON {"cpu_utilization":0.2,"named_metrics":{"kv_cache_usage_perc":0.7}}')).toBe(0.7);
    expect(loadInOrca('{"application_utilization":1.7}')).toBe(1);
    expect(loadInOrca(' TEXT\tcpu_utilization= +5e-1 ')).toBe(0.5);
  });

  test('nothing usable is null', () => {
    for (const value of [
      ...['', 'TEXT', 'JSON', 'JSON {', 'JSON []', 'JSON null', 'a=b', '=', ',,,', 'BIN AAAA'],
      ...[
        'application_utilization=NaN',
        'cpu_utilization=0x10',
        'cpu_utilization=-0.5',
        'cpu_utilization=Infinity',
      ],
      `cpu_utilization=0.1,${'x'.repeat(5000)}`,
    ]) {
      expectNamed(loadInOrca(value), value.slice(0, 20)).toBe(null);
    }
  });
});
