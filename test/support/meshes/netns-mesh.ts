/**
 * A mesh of sidecars on a bridge: hosts with a network of their own, any of which can be cut from any other.
 *
 * For faults of the network that need no VPN: on loopback nothing is ever silent. Host 1 has the bootstrap node
 * alone. Tests reach into a host by test/support/host/host-sockets.ts.
 */
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { askSocket, openRelay, outputOf, type TimedAnswer } from '../host/host-sockets.ts';
import { NetnsRig } from '../host/netns.ts';
import { eventually } from '../runner/eventually.ts';
import { note } from '../runner/note.ts';
import { hasTestFailed, onTestEnd } from '../runner/on-test-end.ts';
import type { Sent } from '../wire/http-client.ts';
import type { PeerJson } from './mesh.ts';

const MAIN = join(import.meta.dirname, '../../../sidecar/main.ts');
const WORKER = join(import.meta.dirname, '../workers/worker.ts');
const LIGHTHOUSE = 1;
const DHT_PORT = 49737;
const OUTBOUND = 8010;
const ADMIN = 9464;
const WORKER_PORT = 9000;
const SHOWN_LOG_CHARS = 8_000;

interface Process {
  readonly name: string;
  readonly child: ChildProcess;
  log(): string;
}

/** One host with a sidecar, and a worker if it offers something. */
export class NetnsHost {
  readonly number: number;
  readonly id: string;
  readonly #mesh: NetnsMesh;
  readonly #sockets = new Map<number, string>();
  readonly #processes: Process[] = [];

  constructor(mesh: NetnsMesh, number: number) {
    this.#mesh = mesh;
    this.number = number;
    this.id = `host-${number}`;
  }

  log(): string {
    return this.#processes.map(({ log }) => log()).join('');
  }

