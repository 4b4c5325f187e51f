/** Clocks of hosts minutes apart: requests flow both ways, by VPN and by what the DHT keeps, and doctor says so. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { formatHostPort } from '../../sidecar/core/host-port.ts';
import { startTunnelEdge, TUNNEL_CERTIFICATE } from '../support/edges/tunnel-edge.ts';
import { MeshProcesses } from '../support/meshes/mesh-processes.ts';
import type { SidecarProcess } from '../support/meshes/sidecar-process.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

const CLOCK = join(import.meta.dirname, '../support/host/shifted-clock.ts');
const MAIN = join(import.meta.dirname, '../../sidecar/main.ts');
const TEN_MINUTES_MS = 600_000;

function clock(shiftMs: number): Record<string, string> {
  return { NODE_OPTIONS: `--import=${CLOCK}`, CLOCK_SHIFT_MS: String(shiftMs) };
}

/** 200 at last; while discovery still looks, an app is told to come again. */
async function answered(app: SidecarProcess, service: string) {
  return await eventually(
    `${service} is answered`,
    () => app.get(service),
    ({ status }) => status === 200,
  );
}

async function doctor(of: SidecarProcess): Promise<string> {
  const child = spawn(process.execPath, [MAIN, 'doctor', '--admin', formatHostPort(of.address.admin)], {
    env: { PATH: process.env.PATH, SIDECAR_MESH_KEY: '0'.repeat(64) },
  });
  let out = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  await new Promise((resolve) => child.once('close', resolve));
  return out;
}

describe('hosts whose clocks are minutes apart', () => {
  test('a fleet whose clocks are ten minutes apart works, and doctor says so', async () => {
    const mesh = await MeshProcesses.up();
    const [one, two] = await Promise.all([mesh.worker('one'), mesh.worker('two')]);
    const [ahead, behind, right] = await Promise.all([
      mesh.sidecar({ id: 'ahead', services: { alpha: one.url }, env: clock(TEN_MINUTES_MS) }),
      mesh.sidecar({ id: 'behind', services: { beta: two.url }, env: clock(-TEN_MINUTES_MS) }),
      mesh.sidecar({ id: 'right' }),
    ]);
    for (const [app, service, worker] of [
      [right, 'alpha', 'ahead'],
      [right, 'beta', 'behind'],
      [ahead, 'beta', 'behind'],
      [behind, 'alpha', 'ahead'],
    ] as const) {
      const { headers } = await answered(app, service);
      expect(headers['sidecar-worker']).toBe(worker);
      expectNamed((await app.get(service)).headers['sidecar-attempts'], 'the lesson is not forgotten').toBe(
        '1',
      );
    }
    const posted = await right.call({ method: 'POST', target: '/service/alpha/?id=post', body: 'once' });
    expect(posted.status).toBe(200);
    expect(await one.seen('post')).toHaveLength(1);

    const said = await doctor(right);
    expect(said).toMatch(/^warn +clocks +ahead is (?:599|600|601) s ahead of this host/m);
    expect(said).toMatch(/^warn +clocks +behind is (?:599|600|601) s behind this host/m);
    expect(said).not.toMatch(/^fail +clocks/m);
    for (const peer of await right.peers()) expect(peer.state).toBe('ready');
  });

  test('a worker behind a tunnel is found by its record in the DHT, whatever its clock says', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'clocks-'));
    onTestEnd(() => rmSync(folder, { recursive: true, force: true }));
    const ca = join(folder, 'ca.pem');
    writeFileSync(ca, TUNNEL_CERTIFICATE);
    const mesh = await MeshProcesses.up();
    for (const shiftMs of [TEN_MINUTES_MS, -TEN_MINUTES_MS]) {
      const id = `home-${shiftMs < 0 ? 'behind' : 'ahead'}`;
      const port = await freePort();
      const edge = await startTunnelEdge(port);
      onTestEnd(() => edge.close());
      const worker = await mesh.worker(id);
      await mesh.sidecar({
        id,
        services: { [id]: worker.url },
        env: {
          ...clock(shiftMs),
          SIDECAR_VPN_IP: 'none',
          SIDECAR_INBOUND: `127.0.0.1:${port}`,
          SIDECAR_TUNNEL_URL: edge.url,
        },
      });
      const app = await mesh.sidecar({
        id: `app-${id}`,
        env: { SIDECAR_TUNNEL_CA: ca, SIDECAR_TUNNEL_ALLOW: 'loopback' },
      });
      const { headers } = await answered(app, id);
      expect([headers['sidecar-worker'], headers['sidecar-route']]).toStrictEqual([id, 'tunnel']);
    }
  });
});

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
