/**
 * VPN or tunnel (the document's test 4): the VPN where there is one, else the tunnel; when the VPN fails, the tunnel,
 * once, and no request arrives twice. The tunnel's edge is a stand-in (test/support/edges/tls-edge).
 */
import { describe, expect, test } from '@jest/globals';
import { startTlsEdge, type TlsEdge } from '../support/edges/tls-edge.ts';
import { VpnLink, vpnLinkReason } from '../support/edges/vpn-link.ts';
import { type Member, TestMesh } from '../support/meshes/mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { testUnless } from '../support/runner/test-unless.ts';
import type { Answer } from '../support/wire/http-client.ts';
import { type HttpWorker, startHttpWorker } from '../support/workers/http-worker.ts';

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
async function bed(vpnIp: string | null): Promise<Bed> {
  const mesh = new TestMesh();
  // Somebody must store what a worker without VPN announces.
  await mesh.join({ id: 'first-node' });
  const worker = await startHttpWorker();
  const edge = await startTlsEdge({ delayMs: 15 });
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
  expectNamed(answer.status, answer.body).toBe(200);
  return `${answer.headers['sidecar-route']} after ${answer.headers['sidecar-attempts']}`;
}

function link(gpu: Member): VpnLink {
  const { port } = gpu.running.inbound;
  return new VpnLink({ host: VPN_ADDRESS, port }, { host: '127.0.0.1', port });
}

describe('the choice of VPN or tunnel', () => {
  test('a peer with both is reached by VPN', async () => {
    const made = await bed('127.0.0.1');
    const cpu = await caller(made);
    for (let i = 0; i < 5; i++) expect(routeOf(await post(cpu))).toBe('vpn after 1');
    expect(made.worker.seen).toHaveLength(5);
    expect(made.edge.seen.filter((line) => line.startsWith('POST'))).toStrictEqual([]);
    const [peer] = (await cpu.peers()).filter(({ worker_id }) => worker_id === 'worker-gpu-001');
    expect(peer?.routes.map(({ kind }) => kind)).toStrictEqual(['vpn', 'tunnel']);
  });

  test('a peer without VPN is reached by its tunnel', async () => {
    const made = await bed(null);
    const cpu = await caller(made);
    expect(routeOf(await post(cpu))).toBe('tunnel after 1');
    expect([...made.edge.serverNames]).toStrictEqual(['localhost']);
    expect(made.edge.seen).toContain('POST /service/llm-inference/jobs?x=1');
    const [seen] = made.worker.seen;
    expect(made.worker.seen).toHaveLength(1);
    expect(seen?.target).toBe('/jobs?x=1');
    expect(seen?.body).toBe('do it once');
    expect(seen?.headers['sidecar-auth']).toBe(undefined);
  });

  test('without trust in the CA of the tunnel nothing is sent', async () => {
    const made = await bed(null);
    const cpu = await made.mesh.join({ id: 'worker-cpu-001' });
    const answer = await post(cpu);
    expectNamed(answer.status, answer.body).toBe(502);
    const { code, attempts } = JSON.parse(answer.body) as { code: string; attempts: { reason: string }[] };
    expect(code).toBe('connect_failed');
    expect(attempts[0]?.reason ?? '').toMatch(/certificate/);
    expect(made.edge.seen).toStrictEqual([]);
    expect(made.worker.seen).toHaveLength(0);
  });

  testUnless(vpnLinkReason)(
    'VPN refused: that is known before the first request, and each goes by tunnel',
    async () => {
      const made = await bed(VPN_ADDRESS);
      const cpu = await caller(made, NO_PROBES);
      expect(routeOf(await post(cpu))).toBe('tunnel after 1');
      expectNamed(made.worker.seen, 'it arrived exactly once').toHaveLength(1);
      expectNamed(routeOf(await post(cpu)), 'and so does the next').toBe('tunnel after 1');
      expect(made.worker.seen).toHaveLength(2);
      expect(made.edge.seen.filter((line) => line.startsWith('POST'))).toHaveLength(2);
    },
  );

  testUnless(vpnLinkReason)('VPN refused later: the tunnel, once, and then at once', async () => {
    const made = await bed(VPN_ADDRESS);
    const vpn = link(made.gpu);
    await vpn.carry();
    const cpu = await caller(made, NO_PROBES);
    expect(routeOf(await post(cpu))).toBe('vpn after 1');
    await vpn.refuse();
    expect(routeOf(await post(cpu))).toBe('tunnel after 2');
    expectNamed(made.worker.seen, 'it arrived exactly once').toHaveLength(2);
    expectNamed(routeOf(await post(cpu)), 'the VPN is known to be down').toBe('tunnel after 1');
  });

  testUnless(vpnLinkReason)(
    'VPN gone silent: the tunnel after the connect time-out, then at once',
    async () => {
      const made = await bed(VPN_ADDRESS);
      const vpn = link(made.gpu);
      await vpn.carry();
      const cpu = await caller(made, { ...NO_PROBES, SIDECAR_TIMEOUT_VPN_CONNECT: '300ms' });
      expect(routeOf(await post(cpu))).toBe('vpn after 1');

      await vpn.blackHole();
      const startedMs = performance.now();
      expect(routeOf(await post(cpu))).toBe('tunnel after 2');
      expectNamed(performance.now() - startedMs, 'the time-out had to pass').toBeGreaterThanOrEqual(290);
      expectNamed(made.worker.seen, 'it arrived exactly once').toHaveLength(2);
      const { routes } = (await cpu.knows(['worker-gpu-001'])).find(
        ({ worker_id }) => worker_id === 'worker-gpu-001',
      ) ?? { routes: [] };
      expect(routes.map(({ kind, state }) => `${kind} ${state}`)).toStrictEqual(['vpn down', 'tunnel up']);
      expect(routeOf(await post(cpu))).toBe('tunnel after 1');
      expect(made.worker.seen).toHaveLength(3);
    },
  );

  testUnless(vpnLinkReason)('a probe that sees the VPN again brings the requests back to it', async () => {
    const made = await bed(VPN_ADDRESS);
    const cpu = await caller(made, { SIDECAR_PROBE_FEW_INTERVAL: '100ms' });
    expect(routeOf(await post(cpu))).toMatch(/^tunnel/);
    const vpn = link(made.gpu);
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
    expect(made.worker.seen).toHaveLength(sent);
  });

  test('a tunnel without connector (530) sends the request elsewhere, a POST too', async () => {
    const made = await bed(null);
    const cpu = await caller(made, NO_PROBES);
    expect(routeOf(await post(cpu))).toBe('tunnel after 1');
    made.edge.connector = null;
    const refused = await post(cpu);
    expectNamed(refused.status, refused.body).toBe(502);
    expect(refused.body).toMatch(/530/);
    expect(made.worker.seen).toHaveLength(1);

    const other = await startHttpWorker();
    await made.mesh.join({ id: 'worker-gpu-002', services: { 'llm-inference': other.url } });
    await eventually(
      'the other worker is used',
      () => post(cpu),
      (answer) => answer.headers['sidecar-worker'] === 'worker-gpu-002',
    );
    expect(made.worker.seen).toHaveLength(1);
  });
});
