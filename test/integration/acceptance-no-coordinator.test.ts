/**
 * No coordinator (the document's test 6): when the bootstrap node is dead, requests go on, and a new worker joins by
 * any other member.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test, { type TestContext } from 'node:test';
import type { HostPort } from '../../sidecar/core/host-port.ts';
import { eventually } from '../support/eventually.ts';
import { startHttpWorker } from '../support/http-worker.ts';
import { TestMesh } from '../support/mesh.ts';

const MAIN = join(import.meta.dirname, '../../sidecar/main.ts');

interface Bootstrap {
  readonly address: HostPort;
  /** As a machine that loses its power. */
  kill(): Promise<void>;
}

/** `dht-sidecar bootstrap`, a process of its own. */
async function startBootstrap(t: TestContext, meshKey: string): Promise<Bootstrap> {
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
  t.after(kill);
  for await (const line of createInterface(child.stdout)) {
    const { address } = JSON.parse(line) as { address?: string };
    if (address === undefined) continue;
    child.stdout.resume();
    const [host, port] = address.split(':');
    return { address: { host: host as string, port: Number(port) }, kill };
  }
  throw new Error('the bootstrap node ended before it listened');
}

test('after discovery the bootstrap node is not needed, not even to join', async (t) => {
  const mesh = new TestMesh(t);
  const bootstrap = await startBootstrap(t, mesh.meshKey);
  const first = await startHttpWorker(t);
  const by = { bootstrap: [bootstrap.address] };
  const gpu = await mesh.join({ id: 'worker-gpu-001', services: { 'llm-inference': first.url }, ...by });
  const cpu = await mesh.join({ id: 'worker-cpu-001', ...by });
  assert.equal((await cpu.get('llm-inference')).status, 200);

  await bootstrap.kill();

  for (let i = 0; i < 20; i++) {
    const answer = await cpu.get('llm-inference');
    assert.equal(answer.status, 200, answer.body);
    assert.equal(answer.headers['sidecar-worker'], 'worker-gpu-001');
  }

  // It knows one other worker, and that one only.
  const second = await startHttpWorker(t);
  await mesh.join({
    id: 'worker-gpu-002',
    services: { 'llm-inference': second.url, 'vision-ocr': second.url },
    bootstrap: [gpu.running.dht],
  });
  // A service that nobody has asked for yet: only a lookup can find it.
  const answer = await cpu.get('vision-ocr');
  assert.equal(answer.status, 200, answer.body);
  assert.equal(answer.headers['sidecar-worker'], 'worker-gpu-002');
  await eventually(
    'the new worker is used for the old service too',
    () => cpu.get('llm-inference'),
    ({ headers }) => headers['sidecar-worker'] === 'worker-gpu-002',
  );
  assert.equal((await cpu.stats()).failed_requests, 0);
});
