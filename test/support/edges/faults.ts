/**
 * Faults as they happen in a fleet, each made for real between an app's sidecar and a worker's: what the app then
 * sends through its own sidecar meets it.
 *
 * Whole sidecars in this process on real sockets; every one ends with its test.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer as createTlsServer } from 'node:https';
import net from 'node:net';
import type { HostPort } from '../../../sidecar/core/host-port.ts';
import { createBundle } from '../../../sidecar/mesh/membership/certificate-bundle.ts';
import { fromMeshKey } from '../../../sidecar/mesh/membership/mesh-keys.ts';
import { type Member, type MemberOptions, TestMesh } from '../meshes/mesh.ts';
import { eventually } from '../runner/eventually.ts';
import { onTestEnd } from '../runner/on-test-end.ts';
import type { Sent } from '../wire/http-client.ts';
import { type HttpWorker, startHttpWorker } from '../workers/http-worker.ts';
import { startTlsEdge } from './tls-edge.ts';
import { VpnLink } from './vpn-link.ts';
import { createCa } from './x509.ts';

export const SERVICE = 'llm-inference';

/** The app's sidecar, and what the app sends; by default GET of the service. */
export interface Faulty {
  readonly app: Member;
  readonly sent?: Sent;
}

type Env = Readonly<Record<string, string>>;
/** No news but from requests: what a caller believes stays wrong until a request shows it. */
const NO_PROBES: Env = { SIDECAR_PROBE_FEW_INTERVAL: '10m' };
const TO_SERVICE: Sent = { target: `/service/${SERVICE}/x` };

interface Fleet {
  readonly mesh: TestMesh;
  readonly gpu: Member;
  readonly app: Member;
}

/** A node that stays, gpu-1 with this worker, and an app. */
async function fleet(
  url: string | Readonly<Record<string, unknown>>,
  {
    gpu: gpuOptions = {},
    app: appOptions = {},
  }: { gpu?: Partial<MemberOptions>; app?: Partial<MemberOptions> } = {},
): Promise<Fleet> {
  const mesh = new TestMesh();
  await mesh.join({ id: 'first' });
  const service = typeof url === 'string' ? url : { ...url };
  const gpu = await mesh.join({ id: 'gpu-1', services: { [SERVICE]: service }, ...gpuOptions });
  const app = await mesh.join({ id: 'app-1', ...appOptions });
  return { mesh, gpu, app };
}

async function listening(server: net.Server, at: Partial<HostPort> = {}): Promise<number> {
  server.listen(at.port ?? 0, at.host ?? '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as net.AddressInfo).port;
}

/** Accepts, and never says a word. */
async function startSilent(at: Partial<HostPort> = {}): Promise<{ port: number; die(): void }> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket.on('error', () => {}));
  });
  const die = (): void => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  onTestEnd(die);
  return { port: await listening(server, at), die };
}

export async function nobodyOffers(asked: string): Promise<Faulty> {
  const { app } = await fleet((await startHttpWorker()).url);
  await app.knows(['gpu-1']);
  return { app, sent: { target: `/service/${asked}/x` } };
}

export async function noServiceNamed(): Promise<Faulty> {
  const mesh = new TestMesh();
  return { app: await mesh.start({ id: 'app-1' }), sent: { target: `/${SERVICE}/x` } };
}

/** The worker hands what it gets back to the sidecar that it came from. */
export async function loop(): Promise<Faulty> {
  const mesh = new TestMesh();
  const app = await mesh.start({ id: 'app-1' });
  return { app, sent: { ...TO_SERVICE, headers: { via: '1.1 app-1-outbound' } } };
}

export async function workerDead(): Promise<Faulty> {
  const worker = await startSilent();
  const url = `http://127.0.0.1:${worker.port}`;
  const { app } = await fleet({ url, health: { interval: '10m' } });
  await app.knows(['gpu-1']);
  worker.die();
  return { app };
}

export async function workerDeadForAWhile(): Promise<Faulty> {
  const faulty = await workerDead();
  await faulty.app.call(TO_SERVICE);
  await whyNotReady(faulty.app, /"why_not_ready":"warming[^"]*ECONNREFUSED/);
  return faulty;
}

