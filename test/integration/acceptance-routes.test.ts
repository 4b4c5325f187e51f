/**
 * VPN or tunnel (the document's test 4): the VPN where there is one, else the tunnel; when the VPN fails, the tunnel,
 * once, and no request arrives twice. The tunnel's edge is a stand-in (test/support/tls-edge).
 */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { eventually } from '../support/eventually.ts';
import type { Answer } from '../support/http-client.ts';
import { type HttpWorker, startHttpWorker } from '../support/http-worker.ts';
import { type Member, TestMesh } from '../support/mesh.ts';
import { startTlsEdge, type TlsEdge } from '../support/tls-edge.ts';
import { skipVpnLink, VpnLink } from '../support/vpn-link.ts';

const CA_FILE = '/edge-ca.pem';
const VPN_ADDRESS = '127.0.0.2';

/** The prober would find a broken route before the request does. */
const NO_PROBES = { SIDECAR_PROBE_FEW_INTERVAL: '10m' };

interface Bed {
  readonly mesh: TestMesh;
  readonly worker: HttpWorker;
  readonly edge: TlsEdge;
  readonly gpu: Member;
}

/** A worker that is reached by its tunnel, and advertises `vpnIp` as well. */
async function bed(t: TestContext, vpnIp: string | null): Promise<Bed> {
  const mesh = new TestMesh(t);
  // Somebody must store what a worker without VPN announces.
  await mesh.join({ id: 'first-node' });
  const worker = await startHttpWorker(t);
  const edge = await startTlsEdge(t, { delayMs: 15 });
  const gpu = await mesh.join({
    id: 'worker-gpu-001',
    vpnIp,
    services: { 'llm-inference': worker.url },
    env: { SIDECAR_TUNNEL_URL: edge.url, SIDECAR_INBOUND: '127.0.0.1:0' },
  });
  edge.connector = gpu.running.inbound;
  return { mesh, worker, edge, gpu };
}

function caller({ mesh, edge }: Bed, env: Record<string, string> = {}): Promise<Member> {
  return mesh.join({
    id: 'worker-cpu-001',
    env: { SIDECAR_TUNNEL_CA: CA_FILE, ...env },
    files: { [CA_FILE]: edge.ca },
  });
}

/** Not idempotent: sent twice it would be done twice. */
function post(member: Member): Promise<Answer> {
  return member.call({ method: 'POST', target: '/service/llm-inference/jobs?x=1', body: 'do it once' });
}

function routeOf(answer: Answer): string {
  assert.equal(answer.status, 200, answer.body);
  return `${answer.headers['sidecar-route']} after ${answer.headers['sidecar-attempts']}`;
}

function link(t: TestContext, gpu: Member): VpnLink {
  const { port } = gpu.running.inbound;
  return new VpnLink(t, { host: VPN_ADDRESS, port }, { host: '127.0.0.1', port });
}

test('a peer with both is reached by VPN', async (t) => {
  const made = await bed(t, '127.0.0.1');
  const cpu = await caller(made);
  for (let i = 0; i < 5; i++) assert.equal(routeOf(await post(cpu)), 'vpn after 1');
  assert.equal(made.worker.seen.length, 5);
  assert.deepEqual(
    made.edge.seen.filter((line) => line.startsWith('POST')),
    [],
  );
  const [peer] = (await cpu.peers()).filter(({ worker_id }) => worker_id === 'worker-gpu-001');
  assert.deepEqual(
    peer?.routes.map(({ kind }) => kind),
    ['vpn', 'tunnel'],
  );
});

test('a peer without VPN is reached by its tunnel', async (t) => {
  const made = await bed(t, null);
  const cpu = await caller(made);
  assert.equal(routeOf(await post(cpu)), 'tunnel after 1');
  assert.deepEqual([...made.edge.serverNames], ['localhost']);
  assert.ok(made.edge.seen.includes('POST /service/llm-inference/jobs?x=1'));
  const [seen] = made.worker.seen;
  assert.equal(made.worker.seen.length, 1);
  assert.equal(seen?.target, '/jobs?x=1');
  assert.equal(seen?.body, 'do it once');
  assert.equal(seen?.headers['sidecar-auth'], undefined);
});

