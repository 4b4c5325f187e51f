/**
 * The dashboard on a real Prometheus that scrapes a real admin port: each query returns data.
 */
import { describe, expect } from '@jest/globals';
import { dashboard } from '../../dashboards/sidecar.ts';
import { Metrics } from '../../sidecar/observe/metrics.ts';
import { queriesWithoutData } from '../support/host/dashboard.ts';
import { missingPrograms } from '../support/host/needs.ts';
import { startPrometheus } from '../support/host/prometheus.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { testUnless } from '../support/runner/test-unless.ts';
import { startAdmin } from '../support/wire/admin-port.ts';

/** A mesh of one, with something of everything. */
function busyMetrics(): Metrics {
  const metrics = new Metrics({
    version: '1.0.0',
    workerId: 'worker-1',
    serviceLimit: 8,
    processMetrics: true,
  });
  let hits = 0;
  metrics.watch({
    cache: () => ({
      hits: ++hits,
      misses: 1,
      lookups: 2,
      size: 1,
      services: [{ service: 'ocr', ageMs: 10, peers: 3 }],
    }),
    peers: () => ({ ready: 2, warming: 1, draining: 0, suspect: 0, ejected: 0 }),
    load: () => ({ loadRatio: 0.4, bySource: { slots: 0.4, cpu: 0.1, gpu: null } }),
    services: () => [{ service: 'ocr', inFlight: 1, queued: 0, concurrency: 4 }],
    dht: () => ({ kind: 'connected', nodes: 3, rejectedDatagrams: 0 }),
    state: () => 'ready',
    ready: () => true,
  });
  return metrics;
}

function serveOne(metrics: Metrics): void {
  metrics.decided(8);
  metrics.attempted('vpn');
  metrics.attemptFailed('connect_failed');
  metrics.requestStarted();
  metrics.requestRouted('forwarded');
  metrics.requestFinished({
    service: 'ocr',
    route: 'vpn',
    outcome: 'ok',
    code: null,
    firstByteMs: 3,
    durationMs: 9,
  });
  metrics.inboundStarted();
  metrics.inboundFinished({ service: 'ocr', outcome: 'failed', code: 'saturated', durationMs: 4 });
}

describe('the dashboard on a real Prometheus', () => {
  testUnless(missingPrograms('prometheus'))(
    'each query of the board returns data, and finds what is not there',
    async () => {
      const metrics = busyMetrics();
      const { port } = await startAdmin({
        stats: () => metrics.stats(),
        metricsText: () => {
          serveOne(metrics);
          return metrics.text();
        },
        metricsType: metrics.contentType,
        targets: () => [{ targets: [target], labels: { worker: 'worker-1' } }],
      });
      const target = `127.0.0.1:${port}`;

      const prometheus = await startPrometheus(
        JSON.stringify({
          global: { scrape_interval: '250ms' },
          scrape_configs: [
            {
              job_name: 'dht-sidecar',
              http_sd_configs: [{ url: `http://${target}/targets`, refresh_interval: '1s' }],
            },
          ],
        }),
      );
      onTestEnd(() => prometheus.stop());
      await prometheus.waitFor('rate(sidecar_forwarded_requests_total{worker="worker-1"}[10s]) > 0', 30_000);

      expect(await queriesWithoutData(prometheus, dashboard, '10s')).toStrictEqual([]);
      const [hitRate] = await prometheus.query('sidecar_build_info');
      expectNamed(hitRate?.metric.worker_id, 'the target label does not hide the one of the metric').toBe(
        'worker-1',
      );

      const empty = await queriesWithoutData(
        { query: async () => [{ metric: {}, value: Number.NaN }] },
        dashboard,
        '10s',
      );
      expectNamed(empty.length, 'NaN is no data').toBeGreaterThan(40);
    },
  );
});
