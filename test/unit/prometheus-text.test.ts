/** Prometheus text: the wanted samples, and nothing from what is malformed. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { parseSamples } from '../../sidecar/load/prometheus-text.ts';
import { expectNamed } from '../support/runner/expectations.ts';

const NAMES = new Set(['vllm:num_requests_running', 'queue_depth']);

function valuesOf(text: string): number[] {
  return parseSamples(text, NAMES).map(({ value }) => value);
}

describe('reading Prometheus text', () => {
  test('samples of the wanted metrics with their labels', () => {
    const page = [
      '# HELP vllm:num_requests_running Number of requests in model execution batches.',
      '# TYPE vllm:num_requests_running gauge',
      'vllm:num_requests_running{engine="0",model_name="meta-llama/Llama-3"} 3.0',
      'vllm:num_requests_running_total{engine="0"} 99',
      'vllm:num_requests_waiting{engine="0"} 7',
      'queue_depth 12 1700000000000',
      'queue_depth{} +1.5e1\r',
      'queue_depth { a = "b" , } 4',
    ].join('\n');
    const samples = parseSamples(page, NAMES);
    expect(samples.map(({ name, value }) => [name, value])).toStrictEqual([
      ['vllm:num_requests_running', 3],
      ['queue_depth', 12],
      ['queue_depth', 15],
    ]);
    expect(samples[0]?.labels.get('model_name')).toBe('meta-llama/Llama-3');
  });

  test('quoted labels may hold what else would end them', () => {
    const [sample] = parseSamples('queue_depth{a="}\\" ,b=\\\\",c="x\\ny"} 1', NAMES);
    expect([...(sample?.labels ?? [])]).toStrictEqual([
      ['a', '}" ,b=\\'],
      ['c', 'x\ny'],
    ]);
  });

  test('malformed lines and values that are no numbers are skipped', () => {
    for (const line of [
      'queue_depth',
      'queue_depth ',
      'queue_depth NaN',
      'queue_depth +Inf',
      'queue_depth 0x10',
      'queue_depth 1,5',
      'queue_depth{a="b"',
      'queue_depth{a="b} 1',
      'queue_depth{a=b} 1',
      'queue_depth{a="1",a="2"} 1',
      'queue_depth{a="1"}} 1',
      ' queue_depth 1',
      'Queue_depth 1',
      `queue_depth{a="${'x'.repeat(10_000)}"} 1`,
    ]) {
      expectNamed(valuesOf(line), line.slice(0, 60)).toStrictEqual([]);
    }
  });

  test('a page without end of series is read up to a bound', () => {
    expect(valuesOf('queue_depth 1\n'.repeat(5_000))).toHaveLength(1_024);
  });

  test('any text is taken without a throw, and every value is finite', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string(), (before, after) => {
        for (const value of valuesOf(`${before}\nqueue_depth{${after}`))
          expect(Number.isFinite(value)).toBe(true);
        for (const value of valuesOf(`queue_depth ${after}`)) expect(Number.isFinite(value)).toBe(true);
      }),
    );
  });

  test('hostile quoting costs no more than its length', () => {
    const startedMs = performance.now();
    valuesOf(`queue_depth{${'a="\\'.repeat(2_000)}\n`.repeat(200));
    valuesOf(`queue_depth{${'a="b",'.repeat(1_300)}\n`.repeat(200));
    expect(performance.now() - startedMs).toBeLessThan(2_000);
  });
});
