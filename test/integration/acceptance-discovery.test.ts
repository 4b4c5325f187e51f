/** Discovery (the document's test 1): a request for a service that runs elsewhere reaches it by VPN address. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { startHttpWorker } from '../support/http-worker.ts';
import { TestMesh } from '../support/mesh.ts';

/** Linux has all of 127.0.0.0/8 as its own; elsewhere there is one loopback address. */
const [GPU_IP, CPU_IP] =
  process.platform === 'linux' ? ['127.0.0.10', '127.0.0.20'] : ['127.0.0.1', '127.0.0.1'];

test('a CPU worker reaches llm-inference on a GPU worker by VPN address', async (t) => {
  const mesh = new TestMesh(t);
  const llm = await startHttpWorker(t);
  const notes = await startHttpWorker(t);
  const gpu = await mesh.join({
    id: 'worker-gpu-001',
    vpnIp: GPU_IP,
    services: { 'llm-inference': llm.url },
    env: { SIDECAR_CAPABILITIES: 'has_gpu=true,gpu_type=RTX 4090,worker_type=gpu' },
  });
  const cpu = await mesh.join({ id: 'worker-cpu-001', vpnIp: CPU_IP, services: { 'notes-coa': notes.url } });

  const body = '{"prompt":"Hello, world!"}';
  const answer = await cpu.call({
    method: 'POST',
    target: '/service/llm-inference/v1/chat?a=%20b',
    headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
    body,
  });

  assert.equal(answer.status, 200, answer.body);
  assert.equal(answer.headers['sidecar-worker'], 'worker-gpu-001');
  assert.equal(answer.headers['sidecar-route'], 'vpn');
  assert.equal(answer.headers['sidecar-attempts'], '1');
  assert.equal(llm.seen.length, 1);
  const [seen] = llm.seen;
  assert.equal(seen?.method, 'POST');
  assert.equal(seen?.target, '/v1/chat?a=%20b');
  assert.equal(seen?.body, body);
  assert.equal(seen?.headers.via, '1.1 worker-cpu-001-outbound, 1.1 worker-gpu-001-inbound');
  // The second sidecar says by which address it was called.
  const { host, port } = gpu.running.inbound;
  assert.equal(host, GPU_IP);
  assert.match(
    seen?.headers.forwarded ?? '',
    new RegExp(`by=_worker-gpu-001-inbound;host="${host}:${port}";proto=http$`),
  );
  assert.equal(notes.seen.length, 0);

  const [peer] = await cpu.peers();
  assert.equal(peer?.worker_id, 'worker-gpu-001');
  // Without what a probe measures there, if one was needed by now.
  const address = `http://${host}:${port}`;
  assert.partialDeepStrictEqual(peer?.routes, [{ kind: 'vpn', address, state: 'up', last_fault: null }]);
  assert.equal(peer?.routes.length, 1);
});

test('its own worker is served without the mesh', async (t) => {
  const mesh = new TestMesh(t);
  const notes = await startHttpWorker(t);
  const cpu = await mesh.join({ id: 'worker-cpu-001', services: { 'notes-coa': notes.url } });
  const answer = await cpu.get('notes-coa', '/list');
  assert.equal(answer.status, 200, answer.body);
  assert.equal(answer.headers['sidecar-route'], 'local');
  assert.equal(answer.headers['sidecar-worker'], 'worker-cpu-001');
  assert.equal(notes.seen[0]?.target, '/list');
});
