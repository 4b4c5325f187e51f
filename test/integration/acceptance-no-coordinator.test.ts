/**
 * No coordinator (the document's test 6): when the bootstrap node is dead, requests go on, and a new worker joins by
 * any other member.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, test } from '@jest/globals';
import type { HostPort } from '../../sidecar/core/host-port.ts';
import { TestMesh } from '../support/meshes/mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { startHttpWorker } from '../support/workers/http-worker.ts';

const MAIN = join(import.meta.dirname, '../../sidecar/main.ts');

interface Bootstrap {
  readonly address: HostPort;
  /** As a machine that loses its power. */
  kill(): Promise<void>;
}

/** `dht-sidecar bootstrap`, a process of its own. */
async function startBootstrap(meshKey: string): Promise<Bootstrap> {
  const child = spawn(process.execPath, [MAIN, 'bootstrap'], {
    env: {
      PATH: process.env.PATH,
      SIDECAR_MESH_KEY: meshKey,
      SIDECAR_WORKER_ID: 'lighthouse',
      SIDECAR_VPN_IP: 'none',
      SIDECAR_DHT_LISTEN: '127.0.0.1:0',
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const kill = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  };
  onTestEnd(kill);
  for await (const line of createInterface(child.stdout)) {
    const { address } = JSON.parse(line) as { address?: string };
    if (address === undefined) continue;
    child.stdout.resume();
    const [host, port] = address.split(':');
    return { address: { host: host as string, port: Number(port) }, kill };
  }
  throw new Error('the bootstrap node ended before it listened');
}

describe('a mesh without its bootstrap node', () => {
  test('after discovery the bootstrap node is not needed, not even to join', async () => {
    const mesh = new TestMesh();
    const bootstrap = await startBootstrap(mesh.meshKey);
    const first = await startHttpWorker();
    const by = { bootstrap: [bootstrap.address] };
    const gpu = await mesh.join({ id: 'worker-gpu-001', services: { 'llm-inference': first.url }, ...by });
    const cpu = await mesh.join({ id: 'worker-cpu-001', ...by });
    expect((await cpu.get('llm-inference')).status).toBe(200);

    await bootstrap.kill();

    for (let i = 0; i < 20; i++) {
      const answer = await cpu.get('llm-inference');
      expectNamed(answer.status, answer.body).toBe(200);
      expect(answer.headers['sidecar-worker']).toBe('worker-gpu-001');
    }

    // It knows one other worker, and that one only.
    const second = await startHttpWorker();
    await mesh.join({
      id: 'worker-gpu-002',
      services: { 'llm-inference': second.url, 'vision-ocr': second.url },
      bootstrap: [gpu.running.dht],
    });
    // A service that nobody has asked for yet: only a lookup can find it.
    const answer = await cpu.get('vision-ocr');
    expectNamed(answer.status, answer.body).toBe(200);
    expect(answer.headers['sidecar-worker']).toBe('worker-gpu-002');
    await eventually(
      'the new worker is used for the old service too',
      () => cpu.get('llm-inference'),
      ({ headers }) => headers['sidecar-worker'] === 'worker-gpu-002',
    );
    expect((await cpu.stats()).failed_requests).toBe(0);
  });
});
