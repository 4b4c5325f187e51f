/**
 * The mesh of the demo: a bootstrap node, workers with a sidecar each, and a sidecar for the app, as processes.
 *
 * Real processes with real configuration files, because a demo that runs in one process shows nothing about dying.
 * Every port is chosen by the system, everything listens on loopback.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { HostPort } from '../core/host-port.ts';
import { formatHostPort, parseHostPort } from '../core/host-port.ts';
import { fields, numberOf, textOf } from '../core/json.ts';
import { MeshWorker, type WorkerTraits } from './mesh-worker.ts';
import { type LogLine, modulePath, TiedProcess } from './tied-process.ts';

/** Offered by the workers, called by the app. */
export const REMOTE_SERVICE = 'llm-inference';

/** Offered beside the app. */
export const LOCAL_SERVICE = 'notes-coa';

export interface DemoMeshOptions {
  readonly workers: readonly WorkerTraits[];
  readonly app: WorkerTraits;
  /** 64 hex digits. */
  readonly meshKey: string;
  /** Environment of the processes; SIDECAR_ variables are not passed on. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** A process ended that nobody had told to. */
  readonly onLoss: (error: Error) => void;
}

/** Where the app's sidecar listens. */
export interface AppAddress {
  readonly outbound: HostPort;
  readonly admin: HostPort;
}

/** Longer than any start takes on a machine that can run the demo at all. */
const START_LIMIT_MS = 20_000;
const STOP_LIMIT_MS = 5_000;
const ANY_PORT = '127.0.0.1:0';

/** Short, so that the demo shows refreshes and a worker that comes back. */
const CACHE_TTL = '4s';

/** Requests that a worker takes at once. */
const CONCURRENCY = 4;

export class DemoMesh {
  readonly #options: DemoMeshOptions;
  readonly #env: Record<string, string | undefined>;
  readonly #running = new Set<TiedProcess>();
  readonly workers: readonly MeshWorker[];
  readonly #appWorker: MeshWorker;
  /** Of configuration files; the processes remove it when the demo itself cannot (tied.ts). */
  #folder = '';
  #bootstrap = '';
  #isEnding = false;

  constructor(options: DemoMeshOptions) {
    this.#options = options;
    const outside = Object.entries(options.env).filter(([name]) => !name.startsWith('SIDECAR_'));
    this.#env = { ...Object.fromEntries(outside), SIDECAR_MESH_KEY: options.meshKey };
    this.workers = options.workers.map((traits) => new MeshWorker(traits));
    this.#appWorker = new MeshWorker(options.app);
  }

