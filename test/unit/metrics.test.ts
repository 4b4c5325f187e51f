/**
 * Metrics: /stats keeps its keys and agrees with /metrics, labels stay bounded, promtool accepts all of it.
 */
import { describe, expect, test } from '@jest/globals';
import { CODES } from '../../sidecar/core/errors.ts';
import { ALL_CODES, BoundedLabels, outcomeOfCode, outcomeOfStatus } from '../../sidecar/observe/labels.ts';
import { Metrics, type RequestSample } from '../../sidecar/observe/metrics.ts';
import { missingPrograms } from '../support/host/needs.ts';
import { promtool } from '../support/host/prometheus.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { testUnless } from '../support/runner/test-unless.ts';

const create = (processMetrics = false) =>
  new Metrics({ version: '1.2.3', workerId: 'worker-cpu-001', serviceLimit: 3, processMetrics });

const finished = (change: Partial<RequestSample> = {}): RequestSample => ({
  service: 'llm-inference',
  route: 'vpn',
  outcome: 'ok',
  code: null,
  firstByteMs: 12,
  durationMs: 40,
  ...change,
});

/** Value of one series, e.g. `sidecar_peers{state="ready"}`; undefined when it is not there. */
function valueIn(text: string, series: string): number | undefined {
  const line = text.split('\n').find((candidate) => candidate.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length + 1));
}

