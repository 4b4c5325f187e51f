/**
 * A mesh of processes on loopback: a bootstrap node, sidecars and workers, as an operator would start them.
 *
 * For tests in which something is killed, stopped or started again; test/support/meshes/mesh.ts is the quicker one where
 * nothing is. Every port is given by the system and every start waits for the log line that says so. All of it ends
 * with the test, and when the test failed the last words of each process are shown.
 */
import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { HostPort } from '../../../sidecar/core/host-port.ts';
import { formatHostPort, parseHostPort } from '../../../sidecar/core/host-port.ts';
import { type LogLine, modulePath, TiedProcess } from '../../../sidecar/demo/tied-process.ts';
import { note } from '../runner/note.ts';
import { hasTestFailed, onTestEnd } from '../runner/on-test-end.ts';
import { WorkerProcess } from '../workers/worker-process.ts';
import { type SidecarAddresses, SidecarProcess } from './sidecar-process.ts';

export interface SidecarSetup {
  readonly id: string;
  /** As in the file: a URL, or the keys of one service. */
  readonly services?: Readonly<Record<string, string | Readonly<Record<string, unknown>>>>;
  /** More of the file. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Counts more than the file: `SIDECAR_…`. */
  readonly env?: Readonly<Record<string, string>>;
  /** Addresses to take again after a restart. */
  readonly address?: SidecarAddresses;
}

const MAIN = modulePath('../main');
const ANY_PORT: HostPort = { host: '127.0.0.1', port: 0 };
const SHOWN_LINES = 40;

export class MeshProcesses {
  readonly meshKey = randomBytes(32).toString('hex');
  readonly bootstrap: TiedProcess;
  /** Where others join the DHT, `host:port`. */
  bootstrapAddress = '';
  readonly #folder: string;
  readonly #all: TiedProcess[] = [];
  readonly #setups = new Map<SidecarProcess, SidecarSetup>();

  private constructor(folder: string) {
    this.#folder = folder;
    this.bootstrap = this.#run('bootstrap node', ['bootstrap', '--dht-listen', formatHostPort(ANY_PORT)], {});
  }

  /** Resolves when the bootstrap node listens. Ends with the test. */
  static async up(): Promise<MeshProcesses> {
    const folder = await mkdtemp(join(tmpdir(), 'dht-sidecar-test-'));
    // A test may run a process as another user.
    await chmod(folder, 0o755);
    const mesh = new MeshProcesses(folder);
    onTestEnd(() => mesh.#down());
    mesh.bootstrapAddress = await mesh.bootstrap.line(({ address }) =>
      typeof address === 'string' ? address : null,
    );
    return mesh;
  }

  /** A bootstrap node where the first one was, which has ended. Resolves when it listens. */
  async restartBootstrap(): Promise<TiedProcess> {
    const args = ['bootstrap', '--dht-listen', this.bootstrapAddress];
    const bootstrap = this.#run('bootstrap node', args, {});
    await bootstrap.line(({ address }) => (address === this.bootstrapAddress ? true : null));
    return bootstrap;
  }

  /** Resolves when it listens; `port` to take one again. */
  async worker(name: string, port = 0): Promise<WorkerProcess> {
    const worker = await WorkerProcess.start(name, port);
    this.#all.push(worker.process);
    return worker;
  }

  /** Resolves when it listens, is announced in the DHT, and its services are ready. */
  async sidecar(setup: SidecarSetup): Promise<SidecarProcess> {
    const sidecar = await this.start(setup);
    const services = Object.keys(setup.services ?? {});
    await sidecar.process.line(({ storers }) => (typeof storers === 'number' && storers > 0 ? true : null));
    for (const service of services) await sidecar.logged({ service, state: 'ready' });
    return sidecar;
  }

  /** Resolves when it listens, and nothing more. Rejects with its last words if it ends instead. */
  async start(setup: SidecarSetup): Promise<SidecarProcess> {
    const { address = { outbound: ANY_PORT, inbound: ANY_PORT, admin: ANY_PORT } } = setup;
    const file = join(this.#folder, `${setup.id}.json`);
    await writeFile(file, JSON.stringify({ ...setup.config, services: setup.services ?? {} }));
    const process = this.#run(`sidecar ${setup.id}`, ['run', '--config', file], {
      SIDECAR_WORKER_ID: setup.id,
      SIDECAR_BOOTSTRAP: this.bootstrapAddress,
      SIDECAR_VPN_IP: '127.0.0.1',
      SIDECAR_VPN_CIDR: '127.0.0.0/8',
      SIDECAR_OUTBOUND: formatHostPort(address.outbound),
      SIDECAR_INBOUND: formatHostPort(address.inbound),
      SIDECAR_ADMIN: formatHostPort(address.admin),
      SIDECAR_LOG_LEVEL: 'debug',
      ...setup.env,
    });
    const sidecar = new SidecarProcess(setup.id, process, await process.line(listeners));
    this.#setups.set(sidecar, setup);
    return sidecar;
  }

  /** Starts an ended sidecar again, as it was configured and on the same ports. */
  async restart(ended: SidecarProcess): Promise<SidecarProcess> {
    const setup = this.#setups.get(ended);
    if (setup === undefined) throw new Error(`${ended.id} is not of this mesh`);
    return await this.sidecar({ ...setup, address: ended.address });
  }

  #run(name: string, args: readonly string[], env: Readonly<Record<string, string>>): TiedProcess {
    const { PATH } = globalThis.process.env;
    const process = new TiedProcess({
      name,
      module: MAIN,
      args,
      env: { PATH, SIDECAR_MESH_KEY: this.meshKey, ...env },
    });
    this.#all.push(process);
    return process;
  }

  async #down(): Promise<void> {
    await Promise.all(this.#all.map((process) => process.kill()));
    await rm(this.#folder, { recursive: true, force: true });
    if (!hasTestFailed()) return;
    for (const process of this.#all) {
      note(`${process.name} (pid ${process.pid}):${process.lastLines(SHOWN_LINES)}`);
    }
  }
}

function listeners({ address }: LogLine): SidecarAddresses | null {
  if (typeof address !== 'object' || address === null) return null;
  const { outbound, inbound, admin } = address as Readonly<Record<string, unknown>>;
  const [toOutbound, toInbound, toAdmin] = [outbound, inbound, admin].map((text) =>
    parseHostPort(String(text)),
  );
  return toOutbound && toInbound && toAdmin
    ? { outbound: toOutbound, inbound: toInbound, admin: toAdmin }
    : null;
}