export async function workerWarming(): Promise<Faulty> {
  const mesh = new TestMesh();
  const worker: HttpWorker = await startHttpWorker();
  worker.isHealthy = false;
  const services = { [SERVICE]: { url: worker.url, health: { path: '/health' } } };
  const gpu = await mesh.start({ id: 'gpu-1', services });
  await gpu.isAnnounced();
  const app = await mesh.join({ id: 'app-1' });
  await app.call(TO_SERVICE);
  await whyNotReady(app, /"why_not_ready":"warming[^"]*503/);
  return { app };
}

/** Resolves when the sidecar has been told why its peer is not ready. */
async function whyNotReady(app: Member, why: RegExp): Promise<void> {
  await eventually(
    `why gpu-1 is not ready: ${why}`,
    async () => (await app.admin('/peers')).body,
    (body) => why.test(body),
  );
}

export async function workerHangs(sent: Sent = TO_SERVICE, env: Env = {}): Promise<Faulty> {
  const worker = await startSilent();
  const { app } = await fleet(
    { url: `http://127.0.0.1:${worker.port}`, health: { interval: '10m' } },
    { app: { env } },
  );
  return { app, sent };
}

export async function sidecarGone(): Promise<Faulty> {
  const { app, gpu } = await fleet((await startHttpWorker()).url, { app: { env: NO_PROBES } });
  await app.call(TO_SERVICE);
  await gpu.running.stop();
  return { app };
}

/** A sidecar behind a VPN address that the test can break, called once. */
async function linked(host: string, gpu: Env, app: Partial<MemberOptions>) {
  const free = net.createServer();
  const port = await listening(free);
  free.close();
  await once(free, 'close');
  const link = new VpnLink({ host, port }, { host: '127.0.0.1', port });
  await link.carry();
  const env = {
    SIDECAR_VPN_IP: host,
    SIDECAR_INBOUND: `127.0.0.1:${port}`,
    SIDECAR_DHT_LISTEN: '127.0.0.1:0',
  };
  const made = await fleet((await startHttpWorker()).url, {
    gpu: { env: { ...env, ...gpu } },
    app: { ...app, env: { ...NO_PROBES, ...app.env } },
  });
  await made.app.call(TO_SERVICE);
  return { ...made, link };
}

/** Its host lives and its process is stopped: connections are taken by the kernel, and nothing is said. */
export async function sidecarHangs(): Promise<Faulty> {
  const { app, link } = await linked('127.0.0.3', {}, { env: { SIDECAR_TIMEOUT_HEAD: '2s' } });
  await link.refuse();
  await startSilent(link.at);
  return { app };
}

export async function vpnBlackHoled(): Promise<Faulty> {
  const { app, link } = await linked('127.0.0.4', {}, {});
  await link.blackHole();
  return { app };
}

/** And a tunnel leads to the same worker. */
export async function vpnBlackHoledWithTunnel(): Promise<Faulty> {
  const edge = await startTlsEdge({ delayMs: 0 });
  const { app, link, gpu } = await linked(
    '127.0.0.6',
    { SIDECAR_TUNNEL_URL: edge.url },
    { files: { '/ca.pem': edge.ca }, env: { SIDECAR_TUNNEL_CA: '/ca.pem' } },
  );
  edge.connector = gpu.running.inbound;
  await link.blackHole();
  return { app };
}

export async function vpnRefused(): Promise<Faulty> {
  const { app, link } = await linked('127.0.0.5', {}, {});
  await link.refuse();
  return { app };
}

/** What stands at the public name of the tunnel: its own status, a certificate of another name, or nothing. */
export async function tunnelFails(how: number | 'wrong_name' | 'refuses'): Promise<Faulty> {
  const ca = createCa();
  const issued = ca.issue(how === 'wrong_name' ? 'other.example' : 'localhost');
  const server = createTlsServer(issued, (_request, response) => {
    response.writeHead(typeof how === 'number' ? how : 200).end('of the edge');
  });
  const SIDECAR_TUNNEL_URL = `https://localhost:${await listening(server)}`;
  const end = (): void => {
    server.close();
    server.closeAllConnections();
  };
  onTestEnd(end);
  const { app } = await fleet((await startHttpWorker()).url, {
    gpu: { vpnIp: null, env: { SIDECAR_TUNNEL_URL } },
    app: { files: { '/ca.pem': ca.cert }, env: { ...NO_PROBES, SIDECAR_TUNNEL_CA: '/ca.pem' } },
  });
  if (how === 'refuses') end();
  return { app };
}

