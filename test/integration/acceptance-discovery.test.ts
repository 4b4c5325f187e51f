/** Discovery (the document's test 1): a request for a service that runs elsewhere reaches it by VPN address. */
import { describe, expect, test } from '@jest/globals';
import { TestMesh } from '../support/meshes/mesh.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { startHttpWorker } from '../support/workers/http-worker.ts';

/** Linux has all of 127.0.0.0/8 as its own; elsewhere there is one loopback address. */
const [GPU_IP, CPU_IP] =
  process.platform === 'linux' ? ['127.0.0.10', '127.0.0.20'] : ['127.0.0.1', '127.0.0.1'];

describe('discovering a service', () => {
  test('a CPU worker reaches llm-inference on a GPU worker by VPN address', async () => {
    const mesh = new TestMesh();
    const llm = await startHttpWorker();
    const notes = await startHttpWorker();
    const gpu = await mesh.join({
      id: 'worker-gpu-001',
      vpnIp: GPU_IP,
      services: { 'llm-inference': llm.url },
      env: { SIDECAR_CAPABILITIES: 'has_gpu=true,gpu_type=RTX 4090,worker_type=gpu' },
    });
    const cpu = await mesh.join({
      id: 'worker-cpu-001',
      vpnIp: CPU_IP,
      services: { 'notes-coa': notes.url },
    });

    const body = '{"prompt":"Hello, world!"}';
    const answer = await cpu.call({
      method: 'POST',
      target: '/service/llm-inference/v1/chat?a=%20b',
      headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
      body,
    });

    expectNamed(answer.status, answer.body).toBe(200);
    expect(answer.headers['sidecar-worker']).toBe('worker-gpu-001');
    expect(answer.headers['sidecar-route']).toBe('vpn');
    expect(answer.headers['sidecar-attempts']).toBe('1');
    expect(llm.seen).toHaveLength(1);
    const [seen] = llm.seen;
    expect(seen?.method).toBe('POST');
    expect(seen?.target).toBe('/v1/chat?a=%20b');
    expect(seen?.body).toBe(body);
    expect(seen?.headers.via).toBe('1.1 worker-cpu-001-outbound, 1.1 worker-gpu-001-inbound');
    // The second sidecar says by which address it was called.
    const { host, port } = gpu.running.inbound;
    expect(host).toBe(GPU_IP);
    expect(seen?.headers.forwarded ?? '').toMatch(
      new RegExp(`by=_worker-gpu-001-inbound;host="${host}:${port}";proto=http$`),
    );
    expect(notes.seen).toHaveLength(0);

    const [peer] = await cpu.peers();
    expect(peer?.worker_id).toBe('worker-gpu-001');
    // Without what a probe measures there, if one was needed by now.
    const address = `http://${host}:${port}`;
    expect(peer?.routes).toMatchObject([{ kind: 'vpn', address, state: 'up', last_fault: null }]);
    expect(peer?.routes).toHaveLength(1);
  });

  test('its own worker is served without the mesh', async () => {
    const mesh = new TestMesh();
    const notes = await startHttpWorker();
    const cpu = await mesh.join({ id: 'worker-cpu-001', services: { 'notes-coa': notes.url } });
    const answer = await cpu.get('notes-coa', '/list');
    expectNamed(answer.status, answer.body).toBe(200);
    expect(answer.headers['sidecar-route']).toBe('local');
    expect(answer.headers['sidecar-worker']).toBe('worker-cpu-001');
    expect(notes.seen[0]?.target).toBe('/list');
  });
});
