/**
 * The dashboard on a mesh that runs: a real Prometheus finds the sidecars by one's /targets and scrapes them, and
 * every query of the board shows something.
 *
 * Each sidecar has a loopback address of its own in place of a VPN address, and one admin port for all, as in a
 * fleet. There is no tunnel and no GPU.
 */
import { once } from 'node:events';
import net from 'node:net';
import { describe, expect } from '@jest/globals';
import { dashboard } from '../../dashboards/sidecar.ts';
import { queriesWithoutData } from '../support/host/dashboard.ts';
import { missingPrograms } from '../support/host/needs.ts';
import { promtool, startPrometheus } from '../support/host/prometheus.ts';
import { MeshProcesses } from '../support/meshes/mesh-processes.ts';
import type { SidecarProcess } from '../support/meshes/sidecar-process.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed, mustHold } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { testUnless } from '../support/runner/test-unless.ts';

/** Some scrapes. */
const RATE_INTERVAL = '10s';
const REASON =
  process.platform === 'linux'
    ? missingPrograms('prometheus', 'promtool')
    : 'needs all of 127.0.0.0/8, as Linux has it';

describe('the dashboard of a running mesh', () => {
  testUnless(REASON)('every query of the board returns data from a running mesh', async () => {
    const mesh = await MeshProcesses.up();
    const adminPort = await freePort('127.0.0.11');
    const member = async (
      id: string,
      ip: string,
      services: Record<string, string>,
    ): Promise<SidecarProcess> =>
      await mesh.sidecar({
        id,
        services,
        env: { SIDECAR_VPN_IP: ip, SIDECAR_DHT_LISTEN: `${ip}:0` },
        address: {
          outbound: { host: '127.0.0.1', port: 0 },
          inbound: { host: ip, port: 0 },
          admin: { host: ip, port: adminPort },
        },
      });
    const [gpu1, gpu2, notes] = await Promise.all(
      ['gpu-1', 'gpu-2', 'notes'].map((name) => mesh.worker(name)),
    );
    mustHold(gpu1 && gpu2 && notes);
    const sidecars = await Promise.all([
      member('app', '127.0.0.11', { 'notes-coa': notes.url }),
      member('worker-1', '127.0.0.12', { 'llm-inference': gpu1.url }),
      member('worker-2', '127.0.0.13', { 'llm-inference': gpu2.url }),
    ]);
    const [app] = sidecars;
    await app.knows(['worker-1', 'worker-2']);

    const [target] = JSON.parse((await app.admin('/targets')).body) as [{ targets: string[] }];
    expect(target.targets).toStrictEqual([`127.0.0.11:${adminPort}`]);
    const prometheus = await startPrometheus(
      JSON.stringify({
        global: { scrape_interval: '1s' },
        scrape_configs: [
          {
            job_name: 'dht-sidecar',
            http_sd_configs: [{ url: `http://${target.targets[0]}/targets`, refresh_interval: '1s' }],
          },
        ],
      }),
    );
    onTestEnd(() => prometheus.stop());

    await eventually(
      'all sidecars are scraped',
      () => prometheus.query('up == 1'),
      (up) => up.length === sidecars.length,
    );
    await eventually(
      'each query shows something',
      async () => {
        await everyKindOfRequest(app);
        return await queriesWithoutData(prometheus, dashboard, RATE_INTERVAL);
      },
      (without) => without.length === 0,
    );

    const shows = async (promql: string, wanted: readonly string[]): Promise<void> => {
      await eventually(
        promql,
        async () =>
          (await prometheus.query(promql)).map(({ metric }) => Object.values(metric).join(' ')).sort(),
        (found) => found.join() === wanted.join(),
      );
    };
    await shows('sum by (route, outcome) (sidecar_request_duration_seconds_count{worker="app"}) > 0', [
      'broken vpn',
      'failed none',
      'ok local',
      'ok vpn',
    ]);
    await shows('sum by (listener, code) (sidecar_answers_total{worker="app"}) > 0', [
      'no_peers outbound',
      'upstream_reset outbound',
    ]);
    await shows('sum by (worker) (sidecar_retries_total) > 0', ['app']);
    await shows('sum by (worker) (sidecar_local_requests_total) > 0', ['app']);
    await shows('sum by (worker) (sidecar_failed_requests_total) > 0', ['app']);
    await shows('sum by (worker) (sidecar_inbound_duration_seconds_count) > 0', ['worker-1', 'worker-2']);
    // The label of the target does not hide the one of the metric.
    await shows('count by (worker, worker_id) (sidecar_build_info)', [
      'app app',
      'worker-1 worker-1',
      'worker-2 worker-2',
    ]);

    for (const sidecar of sidecars) {
      const { body } = await sidecar.admin('/metrics');
      const check = await promtool(['check', 'metrics'], body);
      expectNamed(check.output, `promtool check metrics of ${sidecar.id}`).toBe('');
      expect(check.ok).toBe(true);
    }
  });
});

/** Local, forwarded, failed for each reason that a board should tell apart. */
async function everyKindOfRequest(app: SidecarProcess): Promise<void> {
  for (const { status, body } of [
    await app.get('notes-coa', '/list'),
    await app.get('llm-inference', '/v1/models'),
    await app.call({ method: 'POST', target: '/service/llm-inference/v1/chat', body: '{}' }),
  ]) {
    expectNamed(status, body).toBe(200);
  }
  expect((await app.get('nobody-offers-this')).status).toBe(503);
  // Tried at both workers, in vain.
  expect((await app.get('llm-inference', '/?mode=reset')).status).toBe(502);
  await expect(app.get('llm-inference', '/?mode=partial')).rejects.toThrow();
}

async function freePort(host: string): Promise<number> {
  const server = net.createServer().listen(0, host);
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
