/**
 * Two sidecars and a worker as processes of their own, for benches that read their memory or time their start.
 *
 * Processes, because the memory of one sidecar can only be told in a process of its own. Loopback only; everything
 * is ended by `stop`. It must not measure anything.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { fileURLToPath } from 'node:url';

export interface SidecarProcess {
  readonly child: ChildProcess;
  readonly outbound: string;
  readonly admin: string;
  readonly dht: string;
  /** Resident set in MB, now. */
  rssMb(): number;
}

export interface Bed {
  /** The port of the worker, given by the caller, is offered as `bench` by the second sidecar. */
  readonly app: SidecarProcess;
  readonly worker: SidecarProcess;
  startSidecar(env: Record<string, string>): Promise<SidecarProcess>;
  stop(): Promise<void>;
}

const MAIN = fileURLToPath(new URL('../../sidecar/main.ts', import.meta.url));

export async function startBed(workerUrl: string): Promise<Bed> {
  const meshKey = randomBytes(32).toString('hex');
  const children: ChildProcess[] = [];
  const startSidecar = async (env: Record<string, string>): Promise<SidecarProcess> => {
    const [outbound, inbound, admin, dht] = await Promise.all([
      freePort(),
      freePort(),
      freePort(),
      freePort(),
    ]);
    const child = spawn(process.execPath, [MAIN], {
      env: {
        PATH: process.env.PATH ?? '',
        SIDECAR_MESH_KEY: meshKey,
        SIDECAR_VPN_IP: '127.0.0.1',
        SIDECAR_VPN_CIDR: '127.0.0.0/8',
        SIDECAR_OUTBOUND: `127.0.0.1:${outbound}`,
        SIDECAR_INBOUND: `127.0.0.1:${inbound}`,
        SIDECAR_ADMIN: `127.0.0.1:${admin}`,
        SIDECAR_DHT_LISTEN: `127.0.0.1:${dht}`,
        SIDECAR_LOG_LEVEL: 'warn',
        ...env,
      },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    children.push(child);
    await until(async () => (await fetch(`http://127.0.0.1:${admin}/livez`)).ok);
    return {
      child,
      outbound: `http://127.0.0.1:${outbound}`,
      admin: `http://127.0.0.1:${admin}`,
      dht: `127.0.0.1:${dht}`,
      rssMb: () => rssMb(child.pid ?? 0),
    };
  };
  const worker = await startSidecar({
    SIDECAR_WORKER_ID: 'bench-worker',
    SIDECAR_SERVICES: `bench=${workerUrl}`,
  });
  const app = await startSidecar({ SIDECAR_WORKER_ID: 'bench-app', SIDECAR_BOOTSTRAP: worker.dht });
  await until(async () => (await fetch(`${app.outbound}/service/bench/`)).ok);
  return {
    app,
    worker,
    startSidecar,
    async stop() {
      await Promise.all(
        children.map((child) => {
          if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
          const gone = new Promise((resolve) => child.once('exit', resolve));
          child.kill('SIGKILL');
          return gone;
        }),
      );
    },
  };
}

/** Tries until it is true. */
export async function until(isTrue: () => Promise<boolean>, limitMs = 10_000): Promise<void> {
  const endMs = performance.now() + limitMs;
  for (;;) {
    if (await isTrue().catch(() => false)) return;
    if (performance.now() > endMs) throw new Error(`not ready within ${limitMs / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function rssMb(pid: number): number {
  const line = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(line?.[1]) / 1024;
}

export async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
