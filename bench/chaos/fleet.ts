/**
 * The fleet of a chaos run: a bootstrap node, workers with their sidecars, and apps' sidecars, all of them processes.
 *
 * Each keeps its ports and its state folder over restarts, as a machine would. Ends that nobody asked for are counted:
 * those are crashes. It must not know when what is struck.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { modulePath, TiedProcess } from '../../sidecar/demo/tied-process.ts';
import { getJson } from './admin.ts';

export const SERVICE = 'chaos';

const MAIN = modulePath('../main');
const WORKER = join(import.meta.dirname, 'worker.ts');
/** Below the range that the system gives to outgoing connections, which could take a port while its owner is dead. */
const FIRST_PORT = 20_100;
const LAST_PORT = 32_000;
const STOP_LIMIT_MS = 30_000;

export interface SidecarPorts {
  readonly outbound: number;
  readonly inbound: number;
  readonly admin: number;
  readonly dht: number;
}

/** A process that is started again and again. */
export class Member {
  readonly name: string;
  readonly #start: () => TiedProcess;
  readonly #isUp: (process: TiedProcess) => Promise<unknown>;
  readonly #onCrash: (name: string, how: string) => void;
  #process: TiedProcess | null = null;
  #isAsked = false;

  constructor(
    name: string,
    start: () => TiedProcess,
    isUp: (process: TiedProcess) => Promise<unknown>,
    onCrash: (name: string, how: string) => void,
  ) {
    this.name = name;
    this.#start = start;
    this.#isUp = isUp;
    this.#onCrash = onCrash;
  }

  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  /** The last that its present process has said. */
  lastLines(count: number): string {
    return this.#process?.lastLines(count) ?? '';
  }

  /** Resolves when it listens. */
  async start(): Promise<void> {
    const process = this.#start();
    this.#process = process;
    this.#isAsked = false;
    void process.ended.then((how) => {
      if (!this.#isAsked && this.#process === process)
        this.#onCrash(this.name, `${how}${process.lastLines()}`);
    });
    await this.#isUp(process);
  }

  async kill(): Promise<void> {
    this.#isAsked = true;
    await this.#process?.kill();
  }

  /** SIGTERM; resolves with how it ended. */
  async stop(): Promise<string> {
    this.#isAsked = true;
    return (await this.#process?.stop(STOP_LIMIT_MS)) ?? 'not started';
  }

  suspend(): void {
    this.#process?.signal('SIGSTOP');
  }

  resume(): void {
    this.#process?.signal('SIGCONT');
  }
}

export interface Host {
  readonly sidecar: Member;
  readonly worker: Member;
  readonly workerPort: number;
  readonly ports: SidecarPorts;
}

export interface App {
  readonly sidecar: Member;
  readonly ports: SidecarPorts;
}

export class Fleet {
  readonly hosts: Host[] = [];
  readonly apps: App[] = [];
  readonly crashes: string[] = [];
  readonly bootstrap: Member;
  readonly #folder: string;
  readonly #meshKey = randomBytes(32).toString('hex');
  readonly #bootstrapPort: number;

  private constructor(folder: string, bootstrapPort: number) {
    this.#folder = folder;
    this.#bootstrapPort = bootstrapPort;
    const at = `127.0.0.1:${bootstrapPort}`;
    this.bootstrap = this.#member(
      'bootstrap',
      MAIN,
      ['bootstrap', '--dht-listen', at],
      {},
      'DHT node listens',
    );
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
    const fleet = new Fleet(folder, next());
    for (let n = 1; n <= workers; n++) fleet.#addHost(`worker-${n}`, next(), nextSidecar());
    for (let n = 1; n <= apps; n++) {
      const sidecarPorts = nextSidecar();
      fleet.apps.push({ sidecar: fleet.#sidecar(`app-${n}`, sidecarPorts, {}), ports: sidecarPorts });
    }
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
    const { peers } = (await getJson<Peers>(app.ports.admin, '/peers')) ?? { peers: [] };
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
    await rm(this.#folder, { recursive: true, force: true });
  }

  #addHost(name: string, workerPort: number, ports: SidecarPorts): void {
    const env = {
      SIDECAR_SERVICES: `${SERVICE}=http://127.0.0.1:${workerPort}`,
      SIDECAR_HEALTH: '/health',
      SIDECAR_CONCURRENCY: '100',
      SIDECAR_QUEUE: '100',
    };
    const args = [`${name}-process`, String(workerPort), this.#ledgerOf(`${name}-process`)];
    const worker = this.#member(`${name}-process`, WORKER, args, {}, null);
    this.hosts.push({ sidecar: this.#sidecar(name, ports, env), worker, workerPort, ports });
  }

  #sidecar(name: string, ports: SidecarPorts, env: Readonly<Record<string, string>>): Member {
    const at = (port: number): string => `127.0.0.1:${port}`;
    const all = {
      SIDECAR_WORKER_ID: name,
      SIDECAR_BOOTSTRAP: at(this.#bootstrapPort),
      SIDECAR_VPN_IP: '127.0.0.1',
      SIDECAR_VPN_CIDR: '127.0.0.0/8',
      SIDECAR_OUTBOUND: at(ports.outbound),
      SIDECAR_INBOUND: at(ports.inbound),
      SIDECAR_ADMIN: at(ports.admin),
      SIDECAR_DHT_LISTEN: at(ports.dht),
      SIDECAR_STATE_DIR: join(this.#folder, name),
      ...env,
    };
    return this.#member(name, MAIN, ['run'], all, 'sidecar listens');
  }

  /** `line` is what it logs when it is up; null = its first line. */
  #member(
    name: string,
    module: string,
    args: readonly string[],
    env: Readonly<Record<string, string>>,
    line: string | null,
  ): Member {
    const { PATH } = process.env;
    return new Member(
      name,
      () => new TiedProcess({ name, module, args, env: { PATH, SIDECAR_MESH_KEY: this.#meshKey, ...env } }),
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