test('without trust in the CA of the tunnel nothing is sent', async (t) => {
  const made = await bed(t, null);
  const cpu = await made.mesh.join({ id: 'worker-cpu-001' });
  const answer = await post(cpu);
  assert.equal(answer.status, 502, answer.body);
  const { code, attempts } = JSON.parse(answer.body) as { code: string; attempts: { reason: string }[] };
  assert.equal(code, 'connect_failed');
  assert.match(attempts[0]?.reason ?? '', /certificate/);
  assert.deepEqual(made.edge.seen, []);
  assert.equal(made.worker.seen.length, 0);
});

test('VPN refused: the tunnel, once, and then at once', { skip: skipVpnLink }, async (t) => {
  const made = await bed(t, VPN_ADDRESS);
  const cpu = await caller(made, NO_PROBES);
  assert.equal(routeOf(await post(cpu)), 'tunnel after 2');
  assert.equal(made.worker.seen.length, 1, 'it arrived exactly once');
  assert.equal(routeOf(await post(cpu)), 'tunnel after 1', 'the VPN is known to be down');
  assert.equal(made.worker.seen.length, 2);
  assert.equal(made.edge.seen.filter((line) => line.startsWith('POST')).length, 2);
});

test('VPN gone silent: the tunnel after the connect time-out, then at once', {
  skip: skipVpnLink,
}, async (t) => {
  const made = await bed(t, VPN_ADDRESS);
  const vpn = link(t, made.gpu);
  await vpn.carry();
  const cpu = await caller(made, { ...NO_PROBES, SIDECAR_TIMEOUT_VPN_CONNECT: '300ms' });
  assert.equal(routeOf(await post(cpu)), 'vpn after 1');

  await vpn.blackHole();
  const startedMs = performance.now();
  assert.equal(routeOf(await post(cpu)), 'tunnel after 2');
  assert.ok(performance.now() - startedMs >= 290, 'the time-out had to pass');
  assert.equal(made.worker.seen.length, 2, 'it arrived exactly once');
  const { routes } = (await cpu.knows(['worker-gpu-001'])).find(
    ({ worker_id }) => worker_id === 'worker-gpu-001',
  ) ?? { routes: [] };
  assert.deepEqual(
    routes.map(({ kind, state }) => `${kind} ${state}`),
    ['vpn down', 'tunnel up'],
  );
  assert.equal(routeOf(await post(cpu)), 'tunnel after 1');
  assert.equal(made.worker.seen.length, 3);
});

test('a probe that sees the VPN again brings the requests back to it', { skip: skipVpnLink }, async (t) => {
  const made = await bed(t, VPN_ADDRESS);
  const cpu = await caller(made, { SIDECAR_PROBE_FEW_INTERVAL: '100ms' });
  assert.match(routeOf(await post(cpu)), /^tunnel/);
  const vpn = link(t, made.gpu);
  await vpn.carry();
  let sent = 1;
  await eventually(
    'a request by VPN',
    () => {
      sent += 1;
      return post(cpu);
    },
    (answer) => routeOf(answer) === 'vpn after 1',
  );
  assert.equal(made.worker.seen.length, sent);
});

test('a tunnel without connector (530) sends the request elsewhere, a POST too', async (t) => {
  const made = await bed(t, null);
  const cpu = await caller(made, NO_PROBES);
  assert.equal(routeOf(await post(cpu)), 'tunnel after 1');
  made.edge.connector = null;
  const refused = await post(cpu);
  assert.equal(refused.status, 502, refused.body);
  assert.match(refused.body, /530/);
  assert.equal(made.worker.seen.length, 1);

  const other = await startHttpWorker(t);
  await made.mesh.join({ id: 'worker-gpu-002', services: { 'llm-inference': other.url } });
  await eventually(
    'the other worker is used',
    () => post(cpu),
    (answer) => answer.headers['sidecar-worker'] === 'worker-gpu-002',
  );
  assert.equal(made.worker.seen.length, 1);
});
