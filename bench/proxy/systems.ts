/**
 * What is compared: each system as one hop and as two hops in front of the same origin, started and ended here.
 *
 * One hop of ours is a sidecar with the worker beside it, two hops are the sidecar of an app and that of a worker: they
 * find each other and prove their membership as in a fleet. Of the others two hops are one in front of the other.
 */
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort, until } from '../support/two-sidecars.ts';
import { haproxyConf, nginxConf } from './proxy-conf.ts';
import { findProgram, type Started, type Workbench } from './workbench.ts';

export const SYSTEM_NAMES = ['direct', 'nginx', 'haproxy', 'http-proxy', 'sidecar'] as const;

export type SystemName = (typeof SYSTEM_NAMES)[number];

/** 0 is direct. */
export type Hops = 0 | 1 | 2;

export interface Variant {
  readonly name: SystemName;
  readonly hops: Hops;
}

export interface System extends Variant {
  /** Where the generator sends to, and what stands before each path. */
  readonly port: number;
  readonly prefix: string;
  /** Its processes in the order of the hops, with what each is. */
  readonly parts: readonly { readonly name: string; readonly pid: number }[];
  stop(): Promise<void>;
}

export interface Origin {
  readonly port: number;
  readonly pid: number;
}

export interface SystemPlace {
  readonly bench: Workbench;
  readonly origin: Origin;
  /** The main module of the production build. */
  readonly sidecarMain: string;
}

const SERVICE = 'bench';
const PREFIX = `/service/${SERVICE}`;
const READY_PATH = '/bytes/100';
const READY_LIMIT_MS = 30_000;
const HTTP_PROXY_SERVER = fileURLToPath(new URL('./http-proxy-server.mjs', import.meta.url));

/** `env` is given to sidecars: a probe. */
export async function startSystem(
  variant: Variant,
  place: SystemPlace,
  env: Record<string, string> = {},
): Promise<System> {
  const { name, hops } = variant;
  if (name === 'direct') {
    return { ...variant, port: place.origin.port, prefix: '', parts: [], stop: async () => {} };
  }
  if (name === 'sidecar') return await (hops === 1 ? oneSidecar(place, env) : twoSidecars(place, env));
  const hopOf = (targetPort: number): Promise<Hop> => startProxy(name, targetPort, place.bench);
  const last = await hopOf(place.origin.port);
  if (hops === 1) return { ...variant, ...assembled([last], [name], '') };
  const first = await hopOf(last.port);
  return { ...variant, ...assembled([first, last], ['first', 'second'], '') };
}

interface Hop {
  readonly port: number;
  readonly started: Started;
}

function assembled(
  hops: readonly Hop[],
  names: readonly string[],
  prefix: string,
): Pick<System, 'port' | 'prefix' | 'parts' | 'stop'> {
  return {
    port: hops[0]?.port ?? 0,
    prefix,
    parts: hops.map(({ started }, i) => ({ name: names[i] ?? '', pid: started.pid })),
    async stop() {
      await Promise.all(hops.map(({ started }) => started.stop()));
    },
  };
}

async function startProxy(
  name: Exclude<SystemName, 'direct' | 'sidecar'>,
  targetPort: number,
  bench: Workbench,
): Promise<Hop> {
  const port = await freePort();
  const confFile = join(bench.folder, `${name}-${port}.conf`);
  const command = ((): [string, string[]] => {
    switch (name) {
      case 'nginx':
        writeFileSync(confFile, nginxConf({ port, targetPort }, bench.folder));
        return [findProgram('nginx'), ['-p', bench.folder, '-c', confFile, '-e', 'stderr']];
      case 'haproxy':
        writeFileSync(confFile, haproxyConf({ port, targetPort }));
        return [findProgram('haproxy'), ['-db', '-f', confFile]];
      case 'http-proxy':
        return [process.execPath, [HTTP_PROXY_SERVER, String(port), String(targetPort)]];
    }
  })();
  const started = bench.start('system', ...command);
  started.child.stdout?.resume();
  await answers(port, READY_PATH, name);
  return { port, started };
}

async function oneSidecar(place: SystemPlace, env: Record<string, string>): Promise<System> {
  const { hop } = await startSidecar(place, { ...newMesh(), ...env, ...offering(place.origin) });
  await answers(hop.port, PREFIX + READY_PATH, 'the sidecar');
  return { name: 'sidecar', hops: 1, ...assembled([hop], ['sidecar'], PREFIX) };
}

async function twoSidecars(place: SystemPlace, env: Record<string, string>): Promise<System> {
  const mesh = newMesh();
  const worker = await startSidecar(place, { ...mesh, ...env, ...offering(place.origin) });
  await answers(worker.hop.port, PREFIX + READY_PATH, 'the sidecar of the worker');
  const app = await startSidecar(place, {
    ...mesh,
    ...env,
    SIDECAR_WORKER_ID: 'bench-app',
    SIDECAR_BOOTSTRAP: worker.dht,
  });
  await answers(app.hop.port, PREFIX + READY_PATH, 'the sidecar of the app');
  return {
    name: 'sidecar',
    hops: 2,
    ...assembled([app.hop, worker.hop], ['outbound', 'inbound'], PREFIX),
  };
}

function newMesh(): Record<string, string> {
  return { SIDECAR_MESH_KEY: randomBytes(32).toString('hex') };
}

function offering({ port }: Origin): Record<string, string> {
  return { SIDECAR_WORKER_ID: 'bench-worker', SIDECAR_SERVICES: `${SERVICE}=http://127.0.0.1:${port}` };
}

async function startSidecar(
  { bench, sidecarMain }: SystemPlace,
  env: Record<string, string>,
): Promise<{ hop: Hop; dht: string }> {
  const [outbound, inbound, admin, dht] = await Promise.all([freePort(), freePort(), freePort(), freePort()]);
  const started = bench.start('system', process.execPath, [sidecarMain, 'run'], {
    SIDECAR_VPN_IP: '127.0.0.1',
    SIDECAR_VPN_CIDR: '127.0.0.0/8',
    SIDECAR_OUTBOUND: `127.0.0.1:${outbound}`,
    // The generator sends the Host of an app that calls by a name.
    SIDECAR_OUTBOUND_HOSTS: 'models.example',
    SIDECAR_INBOUND: `127.0.0.1:${inbound}`,
    SIDECAR_ADMIN: `127.0.0.1:${admin}`,
    SIDECAR_DHT_LISTEN: `127.0.0.1:${dht}`,
    SIDECAR_LOG_LEVEL: 'warn',
    ...env,
  });
  started.child.stdout?.resume();
  await answers(admin, '/livez', 'the sidecar');
  return { hop: { port: outbound, started }, dht: `127.0.0.1:${dht}` };
}

async function answers(port: number, path: string, who: string): Promise<void> {
  try {
    await until(() => isOk(port, path), READY_LIMIT_MS);
  } catch (error) {
    throw new Error(`${who} does not answer ${path}`, { cause: error });
  }
}

/** On a connection of its own, so that none stays behind in what is measured. */
function isOk(port: number, path: string): Promise<boolean> {
  return new Promise((resolve) => {
    http
      .get({ host: '127.0.0.1', port, path, agent: false }, (response) => {
        response.resume().on('end', () => resolve(response.statusCode === 200));
        response.on('error', () => resolve(false));
      })
      .on('error', () => resolve(false));
  });
}