  /** Resolves when the sidecar listens. */
  async start(services: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<void> {
    if (services.length > 0) {
      const worker = this.#run([WORKER, this.id, String(WORKER_PORT)], {});
      if (worker.child.stdout !== null) await once(worker.child.stdout, 'data');
    }
    this.#run([MAIN, 'run'], {
      SIDECAR_WORKER_ID: this.id,
      SIDECAR_SERVICES: services.map((name) => `${name}=http://127.0.0.1:${WORKER_PORT}`).join(','),
      SIDECAR_BOOTSTRAP: this.#mesh.bootstrapAddress,
      SIDECAR_LOG_LEVEL: 'debug',
      ...env,
    });
    for (const port of [OUTBOUND, ADMIN]) {
      const path = join(this.#mesh.folder, `${this.number}-${port}.sock`);
      await openRelay((args) => this.#run(args, {}).child, path, port);
      this.#sockets.set(port, path);
    }
    await eventually(
      `the sidecar of ${this.id} listens`,
      () => this.log(),
      (log) => log.includes('sidecar listens'),
    );
  }

  /** A request of the app in this host. */
  call(sent: Sent): Promise<TimedAnswer> {
    return askSocket(this.#socket(OUTBOUND), sent);
  }

  get(service: string, path = '/'): Promise<TimedAnswer> {
    return this.call({ target: `/service/${service}${path}` });
  }

  async admin<T>(target: string): Promise<T> {
    return JSON.parse((await askSocket(this.#socket(ADMIN), { target })).body) as T;
  }

  async peers(): Promise<readonly PeerJson[]> {
    return (await this.admin<{ peers: readonly PeerJson[] }>('/peers')).peers;
  }

  /** Resolves when it knows exactly these others. */
  async knows(others: readonly NetnsHost[]): Promise<void> {
    const wanted = others.map(({ id }) => id).sort();
    await eventually(
      `${this.id} knows ${wanted.join(', ')} and nobody else`,
      async () => (await this.peers()).map(({ worker_id }) => worker_id).sort(),
      (known) => known.join() === wanted.join(),
    );
  }

  /** All that runs here stops in its tracks, as a machine that sleeps; `SIGCONT` wakes it. */
  signal(signal: 'SIGSTOP' | 'SIGCONT' | 'SIGKILL'): void {
    for (const { child } of this.#processes) child.kill(signal);
  }

  #socket(port: number): string {
    const path = this.#sockets.get(port);
    if (path === undefined) throw new Error(`port ${port} of ${this.id} is not open to the test`);
    return path;
  }

  #run(args: readonly string[], env: Readonly<Record<string, string>>): Process {
    const process = this.#mesh.run(this.number, args, env);
    this.#processes.push(process);
    return process;
  }
}

export class NetnsMesh {
  readonly rig: NetnsRig;
  /** For sockets and files of the hosts; removed with the test. */
  readonly folder: string;
  readonly #meshKey = randomBytes(32).toString('hex');
  readonly #processes: Process[] = [];
  /** Host → shell commands that put its files in their places. */
  readonly #mounts = new Map<number, string>();
  #bootstrap: Process;

  private constructor(rig: NetnsRig) {
    this.rig = rig;
    this.folder = mkdtempSync(join(tmpdir(), 'netns-mesh-'));
    this.#bootstrap = this.#startBootstrap();
  }

  /** The bootstrap node, and `hosts` hosts on which nothing runs yet. Ends with the test. */
  static async up(hosts: number): Promise<{ mesh: NetnsMesh; hosts: NetnsHost[] }> {
    const rig = await NetnsRig.up(LIGHTHOUSE + hosts);
    const mesh = new NetnsMesh(rig);
    onTestEnd(async () => {
      await rig.down();
      rmSync(mesh.folder, { recursive: true, force: true });
      if (hasTestFailed()) mesh.#show();
    });
    return {
      mesh,
      hosts: Array.from({ length: hosts }, (_, i) => new NetnsHost(mesh, LIGHTHOUSE + 1 + i)),
    };
  }

  get bootstrapAddress(): string {
    return `${this.rig.address(LIGHTHOUSE)}:${DHT_PORT}`;
  }

  /** As a machine that loses its power. */
  async killBootstrap(): Promise<void> {
    const { child } = this.#bootstrap;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  /** Silence between each of these and each of those. The bootstrap node is host 1 of the rig. */
  part(some: readonly number[], others: readonly number[]): void {
    for (const host of some) for (const other of others) this.rig.part(host, other);
  }

  /** What is started in the host from now on sees these texts in these files of /etc, which must be there. */
  etc(host: number, files: Readonly<Record<string, string>>): void {
    const folder = join(this.folder, `etc-${host}`);
    mkdirSync(folder, { recursive: true });
    const mounts = Object.entries(files).map(([name, text]) => {
      writeFileSync(join(folder, name), text);
      return `mount --bind ${join(folder, name)} /etc/${name}`;
    });
    this.#mounts.set(host, mounts.join(' && '));
  }

  /** Runs a Node program in a host. */
  run(host: number, args: readonly string[], env: Readonly<Record<string, string>>): Process {
    const mounts = this.#mounts.get(host);
    const program = [process.execPath, ...args];
    const [command = '', ...rest] =
      mounts === undefined
        ? program
        : ['unshare', '--mount', 'sh', '-c', `${mounts} && exec "$@"`, 'sh', ...program];
    const child = this.rig.spawn(host, command, rest, {
      env: { PATH: process.env.PATH, SIDECAR_MESH_KEY: this.#meshKey, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const started = { name: `host ${host}: ${args.join(' ').slice(0, 80)}`, child, log: outputOf(child) };
    this.#processes.push(started);
    return started;
  }

  #startBootstrap(): Process {
    return this.run(LIGHTHOUSE, [MAIN, 'bootstrap'], {
      SIDECAR_DHT_LISTEN: this.bootstrapAddress,
      SIDECAR_WORKER_ID: 'lighthouse',
    });
  }

  #show(): void {
    for (const { name, log } of this.#processes) note(`${name}\n${log().slice(-SHOWN_LOG_CHARS)}`);
  }
}
