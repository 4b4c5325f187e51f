/**
 * Bootstrap nodes that are dead, at the start, later, or one of two; and a start with no DHT at all, by what is kept
 * in the state directory: what the app beside the sidecar sees of it.
 */
import { spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { MeshProcesses } from '../support/meshes/mesh-processes.ts';
import type { SidecarProcess } from '../support/meshes/sidecar-process.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { note } from '../support/runner/note.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import type { Answer } from '../support/wire/http-client.ts';

/** hyperdht waits 6 s for a dead node; a request never does, whatever it asks for. */
const COLD_MS = 2_000;

/** The longest that a request waits for the first lookup (3 s), and what a busy machine adds. */
const FIRST_LOOKUP_MS = 4_500;

/** From the bootstrap node's start: pauses between tries are up to 5 s, a try takes up to 4 s. */
const FORMED_MS = 15_000;

async function timed(app: SidecarProcess, service: string): Promise<Answer & { readonly tookMs: number }> {
  const startedMs = performance.now();
  const answer = await app.get(service);
  return { ...answer, tookMs: Math.round(performance.now() - startedMs) };
}

/** 200, and sooner than the DHT could have given up anybody. */
async function assertServedAtOnce(app: SidecarProcess, service: string): Promise<void> {
  const { body, status, tookMs } = await timed(app, service);
  note(`${app.id} is served ${service} in ${tookMs} ms`);
  expectNamed(status, body).toBe(200);
  expectNamed(tookMs, `${service} took ${tookMs} ms`).toBeLessThan(COLD_MS);
}

function codeOf({ body }: Answer): string {
  return (JSON.parse(body) as { code: string }).code;
}

/** Takes every datagram and answers none. */
async function silentNode(): Promise<string> {
  const socket = createSocket('udp4').bind(0, '127.0.0.1');
  await once(socket, 'listening');
  onTestEnd(() => socket.close());
  return `127.0.0.1:${socket.address().port}`;
}

function folderFor(): string {
  const folder = mkdtempSync(join(tmpdir(), 'discovery-faults-'));
  onTestEnd(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

describe('discovery with dead bootstrap nodes', () => {
  test('sidecars that are up before any bootstrap node become a mesh when it comes', async () => {
    const mesh = await MeshProcesses.up();
    await mesh.bootstrap.kill();
    const worker = await mesh.worker('one');
    const [app] = await Promise.all([
      mesh.start({ id: 'app' }),
      mesh.start({ id: 'worker', services: { alpha: worker.url } }),
    ]);
    const cold = await timed(app, 'alpha');
    note(`with no DHT at all a cold request is refused after ${cold.tookMs} ms`);
    expect(cold.status).toBe(503);
    expect(codeOf(cold)).toBe('discovery_unavailable');
    expect(Number(cold.headers['retry-after'])).toBeGreaterThanOrEqual(1);
    expect(cold.tookMs).toBeLessThan(FIRST_LOOKUP_MS);

    await mesh.restartBootstrap();
    const startedMs = performance.now();
    await eventually(
      'the mesh has formed',
      () => app.get('alpha'),
      ({ status }) => status === 200,
    );
    const formedMs = Math.round(performance.now() - startedMs);
    note(`formed ${formedMs} ms after the bootstrap node came`);
    expectNamed(formedMs, `only after ${formedMs} ms`).toBeLessThan(FORMED_MS);
  });

  test('one of two bootstrap nodes is dead: no request waits for it', async () => {
    const mesh = await MeshProcesses.up();
    const worker = await mesh.worker('one');
    const services = { alpha: worker.url, beta: worker.url, gamma: worker.url };
    await mesh.sidecar({ id: 'worker', services });
    const bootstrap = `${await silentNode()},${mesh.bootstrapAddress}`;
    const app = await mesh.start({ id: 'app', env: { SIDECAR_BOOTSTRAP: bootstrap } });
    for (const service of Object.keys(services)) await assertServedAtOnce(app, service);
    const unknown = await timed(app, 'nobody-offers-this');
    note(`that nobody offers a service is said in ${unknown.tookMs} ms`);
    expect(codeOf(unknown)).toBe('no_peers');
    expect(unknown.tookMs).toBeLessThan(FIRST_LOOKUP_MS);
  });

  test('the bootstrap node dies later: lookups go on, and who restarts joins by the nodes it knew', async () => {
    const mesh = await MeshProcesses.up();
    const worker = await mesh.worker('one');
    const services = { alpha: worker.url, beta: worker.url, gamma: worker.url };
    await mesh.sidecar({ id: 'worker', services });
    const stateDir = folderFor();
    const app = await mesh.sidecar({ id: 'app', env: { SIDECAR_STATE_DIR: stateDir } });
    await assertServedAtOnce(app, 'alpha');
    await mesh.bootstrap.kill();
    // Still in everybody's list of those to be asked, and nobody has asked for this service before.
    await assertServedAtOnce(app, 'beta');

    const kept = join(stateDir, 'known-nodes.json');
    await eventually(
      'the view is kept',
      () => existsSync(kept) && readFileSync(kept, 'utf8'),
      (text) => text !== false && text.includes('"alpha"'),
    );
    // As a machine that loses its power: it keeps nothing at its end.
    await app.process.kill();
    const again = await mesh.restart(app);
    await assertServedAtOnce(again, 'gamma');
    const newcomer = await mesh.worker('two');
    await mesh.sidecar({
      id: 'newcomer',
      services: { delta: newcomer.url },
      env: { SIDECAR_STATE_DIR: copyOf(kept) },
    });
    await assertServedAtOnce(again, 'delta');
  });

  /** The state directory of one that knew the same nodes, with a key of its own. */
  function copyOf(file: string): string {
    const folder = folderFor();
    const { nodes, version } = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
    const known = { version, own_port: null, nodes, peers: [] };
    writeFileSync(join(folder, 'known-nodes.json'), JSON.stringify(known));
    return folder;
  }

  test('a restart without any DHT serves by the last view; what was done to its file harms nobody', async () => {
    const mesh = await MeshProcesses.up();
    const worker = await mesh.worker('one');
    await mesh.sidecar({ id: 'worker', services: { alpha: worker.url } });
    const stateDir = folderFor();
    const file = join(stateDir, 'known-nodes.json');
    let app = await mesh.sidecar({ id: 'app', env: { SIDECAR_STATE_DIR: stateDir } });
    await assertServedAtOnce(app, 'alpha');
    expect(await app.stop()).toBe('exit code 0');
    await mesh.bootstrap.kill();
    const good = JSON.parse(readFileSync(file, 'utf8')) as { peers: Record<string, unknown>[] };
    const [peer] = good.peers;
    const strange = { ...peer, key: 'ab'.repeat(32) };
    const elsewhere = { ...peer, key: 'cd'.repeat(32), address: { host: '127.0.0.1', port: 9 } };

    const keptWith = (peers: unknown): string => JSON.stringify({ ...good, nodes: [], peers });
    const isServed: [what: string, write: () => void, served: boolean][] = [
      ['peers alone', () => writeFileSync(file, keptWith([peer])), true],
      ['forged ones too', () => writeFileSync(file, keptWith([strange, elsewhere, peer])), true],
      ['a truncated file', () => truncateSync(file, 100), false],
      ['a huge file', () => truncateSync(file, 3_000_000_000), false],
      ['a pipe', () => void spawnSync('sh', ['-c', 'rm "$0"; mkfifo "$0"', file]), false],
    ];
    for (const [what, write, served] of isServed) {
      write();
      app = await mesh.start({ id: 'app', env: { SIDECAR_STATE_DIR: stateDir } });
      note(what);
      if (served) await assertServedAtOnce(app, 'alpha');
      else expectNamed(codeOf(await app.get('alpha')), what).toBe('discovery_unavailable');
      // Killed, so that it writes nothing.
      await app.process.kill();
    }
  });
});