  /** Resolves once every worker is announced and ready. Rejects with the last words of what did not start. */
  async start(): Promise<AppAddress> {
    this.#folder = await mkdtemp(join(tmpdir(), 'dht-sidecar-demo-'));
    this.#env.DEMO_FOLDER = this.#folder;
    const node = this.#spawn('bootstrap node', modulePath('../main'), [
      'bootstrap',
      '--dht-listen',
      ANY_PORT,
      '--vpn-ip',
      'none',
    ]);
    this.#bootstrap = await this.#said(node, (line) => textOf(line.address) || null);
    const app = this.#startOne(this.#appWorker, LOCAL_SERVICE);
    const starts = [app, ...this.workers.map((worker) => this.#startOne(worker, REMOTE_SERVICE))];
    try {
      await Promise.all(starts);
    } catch (error) {
      await this.killAll();
      await Promise.allSettled(starts);
      throw error;
    }
    return await app;
  }

  /** SIGKILL for the worker and its sidecar at once; resolves when both are gone. */
  async kill(worker: MeshWorker): Promise<void> {
    worker.life = 'killed';
    const both = worker.processes;
    for (const process of both) this.#running.delete(process);
    await Promise.all(both.map((process) => process.kill()));
  }

  /** Starts a killed worker and its sidecar again, on the ports they had. */
  async restart(worker: MeshWorker): Promise<void> {
    await this.#startOne(worker, REMOTE_SERVICE);
  }

  /** Orderly: sidecars drain and leave the DHT, then the rest. Idempotent; never rejects. */
  async stop(): Promise<void> {
    this.#isEnding = true;
    const all = [...this.#running];
    const sidecars = all.filter(({ name }) => name.startsWith('sidecar'));
    await Promise.all(sidecars.map((process) => process.stop(STOP_LIMIT_MS)));
    await Promise.all(all.map((process) => process.stop(STOP_LIMIT_MS)));
    await this.killAll();
  }

  /** At once. */
  async killAll(): Promise<void> {
    this.#isEnding = true;
    await Promise.all([...this.#running].map((process) => process.kill()));
    if (this.#folder !== '') await rm(this.#folder, { recursive: true, force: true });
  }

  async #startOne(worker: MeshWorker, service: string): Promise<AppAddress> {
    worker.life = 'starting';
    const { id, load, workMs } = worker.traits;
    const args = [id, load, workMs, worker.port].map(String);
    const process = this.#spawn(`worker ${id}`, modulePath('./worker'), args);
    worker.port = await this.#said(process, (line) => numberOf(line.port));
    const file = join(this.#folder, `${id}.json`);
    await writeFile(file, JSON.stringify(this.#configOf(worker, service)));
    const sidecar = this.#spawn(`sidecar of ${id}`, modulePath('../main'), ['run', '--config', file]);
    worker.processes = [process, sidecar];
    const address = await this.#said(sidecar, (line) => listeners(fields(line.address)));
    worker.inbound = formatHostPort(address.inbound);
    await this.#said(sidecar, (line) => (line.service === service && line.state === 'ready' ? true : null));
    await this.#said(sidecar, (line) => (isAnnounced(line, service) ? true : null));
    worker.life = 'up';
    return address;
  }

  /** As a user would write it; what is not here has its default. */
  #configOf({ traits, port, inbound }: MeshWorker, service: string): object {
    return {
      worker: { id: traits.id, capabilities: traits.capabilities },
      services: {
        [service]: {
          url: `http://127.0.0.1:${port}`,
          concurrency: CONCURRENCY,
          health: { path: '/health' },
          load: { source: 'worker' },
        },
      },
      // The app's POSTs carry an Idempotency-Key, so they may be sent again when a worker dies under them.
      ...(service === REMOTE_SERVICE ? {} : { calls: { [REMOTE_SERVICE]: { retryPost: true } } }),
      outbound: { listen: ANY_PORT },
      inbound: { listen: inbound },
      admin: { listen: ANY_PORT },
      vpn: { ip: '127.0.0.1', cidr: '127.0.0.0/8' },
      dht: { bootstrap: [this.#bootstrap] },
      cache: { ttl: CACHE_TTL },
      drain: { accept: '0s' },
    };
  }

  #spawn(name: string, module: string, args: readonly string[]): TiedProcess {
    if (this.#isEnding) throw new Error('the demo is ending');
    const process = new TiedProcess({ name, module, args, env: this.#env });
    this.#running.add(process);
    void process.ended.then((how) => {
      // Not there any more: it was killed on purpose.
      if (!this.#running.delete(process) || this.#isEnding) return;
      this.#options.onLoss(new Error(`the ${name} ended by itself (${how}):${process.lastLines()}`));
    });
    return process;
  }

  /** `TiedProcess.line` with a limit. */
  async #said<T>(process: TiedProcess, pick: (line: LogLine) => T | null): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const fail = () =>
        reject(
          new Error(
            `the ${process.name} did not start within ${START_LIMIT_MS / 1000} s:${process.lastLines()}`,
          ),
        );
      timer = setTimeout(fail, START_LIMIT_MS);
    });
    try {
      return await Promise.race([process.line(pick), late]);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Addresses that a sidecar says it listens on; null while it has said none. */
function listeners(
  said: Readonly<Record<string, unknown>>,
): (AppAddress & { readonly inbound: HostPort }) | null {
  const [outbound, inbound, admin] = [said.outbound, said.inbound, said.admin].map((text) =>
    parseHostPort(textOf(text)),
  );
  return outbound && inbound && admin ? { outbound, inbound, admin } : null;
}

/** Some node stores the announcement of this service. */
function isAnnounced({ services, storers }: LogLine, service: string): boolean {
  return Array.isArray(services) && services.includes(service) && (numberOf(storers) ?? 0) > 0;
}