describe('/stats and /metrics', () => {
  test('/stats has exactly the keys of the contract, in order, also before the first request', () => {
    expect(Object.entries(create().stats())).toStrictEqual([
      ['local_requests', 0],
      ['forwarded_requests', 0],
      ['cache_hits', 0],
      ['cache_misses', 0],
      ['dht_lookups', 0],
      ['failed_requests', 0],
      ['cache_size', 0],
      ['cache_hit_rate', 0],
    ]);
  });

  test('requests of apps are counted by the names in the configuration, and by no others', async () => {
    const metrics = create();
    metrics.knowApp('chat');
    for (const app of ['chat', 'chat', 'invented', null]) {
      metrics.requestStarted();
      metrics.requestFinished(finished({ app }));
    }
    const text = await metrics.text();
    expect(valueIn(text, 'sidecar_app_requests_total{app="chat",outcome="ok"}')).toBe(2);
    expect(valueIn(text, 'sidecar_app_requests_total{app="chat",outcome="failed"}')).toBe(0);
    expect(valueIn(text, 'sidecar_app_requests_total{app="unknown",outcome="ok"}')).toBe(1);
    expect(text).not.toMatch(/invented/);
  });

  test('a known sequence gives the expected numbers in /stats and the same in /metrics', async () => {
    const metrics = create();
    const services = [{ service: 'llm-inference', ageMs: 1_500, peers: 2 }];
    metrics.watch({ cache: () => ({ hits: 9, misses: 1, lookups: 1, size: 1, services }) });
    for (let i = 0; i < 2; i++) {
      metrics.requestStarted();
      metrics.requestRouted('local');
      metrics.requestFinished(finished({ route: 'local' }));
    }
    for (const outcome of ['ok', 'worker_error', 'failed', 'broken', 'client_gone'] as const) {
      metrics.requestStarted();
      metrics.requestRouted('forwarded');
      metrics.requestFinished(finished({ outcome, code: outcome === 'failed' ? 'connect_timeout' : null }));
    }
    metrics.requestStarted();
    metrics.requestFinished(
      finished({ route: 'none', outcome: 'rejected', code: 'bad_request', firstByteMs: null }),
    );
    metrics.requestStarted();

    const expected = {
      local_requests: 2,
      forwarded_requests: 5,
      cache_hits: 9,
      cache_misses: 1,
      dht_lookups: 1,
      failed_requests: 2,
      cache_size: 1,
      cache_hit_rate: 0.9,
    };
    expect(metrics.stats()).toStrictEqual(expected);
    const text = await metrics.text();
    for (const [key, value] of Object.entries(expected)) {
      if (key === 'cache_hit_rate') continue;
      expectNamed(valueIn(text, `sidecar_${key}${key === 'cache_size' ? '' : '_total'}`), key).toBe(value);
    }
    expect(valueIn(text, 'sidecar_requests_in_progress{listener="outbound"}')).toBe(1);
    expect(valueIn(text, 'sidecar_answers_total{listener="outbound",code="connect_timeout"}')).toBe(1);
    expect(valueIn(text, 'sidecar_cache_age_seconds{service="llm-inference"}')).toBe(1.5);
    const ok = 'service="llm-inference",route="vpn",outcome="ok"';
    expect(valueIn(text, `sidecar_request_duration_seconds_count{${ok}}`)).toBe(1);
    expect(valueIn(text, `sidecar_request_duration_seconds_sum{${ok}}`)).toBe(0.04);
    expect(valueIn(text, `sidecar_request_first_byte_seconds_sum{${ok}}`)).toBe(0.012);
    // A scrape changes nothing.
    expect(await metrics.text()).toBe(text);
  });

  test('names that only a caller invented never become labels, and real ones only up to the limit', async () => {
    const metrics = create();
    for (let i = 0; i < 1_000; i++) {
      metrics.requestStarted();
      metrics.requestFinished(
        finished({ service: `wish-${i}`, route: 'none', outcome: 'failed', code: 'no_peers' }),
      );
      metrics.requestStarted();
      metrics.requestFinished(finished({ service: `real-${i}` }));
      metrics.inputRefused('http', `reason-${i}`);
    }
    for (const strange of ['', 'a"b', 'a\nb', 'x'.repeat(10_000), '__proto__', 'Ünïcode']) {
      metrics.requestFinished(finished({ service: strange }));
      metrics.inputRefused('record', strange);
      metrics.inboundFinished({
        service: strange,
        outcome: 'rejected',
        code: 'not_offered_here',
        durationMs: 1,
      });
    }
    const text = await metrics.text();
    const services = new Set([...text.matchAll(/service="([^"]*)"/g)].map((found) => found[1]));
    expect([...services].sort()).toStrictEqual(['other', 'real-0', 'real-1', 'real-2', 'unknown']);
    expectNamed(text.split('\n').length, 'the exposition stays small').toBeLessThan(1_000);
  });

  test('no value that a clock or a source can give throws or spoils a series', async () => {
    const metrics = create();
    for (const value of [Number.NaN, -1, Number.POSITIVE_INFINITY]) {
      metrics.decided(value);
      metrics.requestFinished(finished({ firstByteMs: value, durationMs: value }));
      metrics.inboundFinished({ service: 'a', outcome: 'ok', code: null, durationMs: value });
    }
    metrics.watch({
      cache: () => {
        throw new Error('gone');
      },
      load: () => ({ loadRatio: Number.NaN, bySource: { cpu: null, gpu: 0.5 } }),
      peers: () => {
        throw new Error('gone');
      },
      dht: () => ({ kind: 'unreachable', nodes: 0, rejectedDatagrams: 7 }),
      services: () => [{ service: 'ocr', inFlight: 1, queued: 2, concurrency: 4 }],
      state: () => 'warming',
      ready: () => false,
    });
    expect(metrics.stats().cache_size).toBe(0);
    const text = await metrics.text();
    expect(text).not.toMatch(/NaN/);
    expectNamed(valueIn(text, 'sidecar_load_source_ratio{source="cpu"}'), 'a failed source is not idle').toBe(
      undefined,
    );
    expect(valueIn(text, 'sidecar_load_source_ratio{source="gpu"}')).toBe(0.5);
    expect(valueIn(text, 'sidecar_dht_state{state="unreachable"}')).toBe(1);
    expect(valueIn(text, 'sidecar_dht_rejected_datagrams_total')).toBe(7);
    expect(valueIn(text, 'sidecar_worker_queued{service="ocr"}')).toBe(2);
    expect(valueIn(text, 'sidecar_worker_state{state="warming"}')).toBe(1);
  });

  test('a service that has left keeps no age behind', async () => {
    const metrics = create();
    let services = [{ service: 'ocr', ageMs: 1, peers: 1 }];
    metrics.watch({ cache: () => ({ hits: 0, misses: 1, lookups: 1, size: 1, services }) });
    expect(valueIn(await metrics.text(), 'sidecar_cache_peers{service="ocr"}')).toBe(1);
    services = [];
    expect(valueIn(await metrics.text(), 'sidecar_cache_peers{service="ocr"}')).toBe(undefined);
  });

  test('a response of the sidecar is a fault of the request or of the mesh; a status judges the worker', () => {
    expect(
      ALL_CODES.filter((code) => CODES[code].status < 500 && outcomeOfCode(code) === 'failed'),
    ).toStrictEqual(['not_offered_here']);
    for (const code of ['no_peers', 'saturated', 'connect_failed', 'deadline', 'internal'] as const) {
      expectNamed(outcomeOfCode(code), code).toBe('failed');
    }
    expect(outcomeOfCode('loop_detected')).toBe('rejected');
    expect(ALL_CODES).toHaveLength(Object.keys(CODES).length);
    expect(outcomeOfStatus(404)).toBe('ok');
    expect(outcomeOfStatus(503)).toBe('worker_error');
  });

  test('a cache that cannot be read does not look like a restart', async () => {
    const metrics = create();
    metrics.watch({ cache: () => ({ hits: 5, misses: 5, lookups: 2, size: 1, services: [] }) });
    expect(metrics.stats().cache_hit_rate).toBe(0.5);
    metrics.watch({
      cache: () => {
        throw new Error('gone');
      },
    });
    expect(metrics.stats().cache_hits).toBe(5);
    expect(valueIn(await metrics.text(), 'sidecar_dht_lookups_total')).toBe(2);
  });

  test('bounded labels admit up to their limit and know the rest only as others', () => {
    const labels = new BoundedLabels({ limit: 1 });
    expect(labels.labelOf('a')).toBe('unknown');
    expect(labels.admit('a')).toBe('a');
    expect(labels.admit('b')).toBe('other');
    expect(labels.labelOf('a')).toBe('a');
    expect(labels.labelOf('b')).toBe('unknown');
  });

  testUnless(missingPrograms('promtool'))(
    'promtool accepts every name, with the process metrics too',
    async () => {
      const metrics = create(true);
      metrics.requestStarted();
      metrics.requestFinished(finished());
      metrics.decided(12);
      metrics.inputRefused('auth', 'not_a_member');
      metrics.retryRefused();
      const { ok, output } = await promtool(['check', 'metrics'], await metrics.text());
      expect(output).toBe('');
      expect(ok).toBe(true);
    },
  );
});
