/**
 * The fleet of a chaos run: a bootstrap node, workers with their sidecars, and apps' sidecars, all of them processes.
 *
 * Each keeps its address, its ports and its state folder over restarts, as a machine would. Ends that nobody asked for
 * are counted: those are crashes. It must not know when what is struck.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { modulePath, TiedProcess } from '../sidecar/demo/tied-process.ts';
import { ADMIN_TOKEN, getJson } from './admin.ts';
import { Member } from './member.ts';
import { type Network, startNetwork } from './network.ts';

export const SERVICE = 'chaos';

const MAIN = modulePath('../main');
const WORKER = join(import.meta.dirname, 'worker.ts');

/** Below the range that the system gives to outgoing connections, which could take a port while its owner is dead. */
const FIRST_PORT = 20_100;
const LAST_PORT = 32_000;

export interface SidecarPorts {
  readonly outbound: number;
  readonly inbound: number;
  readonly admin: number;
  readonly dht: number;
}

export interface Host {
  readonly sidecar: Member;
  readonly worker: Member;
  /** `host:port` */
  readonly workerAt: string;
  readonly adminAt: string;
}

export interface App {
  readonly sidecar: Member;
  readonly ports: SidecarPorts;
  /** `host:port` */
  readonly adminAt: string;
}

interface MemberOptions {
  readonly name: string;
  readonly module: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly through: readonly string[];
  /** What it logs when it is up; null = its first line. */
  readonly line: string | null;
}

/** Where a program runs. */
interface Place {
  readonly vpn: string;
  readonly through: readonly string[];
}

export class Fleet {
  readonly hosts: Host[] = [];
  readonly apps: App[] = [];
  readonly crashes: string[] = [];
  readonly bootstrap: Member;
  readonly network: Network;
  readonly #folder: string;
  readonly #meshKey = randomBytes(32).toString('hex');
  readonly #bootstrapAt: string;

