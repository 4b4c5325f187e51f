/**
 * What `doctor` finds out by itself: whether the workers and the bootstrap nodes of the DHT can be reached.
 *
 * Asked directly and not through the sidecar, which may not run at all. The DHT is asked with a node of its own that
 * only asks, one per address, so that one dead node shows.
 */
import { get } from 'node:http';
import { connect } from 'node:net';
import type { Config, ServiceConfig } from '../config/config.ts';
import type { HostPort } from '../core/host-port.ts';
import { formatHostPort } from '../core/host-port.ts';
import { silentLog } from '../core/log.ts';
import { systemClock } from '../mesh/clock.ts';
import { startDhtNode } from '../mesh/dht/node.ts';
import { openIdentity } from '../mesh/membership/identity.ts';
import type { Check } from './doctor-checks.ts';

const DHT_WAIT_MS = 4_000;
const UDP_ADVICE =
  'Is it running, has it the same mesh key, and does UDP to it pass (firewall, VPN, container network)?';

/** null = well; else what happened. */
function tcpFault(service: ServiceConfig): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = connect({
      host: service.host,
      port: service.port,
      timeout: service.timeouts.workerConnectMs,
    });
    const end = (fault: string | null) => {
      socket.destroy();
      resolve(fault);
    };
    socket.once('connect', () => end(null));
    socket.once('timeout', () => end('does not accept a connection in time'));
    socket.once('error', (error: NodeJS.ErrnoException) =>
      end(`cannot be connected to (${error.code ?? error.message})`),
    );
  });
}

function healthFault(service: ServiceConfig, path: string): Promise<string | null> {
  return new Promise((resolve) => {
    const { host, port, basePath, health } = service;
    const request = get(
      { host, port, path: `${basePath}${path}`, agent: false, timeout: health.timeoutMs },
      (response) => {
        const status = response.statusCode ?? 0;
        resolve(status >= 200 && status < 400 ? null : `answers ${status} to ${path}`);
        response.destroy();
      },
    );
    request.on('timeout', () => request.destroy(new Error('no response in time')));
    request.on('error', (error: NodeJS.ErrnoException) =>
      resolve(`${path} fails (${error.code ?? error.message})`),
    );
  });
}

/** Each service offered here, by its health path or a connection. */
export function checkWorkers(config: Config): Promise<readonly Check[]> {
  return Promise.all(
    config.services.map(async (service): Promise<Check> => {
      const { path } = service.health;
      const fault = path === null ? await tcpFault(service) : await healthFault(service, path);
      if (fault === null)
        return {
          name: 'worker',
          result: 'ok',
          detail: `${service.name} answers at ${service.url}`,
          advice: null,
        };
      return {
        name: 'worker',
        result: 'fail',
        detail: `${service.name} at ${service.url} ${fault}`,
        advice: 'Is the worker running and done with loading, and is the URL right as seen from here?',
      };
    }),
  );
}

/** Each configured bootstrap node, over UDP. */
export async function checkBootstrap(config: Config, nowMs: number): Promise<readonly Check[]> {
  const name = 'bootstrap nodes';
  const { bootstrap } = config.dht;
  if (bootstrap.length === 0) {
    return [{ name, result: 'ok', detail: 'none configured: this sidecar is the first node', advice: null }];
  }
  const { secrets } = openIdentity({
    meshKey: config.mesh.key,
    certBundle: config.mesh.cert,
    workerId: config.worker.id,
    services: [],
    stateDir: null,
    nowMs,
  });
  return Promise.all(bootstrap.map((node) => checkNode(name, node, secrets.packetKey, config.dht.maxAgeMs)));
}

async function checkNode(
  name: string,
  target: HostPort,
  packetKey: Buffer,
  maxAgeMs: number,
): Promise<Check> {
  try {
    return await askNode(name, target, packetKey, maxAgeMs);
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error);
    return { name, result: 'fail', detail, advice: 'Can this process open UDP sockets?' };
  }
}

async function askNode(name: string, target: HostPort, packetKey: Buffer, maxAgeMs: number): Promise<Check> {
  const address = formatHostPort(target);
  const node = await startDhtNode({
    role: 'client',
    host: '0.0.0.0',
    port: 0,
    preferredPort: null,
    bootstrap: [target],
    knownNodes: [],
    packetKey,
    maxAgeMs,
    clock: systemClock,
    log: silentLog,
  });
  try {
    await new Promise<void>((resolve) => {
      const cancel = systemClock.after(DHT_WAIT_MS, resolve);
      const settle = () => {
        if (node.status().kind !== 'connected') return;
        cancel();
        resolve();
      };
      node.onStatus(settle);
      settle();
    });
    const status = node.status();
    if (status.kind === 'connected')
      return { name, result: 'ok', detail: `${address} answers over UDP`, advice: null };
    return { name, result: 'fail', detail: `${address} does not answer over UDP`, advice: UDP_ADVICE };
  } finally {
    await node.destroy();
  }
}