export async function noRouteFromHere(): Promise<Faulty> {
  const { app } = await fleet((await startHttpWorker()).url, { app: { vpnIp: null } });
  return { app };
}

/** A worker that holds the first request until the test ends. */
async function busy(gpu: Env, service: Readonly<Record<string, unknown>>): Promise<Fleet> {
  let release: (() => void) | null = null;
  const worker = await startHttpWorker({
    answer: (_seen, response) => {
      if (release === null) release = () => response.end();
      else response.end();
    },
  });
  const made = await fleet({ url: worker.url, ...service }, { gpu: { env: gpu }, app: { env: NO_PROBES } });
  const first = made.app.call(TO_SERVICE);
  onTestEnd(async () => {
    release?.();
    await first;
  });
  await eventually(
    'the worker is busy',
    () => worker.seen.length,
    (seen) => seen > 0,
  );
  return made;
}

export async function saturated(): Promise<Faulty> {
  return await busy({}, { concurrency: 1, queue: 0 });
}

/** Past the time in which it still takes requests, with one that runs. */
export async function draining(): Promise<Faulty> {
  const { app, gpu } = await busy({ SIDECAR_DRAIN_ACCEPT: '10ms' }, {});
  const cut = new AbortController();
  const drained = gpu.running.drain(cut.signal);
  onTestEnd(async () => {
    cut.abort();
    await drained;
  });
  await eventually(
    'gpu-1 takes no more requests',
    () => app.call(TO_SERVICE),
    ({ status }) => status === 503,
  );
  return { app };
}

/** The configuration of tests is read at a fixed date (config-input); the certificate holds then and now. */
export async function notAllowed(): Promise<Faulty> {
  const { mesh } = await fleet((await startHttpWorker()).url);
  const SIDECAR_CERT = createBundle(fromMeshKey(Buffer.from(mesh.meshKey, 'hex')), {
    workerId: 'app-2',
    offers: [],
    calls: ['vision-ocr'],
    days: 3_650,
    nowSeconds: Date.UTC(2025, 0, 1) / 1000,
  });
  return { app: await mesh.join({ id: 'app-2', env: { SIDECAR_MESH_KEY: '', SIDECAR_CERT } }) };
}

const QUICK: Env = { SIDECAR_FIRST_LOOKUP_WAIT: '300ms' };

export async function otherMeshKey(): Promise<Faulty> {
  const mesh = new TestMesh();
  await mesh.join({ id: 'first' });
  return { app: await mesh.start({ id: 'app-1', meshKey: '0123456789abcdef'.repeat(4), env: QUICK }) };
}

export async function bootstrapDead(): Promise<Faulty> {
  const mesh = new TestMesh();
  const bootstrap = [{ host: '127.0.0.1', port: 1 }];
  return { app: await mesh.start({ id: 'app-1', bootstrap, env: QUICK }) };
}

/** Somebody is there, and no datagram ever comes back. */
export async function udpBlocked(): Promise<Faulty> {
  const hole = createSocket('udp4');
  hole.bind(0, '127.0.0.1');
  await once(hole, 'listening');
  onTestEnd(() => hole.close());
  const mesh = new TestMesh();
  const bootstrap = [{ host: '127.0.0.1', port: hole.address().port }];
  return { app: await mesh.start({ id: 'app-1', bootstrap, env: QUICK }) };
}

/** A worker that breaks the connection once it has the request. */
export async function workerCrashes(sent: Sent, env: Env = {}): Promise<Faulty> {
  const worker = await startHttpWorker({ answer: (_seen, response) => response.destroy() });
  const { app } = await fleet(worker.url, { app: { env } });
  return { app, sent };
}

/** So often that its caller would leave it out if there were another. */
export async function workerKeepsCrashing(): Promise<Faulty> {
  const { app } = await workerCrashes(TO_SERVICE);
  for (let i = 0; i < 6; i++) await app.call(TO_SERVICE);
  return { app };
}