  private constructor(folder: string, network: Network, bootstrapPort: number) {
    this.#folder = folder;
    this.network = network;
    this.#bootstrapAt = `${network.centreVpn(0)}:${bootstrapPort}`;
    const args = ['bootstrap', '--dht-listen', this.#bootstrapAt];
    this.bootstrap = this.#member({
      name: 'bootstrap',
      module: MAIN,
      args,
      env: {},
      through: [],
      line: 'DHT node listens',
    });
  }

  /** Resolves when all listen. */
  static async up(workers: number, apps: number): Promise<Fleet> {
    const folder = await mkdtemp(join(tmpdir(), 'chaos-'));
    const ports = await freePorts(1 + 5 * workers + 4 * apps);
    const next = (): number => ports.pop() ?? 0;
    const nextSidecar = (): SidecarPorts => ({
      outbound: next(),
      inbound: next(),
      admin: next(),
      dht: next(),
    });
    const fleet = new Fleet(folder, await startNetwork(workers, 1 + apps), next());
    for (let n = 1; n <= workers; n++) fleet.#addHost(n, next(), nextSidecar());
    for (let n = 1; n <= apps; n++) fleet.#addApp(n, nextSidecar());
    try {
      await fleet.bootstrap.start();
      await Promise.all(fleet.hosts.flatMap(({ sidecar, worker }) => [worker.start(), sidecar.start()]));
      await Promise.all(fleet.apps.map(({ sidecar }) => sidecar.start()));
    } catch (error) {
      await fleet.down();
      throw error;
    }
    return fleet;
  }

  /** How often each POST reached a worker. */
  deliveries(): Map<string, number> {
    const counts = new Map<string, number>();
    for (const { worker } of this.hosts) {
      for (const id of readLines(this.#ledgerOf(worker.name))) counts.set(id, (counts.get(id) ?? 0) + 1);
    }
    return counts;
  }

  /**
   * The workers that an app's sidecar would send to now; by `reported_state` those that say they are ready, also while
   * it gives them a rest. None when it does not answer.
   */
  async readyAt(app: App, state: 'state' | 'reported_state' = 'state'): Promise<string[]> {
    interface Peers {
      readonly peers: readonly {
        readonly worker_id: string;
        readonly state: string;
        readonly reported_state: string;
        readonly services: readonly string[];
      }[];
    }
    const { peers } = (await getJson<Peers>(app.adminAt, '/peers')) ?? { peers: [] };
    const ready = peers.filter((peer) => peer[state] === 'ready' && peer.services.includes(SERVICE));
    return ready.map(({ worker_id }) => worker_id);
  }

  async down(): Promise<void> {
    const members = [
      this.bootstrap,
      ...this.hosts.flatMap(({ sidecar, worker }) => [sidecar, worker]),
      ...this.apps.map(({ sidecar }) => sidecar),
    ];
    await Promise.all(members.map((member) => member.kill()));
    await this.network.down();
    await rm(this.#folder, { recursive: true, force: true });
  }

  #addHost(n: number, workerPort: number, ports: SidecarPorts): void {
    const name = `worker-${n}`;
    const address = this.network.hostAddress(n - 1);
    const place = { vpn: this.network.hostVpn(n - 1), through: this.network.through(n - 1) };
    const adminAt = `${address}:${ports.admin}`;
    const workerAt = `${address}:${workerPort}`;
    const env = {
      SIDECAR_ADMIN: adminAt,
      SIDECAR_ADMIN_TOKEN: ADMIN_TOKEN,
      SIDECAR_SERVICES: `${SERVICE}=http://${workerAt}`,
      SIDECAR_HEALTH: '/health',
      SIDECAR_CONCURRENCY: '100',
      SIDECAR_QUEUE: '100',
    };
    const process = `${name}-process`;
    const args = [process, address, String(workerPort), this.#ledgerOf(process)];
    const { through } = place;
    const worker = this.#member({ name: process, module: WORKER, args, env: {}, through, line: null });
    this.hosts.push({ sidecar: this.#sidecar(name, place, ports, env), worker, workerAt, adminAt });
  }

  #addApp(n: number, ports: SidecarPorts): void {
    const place = { vpn: this.network.centreVpn(n), through: [] };
    const sidecar = this.#sidecar(`app-${n}`, place, ports, {});
    this.apps.push({ sidecar, ports, adminAt: `127.0.0.1:${ports.admin}` });
  }

  #sidecar(
    name: string,
    { vpn, through }: Place,
    ports: SidecarPorts,
    more: Readonly<Record<string, string>>,
  ): Member {
    const env = {
      SIDECAR_WORKER_ID: name,
      SIDECAR_BOOTSTRAP: this.#bootstrapAt,
      // On a network of its own it finds its address, and follows it.
      ...(this.network.whyWhole === null && through.length > 0 ? {} : { SIDECAR_VPN_IP: vpn }),
      SIDECAR_VPN_CIDR: this.network.vpnCidr,
      SIDECAR_OUTBOUND: `127.0.0.1:${ports.outbound}`,
      SIDECAR_INBOUND: `${ports.inbound}`,
      SIDECAR_ADMIN: `127.0.0.1:${ports.admin}`,
      SIDECAR_DHT_LISTEN: `${ports.dht}`,
      SIDECAR_STATE_DIR: join(this.#folder, name),
      ...more,
    };
    return this.#member({ name, module: MAIN, args: ['run'], env, through, line: 'sidecar listens' });
  }

  #member({ env, line, ...what }: MemberOptions): Member {
    const { PATH } = process.env;
    const all = { PATH, SIDECAR_MESH_KEY: this.#meshKey, ...env };
    return new Member(
      what.name,
      () => new TiedProcess({ ...what, env: all }),
      (started) => started.line(({ message }) => (line === null || message === line ? true : null)),
      (who, how) => this.crashes.push(`${who}: ${how}`),
    );
  }

  #ledgerOf(worker: string): string {
    return join(this.#folder, `${worker}.ledger`);
  }
}

function readLines(file: string): string[] {
  try {
    return readFileSync(file, 'utf8').split('\n').filter(Boolean);
  } catch {
    return []; // it got no POST
  }
}

async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  let port = FIRST_PORT + Math.floor(Math.random() * (LAST_PORT - FIRST_PORT));
  while (ports.length < count) {
    port = port >= LAST_PORT ? FIRST_PORT : port + 1;
    if (await isFree(port)) ports.push(port);
  }
  return ports;
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.once('error', () => resolve(false));
    server.listen({ host: '127.0.0.1', port }, () => server.close(() => resolve(true)));
  });
}
